"""A journey from its order to its end: who is active, the conductor over the pair's real hosts, and what came of it.

Whoever calls holds the pair's lock, and says how everybody else is kept off the stores (`away`). Invariant: nothing is
begun while an operation of the pair is open; what a dead controller left open is taken up from the journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator import __version__
from orchestrator.errors import NothingToDo, Refused
from orchestrator.failover import playbook
from orchestrator.failover.conductor import Conductor, Seen
from orchestrator.failover.copying import Alone, Copies
from orchestrator.failover.course import Do, Move
from orchestrator.failover.hosts import Hosts
from orchestrator.failover.standing import Standing, by_markers, by_registers
from orchestrator.failover.step import Remembered, Voyage
from orchestrator.failover.steps import MAKERS, surveying
from orchestrator.failover.world import World
from orchestrator.inventory.model import PRIMARY, Pair
from orchestrator.records.journal import Journal, Operation
from orchestrator.records.marks import Json, State

Told = Callable[[Operation, Move], None]
WORTH_TELLING = {
    Do.PASS: "done", Do.FAIL: "failed", Do.TURN_BACK: "back", Do.TURN_FORWARD: "on", Do.CLOSE: "undone",
    Do.GIVE_UP: "not undone", Do.END: "the end",
}  # fmt: skip


SURVEY = 60.0
"""Seconds for an answer of what a dry run asks beside the stores."""


class Boottime:
    """See `step.Clock`: CLOCK_BOOTTIME, which also counts while the machine is suspended."""

    def now(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class Means:
    """How a pair's replication is begun, how everybody else is kept off its stores meanwhile, and what who follows it
    knows of the lag (seconds, None: nothing).
    """

    pair: Pair
    connect: Callable[[], Copies]
    away: Callable[[], None]
    lag: Callable[[], float | None] | None = None


def precheck(means: Means, journey: str) -> tuple[Standing, list[Seen]]:
    """Each step of the journey's playbook with what is there now. Nothing is done, and nothing written."""
    with _conducting(means, _nobody) as (conductor, world):
        standing = _standing(journey, world, means.pair)
        seen = conductor.precheck(
            playbook.load(journey), pair=means.pair.name, active=standing.active, passive=standing.passive,
            epoch=standing.epoch,
        )  # fmt: skip
        return standing, seen


def run(
    means: Means, journey: str, *, by: str, reason: str, told: Told, said: Mapping[str, Json] | None = None,
    part_of: str = "",
) -> Operation:  # fmt: skip
    """The whole journey; how it ended. `said`: notes that the order brings for the steps; `part_of`: the drill that it
    belongs to. Raises Refused while another
    one hasn't ended, and what steps raise that is no failure of theirs: then it is open, and `take_up` goes on.
    """
    with _conducting(means, told) as (conductor, world):
        left = _unended(means.pair)
        if left is not None and said and (left.opening.journey, left.state) == (journey, State.STUCK):
            _note(means.pair, left.id, said)  # it stopped to ask just this
            return conductor.resume(left.id, by, reason)
        standing = (
            _standing(journey, world, means.pair)
            if left is None  # else it is refused below: how things stand is that one's work, half-done
            else Standing(left.opening.active, left.opening.passive, left.opening.leaves)
        )
        began = conductor.begin(
            playbook.load(journey), pair=means.pair.name, active=standing.active, passive=standing.passive,
            epoch=standing.epoch, by=by, reason=reason, version=__version__, part_of=part_of,
        )  # fmt: skip
        _note(means.pair, began.id, said)
        return conductor.carry_on(began.id)


def _note(pair: Pair, operation: str, said: Mapping[str, Json] | None) -> None:
    with Journal(pair.state_dir) as journal:
        for key, value in (said or {}).items():
            journal.note(operation, key, value)


def left_open(pair: Pair) -> Operation | None:
    """What a controller that died left open; None where there is nothing, or an operator is to decide."""
    left = _unended(pair)
    return left if left is not None and left.state is State.OPEN else None


def _unended(pair: Pair) -> Operation | None:
    with Journal(pair.state_dir) as journal:
        return journal.running(pair.name)


def led_to(pair: Pair) -> tuple[str, int] | None:
    """The active host and the epoch to which the pair's newest journey led; None where none did."""
    with Journal(pair.state_dir) as journal:
        done = [each for each in journal.operations(pair.name) if each.state is State.DONE]
    if not done:
        return None
    opening = done[-1].opening
    host = pair.at(opening.passive if opening.leads > opening.leaves else opening.active)
    return (host.name, opening.leads) if host else None


def take_up(means: Means, told: Told) -> Operation | None:
    """What a controller that died left open, gone on with; None where there is nothing."""
    left = left_open(means.pair)
    if left is None:
        return None
    with _conducting(means, told) as (conductor, _):
        return conductor.restart(left.id)


def _standing(journey: str, world: World, pair: Pair) -> Standing:
    if journey == "failover":  # the active one may be lost
        return by_registers(world, pair)
    return going(journey, by_markers(world, pair), pair)


