"""`mailmirror plan JOURNEY`: the steps of a journey's playbook, and what is there now of each.

Invariant: it changes nothing. While a daemon runs, what its replication knows isn't asked a second time.
"""

from __future__ import annotations

import click

from orchestrator.cli import reach, travel
from orchestrator.cli.front import Front, style_option


@click.command("plan")
@click.argument("journey", type=click.Choice(travel.JOURNEYS))
@reach.pair_argument
@style_option
@click.pass_obj
def command(front: Front, journey: str, pair: str | None) -> int:
    """Print the steps of JOURNEY with each step's present proof; change nothing."""
    travel.show_plan(front, reach.changeable(front, pair), journey)
    return 0
