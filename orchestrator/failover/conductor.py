"""Runs a playbook: asks `course` what comes next, does just that, and writes it down before and after.

Invariant: before an act or an undo its mark is durable; what it came to is found by looking, and only then marked. So
a death at any instruction leaves marks from which `restart` goes on: back before the point of no return, else forward,
as a look at the hosts says, never as the journal alone does.

It decides nothing, and knows neither hosts nor mail: `makers` has a function for each verb, which gets the `world`.
Whoever conducts holds the pair's lock (`records.lock`): two conductors of one operation would act twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from pathlib import Path
from typing import Generic, NamedTuple

from orchestrator.errors import BrokenPromise, MailmirrorError, Refused, UsageError
from orchestrator.failover import course
from orchestrator.failover.course import Do, Look, Move
from orchestrator.failover.playbook import Playbook, PlaybookError, read_bytes
from orchestrator.failover.step import UNKNOWN, Clock, Found, Maker, Notes, Remembered, Step, Voyage, W
from orchestrator.failover.verbs import JOURNEYS, RUN, Line
from orchestrator.records.journal import Journal, Opening, Operation
from orchestrator.records.marks import Course, Json, Phase, State

FIRST_PAUSE = 0.05
"""Seconds between two tries of the same; each pause is twice as long as the one before, up to `_longest_pause`."""
PATIENCE = 5.0
"""Seconds for each look of a precheck."""


class Ask(Enum):
    """What is wanted of a running operation, asked between two moves."""

    GO_ON = auto()
    ROLL_BACK = auto()
    LEAVE = auto()  # the process ends in good order; the operation stays open


class Seen(NamedTuple):
    """A line of a playbook, and what is there now."""

    line: Line
    found: Found


@dataclass
class _Hand:
    """The step in hand: what `course` is told of it, and this process's own deadline for it."""

    look: Look | None = None
    deadline: float = 0.0
    pause: float = FIRST_PAUSE
    step: Step | None = None
    given_up: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class _Written:
    """Notes of an operation, in the journal."""

    journal: Journal
    operation: str

    def get(self, key: str) -> Json:
        return self.journal.notes(self.operation).get(key)

    def put(self, key: str, facts: Json) -> None:
        self.journal.note(self.operation, key, facts)


def _go_on() -> Ask:
    return Ask.GO_ON


def _nobody(operation: Operation, move: Move) -> None:
    del operation, move


