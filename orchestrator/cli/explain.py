"""`mailmirror explain`: what was decided for a pair and why, now or in an operation.

Invariant: what the daemon says is of this second; without one it is what the journal kept last, and says so.
"""

from __future__ import annotations

import json
import time
from typing import Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.decided import decision_of, kept_of
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import TryAgain
from orchestrator.failover.decide import explain
from orchestrator.inventory.model import Pair
from orchestrator.records import database
from orchestrator.records.journal import Journal

NOBODY = TryAgain("No daemon runs.")


@click.command("explain")
@click.argument("what", required=False, metavar="[PAIR|OP]", shell_complete=reach.offers())
@style_option
@click.pass_obj
def command(front: Front, what: str | None) -> int:
    """Say how it was decided: for each pair or PAIR as it stands, or the decisions and steps of the operation OP.

    OP may also be the number of a decision, as `mailmirror history --decisions` shows them.
    """
    pairs = reach.inventory(front).pairs
    if what is None or what in pairs:
        told = [_now(pair) for pair in reach.readable(front, what)]
    else:
        told = [_then(pair, operation, what) for pair, operation in kept_of(list(pairs.values()), what)]
    if front.style == "json":
        click.echo(json.dumps(told, indent=2))
        return 0
    click.echo("\n\n".join("\n".join(map(words.safe, each["lines"])) for each in told))
    return 0


def _now(pair: Pair) -> dict[str, Any]:
    try:
        told: dict[str, Any] = reach.ask_daemon(pair, {"verb": "explain", "pair": pair.name}, NOBODY)
    except TryAgain as error:
        if error is not NOBODY:
            raise
        return _last(pair)
    return {**told, "lines": [f"{pair.name}:", *told["lines"]]}


def _last(pair: Pair) -> dict[str, Any]:
    nothing = f"{pair.name}: nothing was decided for it yet, and no daemon runs: `mailmirror run`."
    if not database.path_of(pair.state_dir).exists():
        return {"pair": pair.name, "lines": [nothing]}
    with Journal(pair.state_dir) as journal:
        for kept in journal.decisions(pair.name, newest=1):
            head = f"{pair.name}, as decided at {_moment(kept.at)} (decision {kept.id}); no daemon runs:"
            return {"pair": pair.name, "number": kept.id, "at": kept.at, "lines": [head, *explain(decision_of(kept))]}
    return {"pair": pair.name, "lines": [nothing]}


def _then(pair: Pair, operation: str, what: str) -> dict[str, Any]:
    lines, decisions = [], []
    with Journal(pair.state_dir) as journal:
        kept = journal.decisions(pair.name, operation) if operation else journal.decisions(pair.name, number=int(what))
        for each in kept:
            lines += [f"Decision {each.id} of {pair.name}, {_moment(each.at)}:", *explain(decision_of(each))]
            decisions.append({"number": each.id, "at": each.at, "version": each.version, "decision": each.decision})
        steps: list[dict[str, Any]] = []
        if operation:
            found = journal.operation(operation)
            lines += ["Nothing was decided by itself: it was ordered."] if not kept else []
            by = f"by {found.opening.by}{f', {found.opening.reason}' if found.opening.reason else ''}"
            lines.append(f"{found.opening.journey} {operation}, {by}: {found.state}. {found.said}")
            for mark in journal.marks(operation):
                since = mark.at - found.began
                steps.append({"at": mark.at, "step": mark.verb, "phase": str(mark.phase), "said": mark.said})
                lines.append(f"  {since:7.2f} s  {mark.number} {mark.verb}: {mark.phase}{_said(mark.said)}")
    return {"pair": pair.name, "operation": operation, "decisions": decisions, "steps": steps, "lines": lines}


def _said(text: str) -> str:
    return f": {text}" if text else ""


def _moment(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