def going(journey: str, standing: Standing, pair: Pair) -> Standing:
    """The standing, where the journey leads somewhere from it. Raises NothingToDo: home is where it is; Refused where
    the other place has to rejoin first.
    """
    other = pair.primary if standing.passive == PRIMARY else pair.mirror
    if journey == "rejoin" and not standing.behind:
        raise NothingToDo(
            f"{other.name} is of the present epoch, {standing.epoch}: nothing has to rejoin.",
            remedy="`mailmirror status` says whether it follows.",
        )
    if journey in ("switchover", "failback", "drill") and standing.behind:
        raise Refused(
            f"{other.name} missed an epoch: it has to rejoin before users can be moved there.",
            remedy=f"`mailmirror rejoin {pair.name} --dry-run`, then `mailmirror rejoin {pair.name}`.",
        )
    if journey == "failback" and standing.active == PRIMARY:
        raise NothingToDo(
            f"{pair.primary.name} is active already: a failback leads to the primary.",
            remedy="To the mirror leads `mailmirror switchover`.",
        )
    if journey == "drill" and standing.active != PRIMARY:
        raise Refused(
            f"{other.name} isn't active: a drill leads from the primary to the mirror and home.",
            remedy=f"`mailmirror failback {pair.name}` first.",
        )
    return standing


def demand(means: Means, journey: str) -> None:
    """Raises what speaks against the journey by how the pair stands now: HostError, Refused, NothingToDo."""
    with _conducting(means, _nobody) as (_, world):
        _standing(journey, world, means.pair)


@contextmanager
def _conducting(means: Means, told: Told) -> Iterator[tuple[Conductor[World], World]]:
    copying = Alone(means.connect, means.away, means.lag)
    hosts = Hosts(means.pair, copying)
    world: World = hosts
    try:
        with Journal(means.pair.state_dir) as journal:
            yield Conductor(journal, MAKERS, world, Boottime(), told), world
    finally:
        copying.close()
        hosts.close()


def _nobody(operation: Operation, move: Move) -> None:
    del operation, move


# ---- for people and machines -----------------------------------------------------------------------------------------


def surveyed(means: Means, ctimes: str) -> dict[str, Any]:
    """What a rejoin would bring home, as JSON (`steps.surveying`). Nothing is done, and nothing written."""
    with _conducting(means, _nobody) as (_, world):
        standing = _standing("rejoin", world, means.pair)
        clock = Boottime()
        voyage = Voyage(
            operation="dry-run", pair=means.pair.name, journey="rejoin", leaves=standing.epoch, leads=standing.epoch,
            active=standing.active, passive=standing.passive, world=world, notes=Remembered(), clock=clock,
            deadline=clock.now() + SURVEY, number=0, begun=False,
        )  # fmt: skip
        return surveying.surveyed(voyage, ctimes)


def planned(means: Means, journey: str, survey: str = "") -> dict[str, Any]:
    """A precheck as JSON; of a rejoin, with `survey` (what ctimes are good for) also all that it would bring home."""
    standing, seen = precheck(means, journey)
    steps = [
        {
            "number": each.line.number, "verb": each.line.verb, "why": each.line.why, "within": each.line.within,
            "now": str(each.found.state), "said": each.found.said,
        }
        for each in seen
    ]  # fmt: skip
    told = {"active": standing.active, "passive": standing.passive, "epoch": standing.epoch, "steps": steps}
    return {**told, "survey": surveyed(means, survey)} if survey else told


def told(
    means: Means, journey: str, *, by: str, reason: str, progress: Callable[[dict[str, Any]], None],
    said: Mapping[str, Json] | None = None, part_of: str = "",
) -> dict[str, Any]:  # fmt: skip
    """`run`, its moves told as {"seconds", "text"}, and how it ended as JSON."""
    began = time.monotonic()
    ended = run(means, journey, by=by, reason=reason, told=_telling(began, progress), said=said, part_of=part_of)
    return as_json(ended, time.monotonic() - began)


class Word(NamedTuple):
    """An operator's, on an operation: `what` is resume, rollback or abort."""

    what: str
    operation: str
    by: str
    reason: str


def ordered(means: Means, word: Word, *, progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """What became of the operation by it, as JSON. Raises Refused and UsageError as the conductor does."""
    began = time.monotonic()
    with _conducting(means, _telling(began, progress)) as (conductor, _):
        if word.what == "resume":
            ended = conductor.resume(word.operation, word.by, word.reason)
        elif word.what == "rollback":
            ended = conductor.roll_back(word.operation, word.by, word.reason)
        else:
            ended = conductor.abort(word.operation, word.by, word.reason)
    return as_json(ended, time.monotonic() - began)


def _telling(began: float, progress: Callable[[dict[str, Any]], None]) -> Told:
    def tell(operation: Operation, move: Move) -> None:
        if move.do in WORTH_TELLING:
            lines = playbook.read_bytes(
                operation.opening.playbook.encode(), Path(f"{operation.opening.journey}.yaml")
            ).lines
            verb = next((line.verb for line in lines if line.number == move.number), operation.opening.journey)
            text = f"{verb}: {WORTH_TELLING[move.do]}: {move.why}"
            progress({"seconds": round(time.monotonic() - began, 3), "text": text})

    return tell


def as_json(ended: Operation, seconds: float) -> dict[str, Any]:
    """How an operation stands."""
    opening = ended.opening
    moved = ended.state is State.DONE and opening.leads > opening.leaves
    return {
        "operation": ended.id, "pair": opening.pair, "journey": opening.journey, "state": str(ended.state),
        "why": ended.said, "active": opening.passive if moved else opening.active,
        "epoch": opening.leads if ended.state is State.DONE else opening.leaves, "seconds": round(seconds, 3),
    }  # fmt: skip
