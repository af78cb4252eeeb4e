"""`mailmirror switchover`: the users move to the passive place, by plan, and nothing is lost."""

from __future__ import annotations

import click

from orchestrator.cli import reach, travel
from orchestrator.cli.front import Front, journey_options


@click.command("switchover")
@reach.pair_argument
@click.option("--dry-run", is_flag=True, help="Print the plan with each step's present proof; change nothing.")
@journey_options
@click.pass_obj
def command(front: Front, pair: str | None, dry_run: bool, yes: bool, reason: str) -> int:
    """Move the users of PAIR to its passive place, which becomes the active one.

    Before the point of no return every failure is rolled back. Exit 1 when it was, 7 when it is stuck behind it.
    """
    chosen = reach.changeable(front, pair)
    if dry_run:
        travel.show_plan(front, chosen, "switchover")
        return 0
    return travel.go(front, chosen, "switchover", yes=yes, reason=reason)
