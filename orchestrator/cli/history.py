"""`mailmirror history`: the journeys of a pair, the newest last, how each ended and why.

Invariant: it reads the journal and asks nobody.
"""

from __future__ import annotations

import json
import time
from typing import Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option
from orchestrator.inventory.model import Pair
from orchestrator.records.journal import Journal

MOST = 50


@click.command("history")
@click.argument("pair", required=False)
@style_option
@click.pass_obj
def command(front: Front, pair: str | None) -> int:
    """Show the last 50 operations of PAIR, or of all pairs."""
    told = [row for chosen in reach.readable(front, pair) for row in _rows(chosen)]
    if front.style == "json":
        click.echo(json.dumps(told, indent=2))
        return 0
    head = ("PAIR", "OPERATION", "BEGAN", "JOURNEY", "STATE", "BY", "REASON", "SAID")
    keys = ("pair", "operation", "at", "journey", "state", "by", "reason", "said")
    rows = [tuple(words.safe(row[key] or "-") for key in keys) for row in told]
    click.echo(words.table(head, rows), nl=False)
    return 0


def _rows(pair: Pair) -> list[dict[str, Any]]:
    if not (pair.state_dir / "journal.sqlite").exists():
        return []
    with Journal(pair.state_dir) as journal:
        found = journal.operations(pair.name)[-MOST:]
    return [
        {
            "pair": pair.name, "operation": each.id, "journey": each.opening.journey, "from": each.opening.active,
            "to": each.opening.passive, "epoch": each.opening.leads, "by": each.opening.by,
            "reason": each.opening.reason, "began": each.began, "ended": each.ended, "state": str(each.state),
            "said": each.said, "at": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.began)),
        }
        for each in found
    ]  # fmt: skip
