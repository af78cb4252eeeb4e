"""`mailmirror seed`: make a mirror anew, or (--adopt) take a copy that it holds: compare, mend, send nothing again."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from orchestrator.cli import reach, words
from orchestrator.cli.fast import Lazily
from orchestrator.cli.front import Front, order_options
from orchestrator.errors import NothingToDo
from orchestrator.records import snapshot
from orchestrator.records.lock import Held

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.inventory.model import Host, Pair
    from orchestrator.web.replicates import Replicates


class Order(NamedTuple):
    """What was typed. `agree` asks, and raises unless it may go on."""

    pair: Pair
    adopt: bool
    dry_run: bool
    agree: Callable[[Host], None]  # the place that is filled
    reason: str
    timeout: float | None


@click.command()
@reach.pair_argument
@click.option("--adopt", is_flag=True, help="Keep what stands on the mirror; compare and mend it.")
@click.option("--dry-run", is_flag=True, help="Print the plan; change nothing.")
@click.option("--accept-loss", is_flag=True, help="Needed where mm_undelete is 0s and nothing is adopted.")
@order_options
@click.pass_obj
def command(
    front: Front,
    pair: str | None,
    adopt: bool,
    dry_run: bool,
    accept_loss: bool,
    yes: bool,
    reason: str,
    timeout: float | None,
) -> int:
    """Make the mirror of PAIR anew: what stands there goes into its quarantine, then everything is copied.

    With --adopt it is made from a copy that is there already (rsync, disk, dsync), and nothing is sent again.
    """
    chosen = reach.changeable(front, pair)

    def agree(filled: Host) -> None:
        if not adopt and not chosen.undelete:
            reach.confirm_loss(chosen, pair, accept_loss, f"seed {chosen.name} --accept-loss")
        elif adopt:
            reach.confirm(f"Adopt what stands on {filled.name}, and mend it?", yes)
        else:
            reach.confirm(f"Put all that aside on {filled.name}, and copy everything anew?", yes)

    order = Order(chosen, adopt, dry_run, agree, reason, timeout)
    try:
        with reach.at_work(front, chosen, "seed", timeout, keep=not dry_run) as session:
            reports = _here(session, order)
    except Held as held:
        reports = _in_the_daemon(order, held)
    else:
        reach.tell_daemon(chosen)
    return words.show("sync", reports, front.style)


def _here(session: Replicates, order: Order) -> list[Any]:
    """The reports of the pass, or of its plan: without markers the plan is only to lay them down, and what follows."""
    try:
        marks = list(session.initialise(adopt=True, dry_run=True))
    except NothingToDo:  # the markers are there
        marks = []
    plan: list[Any] = []
    if order.adopt and not marks:
        plan = [asdict(report) for report in session.sync(dry_run=True, adopt=True)]
    aside = [] if order.adopt or marks else list(session.set_aside(dry_run=True))
    steps = [] if order.adopt else _anew(order.pair, session.status().active, aside)
    _say([*marks, *steps])
    if order.dry_run:
        return plan
    sys.stderr.write(words.sync(plan))
    order.agree(_passive(order.pair, session.status().active))
    reach.note(order.pair, "seed", order.reason, adopt=order.adopt)
    if marks:
        session.initialise(adopt=True)
    if not order.adopt:
        _say(session.set_aside())
    with Lazily() as progress:
        return [asdict(report) for report in session.sync(lambda told: progress(asdict(told)), adopt=order.adopt)]


def _say(sentences: Sequence[str]) -> None:
    sys.stderr.write("".join(f"{sentence}.\n" for sentence in sentences))


def _passive(pair: Pair, active: str) -> Host:
    """The place that is filled."""
    return pair.primary if active == pair.mirror.name else pair.mirror


def _anew(pair: Pair, active: str, aside: list[str]) -> list[str]:
    """The plan, in sentences."""
    filled = _passive(pair, active)
    aside = aside or [
        f"all that stands in {store.root} on {filled.name} would go into quarantine there" for store in filled.stores
    ]
    return [*aside, f"then everything would be copied from {_passive(pair, filled.name).name}"]


def _in_the_daemon(order: Order, held: Held) -> list[Any]:
    pair = order.pair
    active = snapshot.active(pair.state_dir, pair.name)  # as the daemon, which holds the lock, keeps it
    request: dict[str, Any] = {"pair": pair.name, "verb": "sync" if order.adopt else "seed"}
    if order.adopt:
        request["adopt"] = True
    if order.timeout is not None:
        request["timeout"] = order.timeout
    plan = reach.ask_daemon(pair, {**request, "dry_run": True}, held)
    if not order.adopt:
        _say(_anew(pair, active, plan["aside"]))
        plan = []
    if order.dry_run:
        return list(plan)
    sys.stderr.write(words.sync(plan))
    order.agree(_passive(pair, active))
    told = reach.ask_daemon(pair, {**request, "reason": order.reason}, held)
    return list(told if order.adopt else told["reports"])
