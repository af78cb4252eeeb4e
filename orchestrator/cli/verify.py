"""`mailmirror verify`: prove that both ends are equal; exit 1 when they aren't."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option

if TYPE_CHECKING:
    from orchestrator.web.replicates import Replicates, Told


@click.command()
@reach.pair_argument
@click.option("--deep", is_flag=True, help="Read the bodies too.")
@click.option("--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="How long to wait for each pair.")
@style_option
@click.pass_obj
def command(front: Front, pair: str | None, deep: bool, timeout: float | None) -> int:
    """Compare names, flags and UIDs of both ends of PAIR, or of all pairs; with --deep the bodies too."""

    def here(session: Replicates, progress: Told) -> Any:
        return [asdict(report) for report in session.verify(deep)]

    reports: list[Any] = []
    for chosen in reach.readable(front, pair):
        reports += reach.on_pair(front, chosen, {"verb": "verify", "deep": deep}, here, timeout=timeout)
    return words.show("verify", reports, front.style)
