"""`mailmirror status`: how each pair stands, from the daemon, or from the last snapshot, marked stale."""

from __future__ import annotations

import importlib
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import NotPermitted, TryAgain
from orchestrator.records import snapshot

if TYPE_CHECKING:
    from orchestrator.inventory.model import Pair

CLEAR = "\x1b[H\x1b[J"  # home, erase to the end (ECMA-48)
EVERY = 1.0  # seconds


@click.command()
@click.argument("pair", required=False)
@click.option("--watch", is_flag=True, help="Draw it anew each second, until Ctrl-C.")
@style_option
@click.pass_obj
def command(front: Front, pair: str | None, watch: bool) -> int:
    """How each pair stands, or PAIR: state, lag, equality, what waits, and what to type."""
    pairs = reach.readable(front, pair)
    if not watch:
        return words.show("status", look(pairs), front.style)
    while True:
        told = look(pairs)
        if sys.stdout.isatty():
            sys.stdout.write(f"{CLEAR}{time.strftime('%Y-%m-%d %H:%M:%S')}\n\n")
        words.show("status", told, front.style)
        time.sleep(EVERY)


def look(pairs: list[Pair]) -> dict[str, Any]:
    """What `status --format json` shows: {"pairs": [PairStatus...], "stale": bool}."""
    try:
        told = reach.ask_daemon(pairs[0], {"verb": "status"}, TryAgain("No daemon runs."))
        fresh = {status["pair"]: status for status in told["pairs"]}
    except (TryAgain, NotPermitted):  # the snapshots are the answer then, and say that they are old
        fresh = {}
    missing = [pair for pair in pairs if pair.name not in fresh]
    shown = [fresh.get(pair.name) or last(pair) for pair in pairs]
    return {"pairs": shown, "stale": bool(missing)}


def last(pair: Pair) -> dict[str, Any]:
    """The pair's last snapshot, with what isn't so any more put right."""
    known = snapshot.read(pair.state_dir, pair.name)
    if known is None:
        report = importlib.import_module("orchestrator.replication.report")
        known = asdict(report.PairStatus(pair.name, not_used=list(pair.not_used)))
    return {**known, "link": "stopped", "permit_open": False}