class Conductor(Generic[W]):
    """Of one pair. `told` hears of every move just before it is made (for progress and alerts).

    Every method that runs returns the operation as it stands then: ended, stuck, or still open where `asked` said
    LEAVE. Raises what the journal raises, and what a step raises that is no MailmirrorError or OSError: then the
    operation is open, and `restart` takes it up.
    """

    def __init__(
        self,
        journal: Journal,
        makers: Mapping[str, Maker[W]],
        world: W,
        clock: Clock,
        told: Callable[[Operation, Move], None] = _nobody,
    ) -> None:
        self._journal, self._makers, self._world, self._clock, self._told = journal, makers, world, clock, told

    # ---- orders ------------------------------------------------------------------------------------------------------

    def begin(
        self, playbook: Playbook, *, pair: str, active: str, passive: str, epoch: int, by: str, reason: str,
        version: str, part_of: str = "",
    ) -> Operation:  # fmt: skip
        """Open an operation; `carry_on` runs it. Raises Refused while another one of the pair hasn't ended."""
        self._check(playbook)
        leads = epoch + 1 if JOURNEYS[playbook.journey].point else epoch
        opening = Opening(
            pair, playbook.journey, active, passive, epoch, leads, by, reason, playbook.text, version, part_of
        )
        return self._journal.begin(opening)

    def precheck(
        self, playbook: Playbook, *, pair: str, active: str, passive: str, epoch: int, patience: float = PATIENCE
    ) -> list[Seen]:
        """Every step with what is there now. Nothing is done, and nothing written."""
        self._check(playbook)
        leads = epoch + 1 if JOURNEYS[playbook.journey].point else epoch
        opening = Opening(pair, playbook.journey, active, passive, epoch, leads, "", "", "", "")
        notes = Remembered()
        seen = []
        for line in playbook.lines:
            deadline = self._clock.now() + min(patience, line.within)
            step = self._step(line, "", opening, notes, deadline, begun=False)
            seen.append(Seen(line, _found(step.probe)))
        return seen

    def restart(self, name: str, asked: Callable[[], Ask] = _go_on) -> Operation:
        """Take up what a dead controller left open: back before the point of no return, else forward. A stuck
        operation stays stuck.
        """
        operation = self._journal.operation(name)
        if operation.state is not State.OPEN:
            return operation
        lines = _plan(operation).lines
        known = course.standings(lines, self._journal.marks(name))
        if operation.course is Course.FORWARD and course.may_turn_back(lines, known):
            self._journal.turn(name, Course.BACK, "the controller was restarted before the point of no return")
        return self.carry_on(name, asked)

    def resume(
        self, name: str, by: str, reason: str, asked: Callable[[], Ask] = _go_on, *, taken: bool = False
    ) -> Operation:
        """An operator's order to go on: forward, or back where something was undone already. `taken`: the site's own
        command at which it is stuck counts as done, by the operator's word. Raises Refused where it has ended, or
        `taken` is said of a step that has to be proven.
        """
        operation = self._unended(name)
        lines = _plan(operation).lines
        known = course.standings(lines, self._journal.marks(name))
        if not course.may_go_forward(lines, known):
            self._note("op resume", operation, by, reason)
            self._journal.turn(name, Course.BACK, f"resumed by {by}: {reason}")
            return self.carry_on(name, asked)
        stuck = [line for line in lines if known[line.number].failed]
        if taken and not (stuck and all(line.verb == RUN for line in stuck)):
            raise Refused(
                f"Operation {name} isn't stuck at a command of the site's own; other steps have to be proven.",
                remedy=f"Mend what it waits for, then `mailmirror op resume {name}`.",
            )
        self._note("op resume", operation, by, reason)
        for line in stuck:
            phase, said = (Phase.VERIFIED, f"by {by}'s word") if taken else (Phase.INTENDED, "again")
            self._journal.mark(name, line.number, line.verb, phase, f"{said}: {reason}")
        self._journal.turn(name, Course.FORWARD, f"resumed by {by}: {reason}")
        return self.carry_on(name, asked)

    def roll_back(self, name: str, by: str, reason: str, asked: Callable[[], Ask] = _go_on) -> Operation:
        """An operator's order to undo it. Raises Refused where it has ended, or there is no way back."""
        operation = self._unended(name)
        lines = _plan(operation).lines
        if not course.may_turn_back(lines, course.standings(lines, self._journal.marks(name))):
            raise Refused(
                f"The {operation.opening.journey} {name} has no way back: "
                + ("its point of no return is passed." if course.point_of(lines) else "it has no step to undo."),
                remedy=f"Mend what its last step waits for, then `mailmirror op resume {name}`.",
            )
        self._note("op rollback", operation, by, reason)
        self._journal.turn(name, Course.BACK, f"rolled back by {by}: {reason}")
        return self.carry_on(name, asked)

    def abort(self, name: str, by: str, reason: str) -> Operation:
        """An operator ends it where it stands; nothing more is done or undone. Raises UsageError without a reason,
        Refused where it has ended, or is under way and can be rolled back.
        """
        operation = self._unended(name)
        if not reason.strip():
            raise UsageError("An abort leaves things as they are, and needs a reason.", remedy="Say --reason.")
        marks = self._journal.marks(name)
        try:
            lines = _plan(operation).lines
            back = course.may_turn_back(lines, course.standings(lines, marks))
        except PlaybookError:  # of another version: this one can neither run it nor undo it
            back = False
        begun = any(mark.phase is Phase.ACTING for mark in marks)
        if operation.state is not State.STUCK and begun and back:
            raise Refused(
                f"The {operation.opening.journey} {name} is under way.",
                remedy=f"Let it end, or `mailmirror op rollback {name}`.",
            )
        self._note("op abort", operation, by, reason)
        self._journal.end(name, State.ABORTED, f"aborted by {by}: {reason}")
        return self._journal.operation(name)

    def _unended(self, name: str) -> Operation:
        operation = self._journal.operation(name)
        if not operation.running:
            raise Refused(f"Operation {name} has ended: {operation.state}.", remedy="See `mailmirror history`.")
        return operation

    def _note(self, verb: str, operation: Operation, by: str, reason: str) -> None:
        self._journal.event(operation.opening.pair, verb, {"id": operation.id, "by": by, "reason": reason})

    def _check(self, playbook: Playbook) -> None:
        if playbook.parts:
            raise UsageError(f"A {playbook.journey} is begun part by part: {', '.join(playbook.parts)}.")
        missing = playbook.verbs() - self._makers.keys()
        if missing:
            raise BrokenPromise(f"No step does {', '.join(sorted(missing))}.")

    # ---- the run -----------------------------------------------------------------------------------------------------

    def carry_on(self, name: str, asked: Callable[[], Ask] = _go_on) -> Operation:
        """Make one move after the other until the operation has ended, is stuck, or `asked` says to leave it."""
        hand = _Hand()
        lines = _plan(self._journal.operation(name)).lines
        while True:
            operation = self._journal.operation(name)
            if operation.state is not State.OPEN:
                return operation
            wanted = asked()
            if wanted is Ask.LEAVE:
                return operation
            marks = self._journal.marks(name)
            if (
                wanted is Ask.ROLL_BACK
                and operation.course is Course.FORWARD
                and course.may_turn_back(lines, course.standings(lines, marks))
            ):
                move = Move(Do.TURN_BACK, why="an operator wants it back")
            else:
                move = course.next_move(lines, marks, operation.course, hand.look, hand.given_up)
            self._told(operation, move)
            try:
                self._make(operation, move, hand, lines)
            except BrokenPromise as error:
                self._journal.mark(name, move.number, _verb(lines, move.number), Phase.FAILED, str(error))
                self._journal.end(name, State.STUCK, str(error))

    def _make(self, operation: Operation, move: Move, hand: _Hand, lines: tuple[Line, ...]) -> None:
        name, number = operation.id, move.number
        verb = _verb(lines, number)
        match move.do:
            case Do.INTEND:
                line = lines[number - 1]
                self._journal.mark(name, number, verb, Phase.INTENDED, move.why, dict(line.parameters))
            case Do.PROBE | Do.VERIFY | Do.ACT | Do.UNDO:
                self._take_up(operation, lines[number - 1], hand)
                if move.again:
                    self._wait(hand, lines[number - 1].within)
                self._work(operation, lines[number - 1], move, hand)
            case Do.PASS:
                self._journal.mark(name, number, verb, Phase.VERIFIED, move.why)
            case Do.FAIL:
                self._journal.mark(name, number, verb, Phase.FAILED, move.why)
            case Do.CLOSE:
                self._journal.mark(name, number, verb, Phase.UNDONE, move.why)
            case Do.GIVE_UP:
                self._journal.mark(name, number, verb, Phase.FAILED, move.why)
                hand.given_up.add(number)
            case Do.TURN_BACK:
                hand.look = None
                self._journal.turn(name, Course.BACK, move.why)
            case Do.TURN_FORWARD:
                hand.look = None
                if number:
                    self._journal.mark(name, number, verb, Phase.VERIFIED, move.why)
                self._journal.turn(name, Course.FORWARD, move.why)
            case Do.END:
                self._journal.end(name, move.state, move.why)

    def _take_up(self, operation: Operation, line: Line, hand: _Hand) -> None:
        """Another step than the one in hand: its time begins now."""
        if hand.look is not None and hand.look.number == line.number:
            return
        hand.look, hand.pause = Look(line.number), FIRST_PAUSE
        hand.deadline = self._clock.now() + line.within
        known = course.standings((line,), self._journal.marks(operation.id))[line.number]
        notes = _Written(self._journal, operation.id)
        hand.step = self._step(line, operation.id, operation.opening, notes, hand.deadline, begun=known.begun)

    def _step(self, line: Line, name: str, opening: Opening, notes: Notes, deadline: float, *, begun: bool) -> Step:
        voyage = Voyage(
            operation=name,
            pair=opening.pair,
            journey=opening.journey,
            leaves=opening.leaves,
            leads=opening.leads,
            active=opening.active,
            passive=opening.passive,
            world=self._world,
            notes=notes,
            clock=self._clock,
            deadline=deadline,
            number=line.number,
            begun=begun,
        )
        return self._makers[line.verb](voyage, line.parameters)

    def _wait(self, hand: _Hand, within: float) -> None:
        left = max(0.0, hand.deadline - self._clock.now())
        self._clock.pause(min(hand.pause, left))
        hand.pause = min(_longest_pause(within), 2 * hand.pause)

    def _work(self, operation: Operation, line: Line, move: Move, hand: _Hand) -> None:
        """Look, act or undo, and keep what is known now."""
        look, step = hand.look, hand.step
        if look is None or step is None:
            raise BrokenPromise(f"{line.verb} wasn't taken up before it was worked on.")
        if move.do in (Do.PROBE, Do.VERIFY):
            found = _found(step.probe if move.do is Do.PROBE else step.verify)
            unknowns = look.unknowns + 1 if found.state is UNKNOWN else 0
            look = replace(look, found=found, verified=move.do is Do.VERIFY, unknowns=unknowns)
        else:
            acting = move.do is Do.ACT
            before = Phase.ACTING if acting else Phase.UNDOING
            self._journal.mark(operation.id, line.number, line.verb, before, move.why)
            refused, said = _called(step.act if acting else step.undo)
            if acting:
                self._journal.mark(operation.id, line.number, line.verb, Phase.ACTED, said)
            look = replace(
                look, found=None, verified=False, acts=look.acts + 1, unknowns=0, refused=refused, erred=said
            )
        hand.look = replace(look, late=self._clock.now() >= hand.deadline)


def _longest_pause(within: float) -> float:
    """Each try is written down: a step that may take days isn't tried every second."""
    return min(300.0, max(1.0, within / 60))


def _found(ask: Callable[[], Found]) -> Found:
    """What a look came to; what it raises says only that nothing is known."""
    try:
        return ask()
    except BrokenPromise:
        raise
    except (MailmirrorError, OSError) as error:
        return Found(UNKNOWN, str(error))


def _called(act: Callable[[], None]) -> tuple[str, str]:
    """(why it was refused, what it raised), each empty where nothing of the kind happened."""
    try:
        act()
    except BrokenPromise:
        raise
    except Refused as error:
        said = str(error) if error.remedy == error.default_remedy else f"{error} {error.remedy}"
        return said, said
    except (MailmirrorError, OSError) as error:
        return "", str(error)
    return "", ""


def _plan(operation: Operation) -> Playbook:
    """The playbook with which it began, whatever the file says by now."""
    return read_bytes(operation.opening.playbook.encode(), Path(f"{operation.opening.journey}.yaml"))


def _verb(lines: tuple[Line, ...], number: int) -> str:
    return lines[number - 1].verb if number else ""
