"""`mailmirror init`: lay the store markers down (epoch 1), where the mirror's store is empty."""

from __future__ import annotations

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, order_options


@click.command()
@reach.pair_argument
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@order_options
@click.pass_obj
def command(front: Front, pair: str | None, dry_run: bool, yes: bool, reason: str, timeout: float | None) -> int:
    """Make PAIR known to its hosts: a marker in each store.

    The mirror's store has to be empty; one that holds a copy is taken by `seed --adopt`. It asks nothing, since it
    overwrites nothing.
    """
    chosen = reach.changeable(front, pair)
    with reach.at_work(front, chosen, "init", timeout, keep=False) as session:
        done = list(session.initialise(dry_run=True))  # refuses before anything is noted
        if not dry_run:
            reach.note(chosen, "init", reason)
            done = list(session.initialise())
    code = words.show("init", {"pair": chosen.name, "planned": dry_run, "done": done}, front.style)
    if not dry_run:
        reach.tell_daemon(chosen)
    return code
