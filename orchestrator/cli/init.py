"""`mailmirror init`: lay the store markers down (epoch 1), where the mirror's store is empty."""

from __future__ import annotations

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option
from orchestrator.records.lock import Lock


@click.command()
@click.argument("pair", required=False)
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@click.option("--yes", is_flag=True, help="For scripts; init asks nothing, since it overwrites nothing.")
@click.option("--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="How long to wait for it.")
@style_option
@click.pass_obj
def command(front: Front, pair: str | None, dry_run: bool, yes: bool, timeout: float | None) -> int:
    """Make PAIR known to its hosts: a marker in each store.

    The mirror's store has to be empty; one that holds a copy is taken by `seed --adopt`.
    """
    chosen = reach.changeable(front, pair)
    with Lock(chosen.state_dir, chosen.name, "init"), reach.session(front, chosen, timeout) as session:
        done = list(session.initialise(dry_run=dry_run))
    code = words.show("init", {"pair": chosen.name, "planned": dry_run, "done": done}, front.style)
    if not dry_run:
        reach.tell_daemon(chosen)
    return code
