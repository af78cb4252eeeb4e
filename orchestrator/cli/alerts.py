"""`mailmirror alerts test`: a test notice by every way of `mm_alerts`, and what became of it.

Invariant: it changes nothing of what was told of real conditions.
"""

from __future__ import annotations

import importlib
import json
import time
from typing import TYPE_CHECKING

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import MailmirrorError, NothingToDo

if TYPE_CHECKING:
    from orchestrator.inventory.model import AlertChannel, Pair


@click.group("alerts")
def command() -> None:
    """Who is told when something is wrong."""


@command.command("test")
@reach.pair_argument
@style_option
@click.pass_obj
def test(front: Front, pair: str | None) -> int:
    """Send a test notice, and its end, by every way of PAIR, or of all pairs. Exit 1 when one didn't take it."""
    pairs = reach.readable(front, pair)
    told = [{"pair": each.name, "channel": channel.name, "lost": _tried(each, channel)} for each in pairs
            for channel in each.alerts]  # fmt: skip
    if not told:
        raise NothingToDo("No pair has mm_alerts.", remedy="Say who is to be told: the sample inventory has examples.")
    if front.style == "json":
        click.echo(json.dumps(told, indent=2))
    else:
        rows = [(row["pair"], row["channel"], words.safe(row["lost"] or "taken")) for row in told]
        click.echo(words.table(("PAIR", "CHANNEL", "OUTCOME"), rows), nl=False)
    return 1 if any(row["lost"] for row in told) else 0


def _tried(pair: Pair, channel: AlertChannel) -> str:
    """Why it was lost, or nothing."""
    channels = importlib.import_module("orchestrator.alerts.channels")
    ledger = importlib.import_module("orchestrator.alerts.ledger")
    conditions = importlib.import_module("orchestrator.alerts.conditions")
    condition = conditions.Condition(
        "test", channel.least, "This is a test: nothing is wrong.", "Nothing is to be done."
    )
    now = time.time()
    try:
        for status, ended in ((ledger.FIRING, 0.0), (ledger.RESOLVED, now)):
            channels.of(channel).send([ledger.Notice(channel.name, status, pair.name, condition, now, ended)])
    except MailmirrorError as error:
        return f"{error} {error.remedy}"
    return ""
