"""`mailmirror status`: how each pair stands, from the daemon, or from the last snapshot, marked stale."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import NotPermitted, TryAgain
from orchestrator.records import snapshot
from orchestrator.web.ask import STATUS_WITHIN

if TYPE_CHECKING:
    from orchestrator.inventory.model import Pair

CLEAR = "\x1b[H\x1b[J"  # home, erase to the end (ECMA-48)
TICK = "\x1b7\x1b[H{}\x1b8"  # a text at home, the cursor back where it was (DECSC, DECRC)
EVERY = 1.0  # seconds


@click.command()
@reach.pair_argument
@click.option("--watch", is_flag=True, help="Look each second, and show it anew when it changes, until Ctrl-C.")
@style_option
@click.pass_obj
def command(front: Front, pair: str | None, watch: bool) -> int:
    """How each pair stands, or PAIR: state, lag, equality, what waits, and what to type."""
    pairs = reach.readable(front, pair)
    if not watch:
        return words.show("status", look(pairs), front.style)
    return _watched(pairs, front.style)


def _watched(pairs: list[Pair], style: str) -> int:
    """Until Ctrl-C. On a terminal a clock says that it still looks; elsewhere only what changed is written."""
    screen = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    shown = None
    while True:
        text, clock = words.text("status", look(pairs), style), time.strftime("%Y-%m-%d %H:%M:%S")
        if text != shown:
            sys.stdout.write(f"{CLEAR}{clock}\n\n{text}" if screen else text if shown is None else f"\n{text}")
        elif screen and text.count("\n") + 2 < shutil.get_terminal_size().lines:  # else the clock's line scrolled away
            sys.stdout.write(TICK.format(clock))
        sys.stdout.flush()
        shown = text
        time.sleep(EVERY)


def look(pairs: list[Pair]) -> dict[str, Any]:
    """What `status --format json` shows: {"pairs": [PairStatus...], "stale": bool, "daemon": why it isn't the answer}.

    A pair of which the daemon doesn't tell is shown as it was seen last, with "stale": true of its own. "barred" is
    there, and true, where this user may not ask: then nobody knows whether a daemon runs.
    """
    why, fresh, barred = "", {}, False
    try:
        nobody = TryAgain("No daemon runs.", remedy="Start it with `mailmirror run`.")
        told = reach.ask_daemon(pairs[0], {"verb": "status"}, nobody, within=STATUS_WITHIN)
        fresh = {status["pair"]: status for status in told["pairs"]}
    except (TryAgain, NotPermitted) as error:
        why, barred = f"{error} {error.remedy}", isinstance(error, NotPermitted)
    old = [pair.name for pair in pairs if pair.name not in fresh]
    if fresh and old:
        why = f"The daemon doesn't attend to {', '.join(old)}: restart it, the inventory has changed."
    shown = [fresh.get(pair.name) or last(pair) for pair in pairs]
    return {
        "pairs": shown,
        "stale": bool(old),
        **({"daemon": why} if why else {}),
        **({"barred": True} if barred else {}),
    }


def last(pair: Pair) -> dict[str, Any]:
    """The pair's last snapshot, with what isn't so any more put right. Raises NotPermitted where it may not be read."""
    try:
        os.listdir(pair.state_dir)
    except FileNotFoundError:
        return {**reach.never_seen(pair), "stale": True}
    except PermissionError as error:
        raise NotPermitted(f"Who asks no daemon has to read {pair.state_dir}: {error.strerror}.") from error
    known = {**reach.never_seen(pair), **(snapshot.read(pair.state_dir, pair.name) or {})}
    return {**known, "link": "stopped", "permit_open": False, "stale": True}
