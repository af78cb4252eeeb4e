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
from orchestrator.cli import reach
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
        told = " ".join(self.text.replace("|", "/").split())[:LONGEST]
        return f"MAILMIRROR {NAMES[self.level]}: {told}" + (f" | {self.figures}" if self.figures else "")


@click.command()
@reach.pair_argument
@style_option
@click.pass_context
def command(context: click.Context, pair: str | None) -> int:
    """One line for Nagios and its kin, over all pairs or PAIR.

    Its exit codes are Nagios' own: 0 OK, 1 WARNING (tell somebody by day), 2 CRITICAL (wake somebody, or no daemon
    runs), 3 UNKNOWN (this command couldn't ask). With --format json the line's parts.
    """
    front = context.ensure_object(Front)
    try:
        told = look(reach.readable(front, pair))
        answer = judge(told)
    except MailmirrorError as error:
        answer = Answer(UNKNOWN, f"{error} {error.remedy}")
    if front.style == "json":
        click.echo(json.dumps({"status": NAMES[answer.level], "text": answer.text, "perfdata": answer.figures}))
    else:
        click.echo(answer.line)
    return answer.level


def judge(told: Mapping[str, Any]) -> Answer:
    """The worst of what is wrong, from what `status --format json` shows."""
    pairs = told["pairs"]
    figures = " ".join(each for pair in pairs for each in _figures(pair))
    if told.get("stale"):
        gone = [pair["pair"] for pair in pairs if pair.get("stale")]
        why = str(told.get("daemon") or f"the daemon doesn't attend to {', '.join(gone)}")
        return Answer(CRITICAL, f"{why} Nobody follows or watches {', '.join(gone)}.", "")
    found = [(pair["pair"], each) for pair in pairs for each in conditions(pair)]
    if not found:
        return Answer(OK, "; ".join(map(_well, pairs)), figures)
    worst = CRITICAL if any(each.severity == PAGE for _, each in found) else WARNING
    said = [f"{name}: {each.summary}" for name, each in sorted(found, key=lambda it: it[1].severity != PAGE)]
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
