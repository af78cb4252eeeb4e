"""`mailmirror failback`: a switchover back to the primary."""

from __future__ import annotations

import click

from orchestrator.cli import reach, travel
from orchestrator.cli.front import Front, journey_options


@click.command("failback")
@reach.pair_argument
@click.option("--dry-run", is_flag=True, help="Print the plan with each step's present proof; change nothing.")
@journey_options
@click.pass_obj
def command(front: Front, pair: str | None, dry_run: bool, yes: bool, reason: str) -> int:
    """Move the users of PAIR back to its primary. It is never done unasked. Exit codes as of switchover."""
    chosen = reach.changeable(front, pair)
    if dry_run:
        travel.show_plan(front, chosen, "failback")
        return 0
    return travel.go(front, chosen, "failback", yes=yes, reason=reason)
