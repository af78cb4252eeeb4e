"""`mailmirror check`: one line in Nagios' language, for whatever polls; its exit codes are Nagios' own.

What is wrong is what alerts tell people of (`alerts.conditions`), so a monitor and a message never disagree; a monitor
does its own waiting, so nothing here waits for a condition to last. The judging is pure.

Source: the Monitoring Plugins' development guidelines, 2.1 to 2.6: `SERVICE STATUS: text | label=value[UOM];warn;crit`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from orchestrator.alerts.conditions import PAGE, conditions
from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option
from orchestrator.cli.status import look
from orchestrator.errors import MailmirrorError

OK, WARNING, CRITICAL, UNKNOWN = range(4)
NAMES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
LONGEST = 1_000
"""Characters of the line that are text: many pollers cut at 4 KiB."""


class Answer(NamedTuple):
    """`level` is the exit code; `text` one line, `figures` perfdata."""

    level: int
    text: str
    figures: str = ""

    @property
    def line(self) -> str:
        told = words.printable(" ".join(self.text.replace("|", "/").split()))[:LONGEST]
        return f"MAILMIRROR {NAMES[self.level]}: {told}" + (f" | {self.figures}" if self.figures else "")


class Asked(click.Command):
    """A command whose wrong usage is UNKNOWN: elsewhere it exits with 2, which a monitor would read as CRITICAL."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            click.echo(Answer(UNKNOWN, f"{error.format_message()} See `mailmirror check --help`.").line)
            raise click.exceptions.Exit(UNKNOWN) from None


@click.command(cls=Asked)
@reach.pair_argument
@style_option
@click.pass_context
def command(context: click.Context, pair: str | None) -> int:
    """One line for Nagios and its kin, over all pairs or PAIR.

    Its exit codes are Nagios' own, not those of the other verbs (`mailmirror --help`):

    \b
       0  OK         nothing is wrong
       1  WARNING    tell somebody by day
       2  CRITICAL   wake somebody, or no daemon answers
       3  UNKNOWN    this command couldn't ask: wrong usage, a broken
                     inventory, or a user who may not ask the daemon

    Options before the verb are read before `check` is: a mistake there exits with 2. With --format json the line's
    parts.
    """
    front = context.ensure_object(Front)
    try:
        answer = judge(look(reach.readable(front, pair)))
    except MailmirrorError as error:
        answer = Answer(UNKNOWN, f"{error} {error.remedy}")
    except Exception as error:  # at the front door it would exit with 1, which is WARNING here
        if front.debug:
            raise
        answer = Answer(UNKNOWN, f"An unexpected {type(error).__name__}: {error}. {MailmirrorError.default_remedy}")
    if front.style == "json":
        click.echo(json.dumps({"status": NAMES[answer.level], "text": answer.text, "perfdata": answer.figures}))
    else:
        click.echo(answer.line)
    return answer.level


def judge(told: Mapping[str, Any]) -> Answer:
    """The worst of what is wrong, from what `status --format json` shows.

    What was seen long ago is neither well nor wrong: of a stale pair nothing is said but that, and no figures.
    """
    fresh = [pair for pair in told["pairs"] if not pair.get("stale")]
    gone = ", ".join(str(pair["pair"]) for pair in told["pairs"] if pair.get("stale"))
    figures = " ".join(each for pair in fresh for each in _figures(pair))
    found = [(pair["pair"], each) for pair in fresh for each in conditions(pair)]
    said = [f"{name}: {each.summary}" for name, each in sorted(found, key=lambda it: it[1].severity != PAGE)]
    if gone:
        level = UNKNOWN if told.get("barred") else CRITICAL
        return Answer(level, " ".join([str(told["daemon"]), f"How {gone} stands isn't known.", *said]), figures)
    if not found:
        return Answer(OK, "; ".join(map(_well, fresh)), figures)
    worst = CRITICAL if any(each.severity == PAGE for _, each in found) else WARNING
    return Answer(worst, " ".join(said), figures)


def _well(pair: Mapping[str, Any]) -> str:
    state = f"{pair['state']}, " if pair.get("state") else ""
    return f"{pair['pair']} {state}{pair['active']} is active, {pair['link']}"


def _figures(pair: Mapping[str, Any]) -> Iterator[str]:
    """Perfdata: the lag of each passive place in seconds, warned of above mm_rpo, and how many changes wait."""
    passives: Sequence[Mapping[str, Any]] = pair["passives"]
    for passive in passives:
        label = f"{pair['pair']}_{passive['host']}"
        rpo = f";{pair['rpo']:g}" if pair.get("rpo") else ""
        if passive["lag_seconds"] is not None:
            yield f"'{label}_lag'={passive['lag_seconds']:.1f}s{rpo}"
        yield f"'{label}_pending'={passive['pending']}"
