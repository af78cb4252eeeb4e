"""`mailmirror sync`: one pass. The lock's holder does it: this process, or the daemon that is asked."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, order_options

if TYPE_CHECKING:
    from orchestrator.web.replicates import Replicates, Told


@click.command()
@reach.pair_argument
@click.option("--dry-run", is_flag=True, help="Print the plan; change nothing.")
@click.option("--no-deletes", is_flag=True, help="Hold every deletion back.")
@order_options
@click.pass_obj
def command(
    front: Front,
    pair: str | None,
    dry_run: bool,
    no_deletes: bool,
    yes: bool,
    reason: str,
    timeout: float | None,
) -> int:
    """Bring the passive places of PAIR up to date, once.

    While the daemon runs it is asked; else this process does it. It asks nothing: what would delete much waits for
    `mailmirror ack`.
    """
    chosen = reach.changeable(front, pair)

    def here(session: Replicates, progress: Told) -> Any:
        reports = session.sync(progress, dry_run=dry_run, deletes=not no_deletes)
        return [asdict(report) for report in reports]

    request = {"verb": "sync", "dry_run": dry_run, "deletes": not no_deletes}
    told = reach.on_pair(front, chosen, request, here, timeout=timeout, reason=reason)
    return words.show("sync", told, front.style)
