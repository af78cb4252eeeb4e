"""`mailmirror op resume|rollback|abort`: an operator's word on an operation that is stuck, or under way.

Invariant: an abort changes nothing at any host; what may still be undone or gone on with is the journal's to say.
"""

from __future__ import annotations

import click

from orchestrator.cli import reach, travel
from orchestrator.cli.front import Front, journey_options
from orchestrator.errors import UsageError

WHAT = {
    "resume": "Go on with it",
    "rollback": "Undo what it did",
    "abort": "Leave everything as it stands, and end it",
}


@click.command("op")
@click.argument("what", type=click.Choice(list(WHAT)))
@click.argument("pair_and_id", nargs=-1, required=True, metavar="[PAIR] ID", shell_complete=reach.offers())
@journey_options
@click.pass_obj
def command(front: Front, what: str, pair_and_id: tuple[str, ...], yes: bool, reason: str) -> int:
    """Say how the operation ID goes on, which `mailmirror history` names. Exit codes as of switchover.

    An abort needs --reason.
    """
    if len(pair_and_id) > 2:
        raise UsageError("Too many words.", remedy="Name the pair (where there are several) and the operation.")
    chosen = reach.changeable(front, pair_and_id[0] if len(pair_and_id) == 2 else None)
    name = pair_and_id[-1]
    reach.confirm(f"{WHAT[what]}: {name} of {chosen.name}?", yes)
    return travel.word(front, chosen, what, name, reason)
