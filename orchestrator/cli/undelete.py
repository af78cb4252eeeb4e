"""`mailmirror undelete`: list what stands in the mirror's quarantine, and bring it back."""

from __future__ import annotations

import importlib
import re
import sys
import time
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, order_options

if TYPE_CHECKING:
    from orchestrator.web.replicates import Replicates, Told

AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def moment(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """A point in time: 2h (ago), or 2026-11-24 [12:00[:00]], local unless it has an offset."""
    ago = AGO.fullmatch(value or "")
    if ago:
        return time.time() - float(ago[1]) * UNITS[ago[2]]
    try:
        return datetime.fromisoformat(value).timestamp() if value else None
    except ValueError as error:
        told = f"{value!r} is neither an age like 2h nor a date like 2026-11-24 12:00."
        raise click.BadParameter(told, context, parameter) from error


@click.command()
@reach.pair_argument
@click.option("--list", "only_list", is_flag=True, help="Only list (also without any choice).")
@click.option("--account", default="", metavar="GLOB", help="Accounts whose messages are meant.")
@click.option("--pattern", default="", metavar="GLOB", help="Messages that are meant, as FOLDER/NAME.")
@click.option("--since", callback=moment, metavar="WHEN", help="Deleted since then: 2h, or 2026-11-24 12:00.")
@click.option("--until", callback=moment, metavar="WHEN", help="Deleted before then.")
@click.option("--all", "everything", is_flag=True, help="Everything that the quarantine holds.")
@click.option("--dry-run", is_flag=True, help="The same as --list.")
@order_options
@click.pass_obj
def command(
    front: Front,
    pair: str | None,
    only_list: bool,
    account: str,
    pattern: str,
    since: float | None,
    until: float | None,
    everything: bool,
    dry_run: bool,
    yes: bool,
    reason: str,
    timeout: float | None,
) -> int:
    """Bring back what was deleted on the mirror of PAIR within mm_undelete (7 days).

    Without a choice it lists what is there. What is brought back stands on the mirror and waits there as a held-back
    deletion (`mailmirror ack`); nothing is written to the active place.
    """
    chosen = reach.changeable(front, pair)
    selection = {"account": reach.as_name(account), "pattern": reach.as_name(pattern), "since": since, "until": until}
    plan = _ask(front, chosen, selection, True, timeout, "")
    if only_list or dry_run or not (everything or any(selection.values())):
        return words.show("undelete", plan, front.style)
    sys.stderr.write(words.undelete(plan))
    if not any(report["chosen"] for report in plan):
        return 3
    reach.confirm("Bring them back?", yes)
    return words.show("undelete", _ask(front, chosen, selection, False, timeout, reason), front.style)


def _ask(front: Front, pair: Any, selection: dict[str, Any], dry_run: bool, timeout: float | None, reason: str) -> Any:
    def here(session: Replicates, progress: Told) -> Any:
        chosen = importlib.import_module("orchestrator.replication.report").Selection(**selection)
        return [asdict(report) for report in session.undelete(chosen, dry_run=dry_run)]

    request = {"verb": "undelete", "dry_run": dry_run, **selection}
    return reach.on_pair(front, pair, request, here, timeout=timeout, reason=reason)
