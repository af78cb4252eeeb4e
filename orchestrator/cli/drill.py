"""`mailmirror drill`: a switchover and a failback, reported, to know that both work."""

from __future__ import annotations

import click

from orchestrator.cli import reach, travel
from orchestrator.cli.front import Front, journey_options


@click.command("drill")
@reach.pair_argument
@click.option("--dry-run", is_flag=True, help="Print the plan of both parts; change nothing.")
@journey_options
@click.pass_obj
def command(front: Front, pair: str | None, dry_run: bool, yes: bool, reason: str) -> int:
    """Move the users of PAIR to its mirror and home again, and report how long they waited each time.

    Each part is an operation of its own. Exit 1 when the first was rolled back, 7 when the users aren't home.
    """
    chosen = reach.changeable(front, pair)
    if dry_run:
        travel.show_plan(front, chosen, "drill")
        return 0
    return travel.go(front, chosen, "drill", yes=yes, reason=reason)
