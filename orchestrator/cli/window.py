"""`mailmirror window`: the maintenance windows of each pair, and an operator's single ones.

Invariant: windows are kept by whoever holds the pair's lock, the daemon or this command; only the daemon acts on them.
"""

from __future__ import annotations

import importlib
import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import UsageError
from orchestrator.records.lock import Held, Lock
from orchestrator.web.ask import STATUS_WITHIN

if TYPE_CHECKING:
    from orchestrator.inventory.model import Pair


@click.group("window")
def command() -> None:
    """Times in which users are moved to the mirror for planned work; the daemon keeps them."""


@command.command("list")
@reach.pair_argument
@style_option
@click.pass_obj
def listed(front: Front, pair: str | None) -> int:
    """Show what is open, to come within nine days, or was over in the last eight."""
    told = [{"pair": chosen.name, **row} for chosen in reach.readable(front, pair) for row in _ask(chosen, "list")]
    if front.style == "json":
        click.echo(json.dumps(told, indent=2))
        return 0
    rows = [
        (row["pair"], row["key"], row["state"], _moment(row["opens"]), _moment(row["closes"]),
         "yes" if row["failback"] else "no", row["by"], words.safe(row["said"] or row["reason"] or "-"))
        for row in told
    ]  # fmt: skip
    head = ("PAIR", "WINDOW", "STATE", "OPENS", "CLOSES", "FAILBACK", "BY", "SAID")
    click.echo(words.table(head, rows), nl=False)
    return 0


@command.command("add")
@click.argument("pair_and_name", nargs=-1, required=True, metavar="[PAIR] NAME", shell_complete=reach.offers())
@click.option("--start", metavar="TIME", help='"2026-12-06 02:30", in --zone; default: now.')
@click.option("--zone", metavar="ZONE", help="Of the IANA database, as Europe/Zurich; default: this host's time.")
@click.option("--for", "length", required=True, metavar="DURATION", help="How long, as 1h or 90m.")
@click.option("--failback", is_flag=True, help="Bring users home when it closes.")
@click.option("--reason", default="", metavar="TEXT", help="Why: kept in the journal.")
@style_option
@click.pass_obj
def add(
    front: Front, pair_and_name: tuple[str, ...], start: str | None, zone: str | None, length: str, failback: bool,
    reason: str,
) -> int:  # fmt: skip
    """Plan a single window NAME; the daemon moves users when it opens, if that is safe then."""
    chosen, name = _meant(front, pair_and_name)
    opens = time.time() if start is None else _parsed(start, zone)
    more = {"opens": opens, "seconds": _duration(length), "failback": failback, "reason": reason}
    return _show(front, _ask(chosen, "add", name, more))


@command.command("extend")
@click.argument("pair_and_name", nargs=-1, required=True, metavar="[PAIR] NAME", shell_complete=reach.offers())
@click.option("--for", "length", required=True, metavar="DURATION", help="By how much longer, as 30m.")
@click.option("--reason", default="", metavar="TEXT", help="Why: kept in the journal.")
@style_option
@click.pass_obj
def extend(front: Front, pair_and_name: tuple[str, ...], length: str, reason: str) -> int:
    """Have the window NAME that is open, or the next of that name, close later."""
    chosen, name = _meant(front, pair_and_name)
    return _show(front, _ask(chosen, "extend", name, {"seconds": _duration(length), "reason": reason}))


@command.command("cancel")
@click.argument("pair_and_name", nargs=-1, required=True, metavar="[PAIR] NAME", shell_complete=reach.offers())
@click.option("--reason", default="", metavar="TEXT", help="Why: kept in the journal.")
@style_option
@click.pass_obj
def cancel(front: Front, pair_and_name: tuple[str, ...], reason: str) -> int:
    """Leave the next window NAME out; one of a rule comes again as the rule says."""
    chosen, name = _meant(front, pair_and_name)
    return _show(front, _ask(chosen, "cancel", name, {"reason": reason}))


def _meant(front: Front, said: tuple[str, ...]) -> tuple[Pair, str]:
    if len(said) > 2:
        raise UsageError("Too many words.", remedy="Name the pair (where there are several) and the window.")
    return reach.changeable(front, said[0] if len(said) == 2 else None), said[-1]


def _ask(pair: Pair, what: str, name: str = "", more: dict[str, Any] | None = None) -> Any:
    try:
        with Lock(pair.state_dir, pair.name, f"window {what}"):
            calendar = importlib.import_module("orchestrator.daemon.windows").Kept(pair)
            return calendar.listed() if what == "list" else calendar.said(what, name, reach.by(), more or {})
    except Held as held:
        asked = {"verb": "window", "pair": pair.name, "what": what, "name": name, **(more or {})}
        return reach.ask_daemon(pair, asked, held, within=STATUS_WITHIN if what == "list" else None)


def _show(front: Front, told: dict[str, Any]) -> int:
    if front.style == "json":
        click.echo(json.dumps(told, indent=2))
    else:
        moments = f"{_moment(told['opens'])} to {_moment(told['closes'])}"
        click.echo(f"{told['key']}: {told['state']}, {moments}")
    return 0


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _parsed(start: str, zone: str | None) -> float:
    try:
        local = datetime.fromisoformat(start)
        where = ZoneInfo(zone) if zone else None
    except (ValueError, ZoneInfoNotFoundError) as error:
        hint = 'Write --start "2026-12-06 02:30" and --zone Europe/Zurich.'
        raise UsageError(f"That is no time: {error}.", remedy=hint) from error
    return (local if local.tzinfo else local.replace(tzinfo=where)).timestamp()


def _duration(written: str) -> float:
    quantities = importlib.import_module("orchestrator.inventory.quantities")
    try:
        return float(quantities.duration(written))
    except quantities.Wrong as error:
        raise UsageError(f"{error.what}.", remedy=f"Say --for: {error.hint}.") from error
