"""`mailmirror demo`: an embedded site on loopback, mail that arrives, a mirror that follows, and the proofs."""

from __future__ import annotations

import random

import click

from orchestrator.demo.show import perform


@click.command("demo")
@click.option(
    "--seed", type=int, default=None, help="The letters and choices of an earlier run; its first line names it."
)
@click.option("--keep", is_flag=True, help="Keep the directory: logs, inventory and both mail trees.")
def command(seed: int | None, keep: bool) -> int:
    """Show it working: two mail hosts on this machine, in about a minute, leaving nothing behind."""
    try:
        perform(seed=random.randrange(1_000_000) if seed is None else seed, keep=keep)
    except KeyboardInterrupt:
        click.echo("\ninterrupted; everything is stopped and cleaned up", err=True)
        return 130
    return 0
