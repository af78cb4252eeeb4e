"""`mailmirror seed --adopt`: take a mirror that already holds a copy, compare it, mend it, send nothing again."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.fast import Lazily
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import NothingToDo, Refused
from orchestrator.records.lock import Held, Lock

if TYPE_CHECKING:
    from orchestrator.inventory.model import Pair
    from orchestrator.web.replicates import Replicates


@click.command()
@click.argument("pair", required=False)
@click.option("--adopt", is_flag=True, help="Keep what stands on the mirror; compare and mend it.")
@click.option("--dry-run", is_flag=True, help="Print the plan; change nothing.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="How long to wait for it.")
@style_option
@click.pass_obj
def command(front: Front, pair: str | None, adopt: bool, dry_run: bool, yes: bool, timeout: float | None) -> int:
    """Make the mirror of PAIR from a copy that is there already (rsync, disk, dsync)."""
    chosen = reach.changeable(front, pair)
    if not adopt:
        raise Refused(
            "This version doesn't make a mirror anew over what stands there.",
            remedy="Say --adopt to keep it, or empty the mirror's store and run `mailmirror init`.",
        )
    question = f"Adopt what stands on {chosen.mirror.name}, and mend it?"
    try:
        with Lock(chosen.state_dir, chosen.name, "seed"), reach.session(front, chosen, timeout) as session:
            reports = _here(session, dry_run, question, yes)
    except Held as held:
        reports = _in_the_daemon(chosen, dry_run, question, yes, timeout, held)
    else:
        reach.tell_daemon(chosen)
    return words.show("sync", reports, front.style)


def _here(session: Replicates, dry_run: bool, question: str, yes: bool) -> list[Any]:
    """The reports of the pass that adopts, or of its plan: without markers the plan is only to lay them down."""
    try:
        steps = session.initialise(adopt=True, dry_run=True)
    except NothingToDo:  # the markers are there: what is left is to compare and mend
        steps = []
    plan = [] if steps else [asdict(report) for report in session.sync(dry_run=True, adopt=True)]
    sys.stderr.write("".join(f"{step}\n" for step in steps))
    if dry_run:
        return plan
    sys.stderr.write(words.sync(plan))
    reach.confirm(question, yes)
    if steps:
        session.initialise(adopt=True)
    with Lazily() as progress:
        return [asdict(report) for report in session.sync(lambda told: progress(asdict(told)), adopt=True)]


def _in_the_daemon(pair: Pair, dry_run: bool, question: str, yes: bool, timeout: float | None, held: Held) -> list[Any]:
    request = {"verb": "sync", "pair": pair.name, "adopt": True, **({} if timeout is None else {"timeout": timeout})}
    plan: list[Any] = reach.ask_daemon(pair, {**request, "dry_run": True}, held)
    if dry_run:
        return plan
    sys.stderr.write(words.sync(plan))
    reach.confirm(question, yes)
    reports: list[Any] = reach.ask_daemon(pair, request, held)
    return reports
