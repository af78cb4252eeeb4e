"""What a returned host has of its own, and what follows from it: looked at for a rejoin, and for its dry run.

Invariant: nothing is touched, on no host, and nothing is written.
"""

from __future__ import annotations

from typing import Any

from orchestrator.errors import HostError, Refused, StillRunning
from orchestrator.failover import queueplan, reporting
from orchestrator.failover.step import Voyage
from orchestrator.failover.steps import stores
from orchestrator.failover.steps.queue import Moving
from orchestrator.failover.world import World
from orchestrator.replication import homecoming
from orchestrator.replication.homecoming import Cut, Store
from orchestrator.replication.reclaim import Plan


def looked(voyage: Voyage[World]) -> list[dict[str, Any]]:
    """Each store as JSON: its root, the cut by which it was compared, what was found. Nothing is touched. Raises
    HostError; Refused where nothing says what the returned host handed over.
    """
    world = voyage.world
    found = []
    pairs = zip(world.mailstores(voyage.passive), world.mailstores(voyage.active), strict=True)
    for returned, active in pairs:
        marker = world.ask(voyage.passive, "store.look", {"store": returned.path}, stores.BEYOND).head["marker"]
        if marker is None:
            raise Refused(
                f"{returned.link.name}: {returned.path} has no store marker.",
                remedy="Mount its file system there, then `mailmirror op resume`.",
            )
        if marker["epoch"] >= voyage.leads:  # turned by an earlier rejoin, which had recorded and delivered before
            nothing = homecoming.Found((), 0, frozenset(), {})
            found.append({"root": returned.path, "cut": None, "found": nothing.packed()})
            continue
        cut = cut_of(active, int(marker["epoch"]), voyage.active)
        told = {
            "epoch": cut.epoch, "place": cut.place, "at": cut.at, "complete": cut.complete, "operation": cut.operation,
        }  # fmt: skip
        found.append({"root": returned.path, "cut": told, "found": homecoming.look(returned, cut).packed()})
    return found


def cut_of(active: Store, epoch: int, place: str) -> Cut:
    """The cut of the first promotion after the epoch that the returned store is of. Raises Refused where none is."""
    standing = [cut for cut in homecoming.cuts(active) if cut.epoch > epoch and cut.place == place]
    if not standing:
        raise Refused(
            f"{active.link.name} has no cut of {active.path} after epoch {epoch}: nobody can tell what the returned"
            " host never handed over.",
            remedy="Keep its disk. `mailmirror seed` would make it a copy; what only it has would lie in quarantine.",
        )
    return min(standing, key=lambda cut: cut.epoch)


def planned(voyage: Voyage[World], found: list[dict[str, Any]], ctimes: str) -> list[Plan]:
    """What follows from what was found, by the active's present state. Nothing is touched."""
    actives = voyage.world.mailstores(voyage.active)
    return [
        homecoming.plan(homecoming.Found.unpacked(each["found"]), active, ctimes)
        for each, active in zip(found, actives, strict=True)
    ]


def refuse_to_guess(pair: str, plans: list[Plan]) -> None:
    """Raises Refused where most ctimes are alike and no operator has said what they are good for."""
    asks = [plan.share for plan in plans if plan.ask]
    if asks:
        raise Refused(
            f"{max(asks):.0%} of the files that are the same on both places have a later ctime on the returned host,"
            " as after a chown or a restore: ctimes don't tell whose change it was.",
            remedy=f"If nothing of the kind was done there, `mailmirror rejoin {pair} --ctimes trust`. Else `--ctimes"
            " void`: every message that was never handed over is delivered, and no change of flags or place applied.",
        )


def surveyed(voyage: Voyage[World], ctimes: str) -> dict[str, Any]:
    """The whole plan as JSON, in numbers and by message. Nothing is touched. Raises as `looked` does."""
    found = looked(voyage)
    plans = planned(voyage, found, ctimes)
    rows = [
        {"root": each["root"], "cut": each["cut"], "lines": [reporting.line(line) for line in plan.lines]}
        for each, plan in zip(found, plans, strict=True)
    ]
    return {
        "counts": reporting.counts(plans), "at_risk": sum(plan.at_risk for plan in plans),
        "share": max(plan.share for plan in plans), "asks": any(plan.ask for plan in plans),
        "no_account": [
            name
            for plan, active in zip(plans, voyage.world.mailstores(voyage.active), strict=True)
            for name in homecoming.absent(active, plan)
        ],
        "queue": _waiting(voyage), "stores": rows,
    }  # fmt: skip


def _waiting(voyage: Voyage[World]) -> str:
    moving = Moving(voyage, voyage.passive, voyage.active)
    try:
        plan = queueplan.move(*moving.both(), moving.giver, voyage.operation)
    except (HostError, StillRunning) as error:
        return f"what waits in its queue isn't known: {error}"
    stays = f"; {len(plan.stays)} stay there" if plan.stays else ""
    return f"{len(plan.carry)} letters wait in its queue{stays}"
