"""`mailmirror doctor`: could the users be moved now, and if not, what is in the way and what to do.

Invariant: it changes nothing. It exits with 1 when a check that automatic failover needs is red or unknown.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from typing import Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option
from orchestrator.cli.status import look
from orchestrator.inventory.model import Pair
from orchestrator.readiness.check import State
from orchestrator.readiness.checks import checks, ready
from orchestrator.readiness.gather import gather

Row = dict[str, Any]
WIDTH = 104
"""Characters of a line of prose."""


@click.command("doctor")
@reach.pair_argument
@style_option
@click.pass_obj
def command(front: Front, pair: str | None) -> int:
    """Ask every host, name server and record of PAIR, or of all pairs, what automatic failover depends on.

    It takes up to half a minute where hosts don't answer. Exit 1 when automatic failover isn't ready.
    """
    told = [_told(chosen) for chosen in reach.readable(front, pair)]
    text = json.dumps(told, indent=2) + "\n" if front.style == "json" else "\n".join(map(_shown, told))
    click.echo(text, nl=False)
    return 0 if all(each["ready"] for each in told) else 1


def _told(pair: Pair) -> Row:
    status = look([pair])
    [row] = status["pairs"]
    facts = gather(pair, row, status.get("daemon", "") if status["stale"] else "")
    found = checks(facts)
    judged = ready(found)
    return {
        "pair": pair.name,
        "active": facts.active,
        "failover": facts.may_fail_over,
        "ready": judged.ready,
        "reasons": list(judged.reasons),
        "checks": [asdict(check) for check in found],
    }


# --- as text --------------------------------------------------------------------------


def _shown(told: Row) -> str:
    text = _wrapped(f"{told['pair']}: ", _verdict(told))
    for group, some in groupby(told["checks"], key=lambda check: check["group"]):
        text += f"\n{group}\n" + "".join(_line(check) for check in some)
    return text


def _verdict(told: Row) -> str:
    stops = [check["name"] for check in told["checks"] if check["needed"] and check["state"] in ("red", "unknown")]
    what = "Automatic failover" if told["failover"] else "The copy (there is no failover in this pair)"
    if not stops:
        return f"{told['active']} is active. {what} is READY."
    return f"{told['active']} is active. {what} is NOT READY: {', '.join(stops)}."


def _line(check: Row) -> str:
    state = State(check["state"])
    shown = state.value.upper() if state in (State.RED, State.UNKNOWN) else state.value
    text = _wrapped(f"  {shown:<8} {check['name']:<10} ", words.safe(check["found"]))
    if state is State.OK:
        return text
    text += _wrapped("             why: ", words.safe(check["why"]))
    return text + _wrapped("              do: ", words.safe(check["remedy"]))


def _wrapped(begin: str, text: str) -> str:
    """Prose in lines, each indented as far as the first one begins."""
    lines, line = [], ""
    for word in text.split():
        if line and len(begin) + len(line) + len(word) >= WIDTH:
            lines.append(line)
            line = ""
        line += f" {word}" if line else word
    return "".join(f"{begin if not at else ' ' * len(begin)}{each}\n" for at, each in enumerate([*lines, line]))
