"""What comes next in an operation, given its marks and the last look at the step in hand. Pure.

Forward: a step is intended, looked at, done only when it isn't so, and proven. Before the point of no return a failure
turns the operation back; a journey without such a point, or one beyond it, gets stuck instead. Back: what was begun is
undone, last first; but before anything is, it is settled by looking whether the point was passed after all.

Invariants: no act without a mark that intends it. An act is never done on UNKNOWN, but again where one of this step was
begun and it is repeatable. What isn't repeatable is done once. Nothing is undone once the point is passed; an operation
that has undone something never goes forward again.

It knows no clock: whether a deadline has passed is one of the facts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from orchestrator.failover.step import DONE, NOT_DONE, UNKNOWN, Found
from orchestrator.failover.verbs import Line
from orchestrator.records.marks import Course, Mark, Phase, State

PATIENT = 2
"""Looks that say UNKNOWN after an act, before a repeatable one is done again."""


class Do(Enum):
    INTEND = auto()  # mark what is going to be done
    PROBE = auto()
    ACT = auto()
    VERIFY = auto()
    PASS = auto()  # mark it as verified
    FAIL = auto()  # mark it as failed; what follows is decided from the mark
    TURN_BACK = auto()
    TURN_FORWARD = auto()
    UNDO = auto()
    CLOSE = auto()  # mark it as undone
    GIVE_UP = auto()  # its undo doesn't work; the others are tried all the same
    END = auto()


class Move(NamedTuple):
    """`again` is true where the same was just done in vain: pause first. `state` is how it ends."""

    do: Do
    number: int = 0
    why: str = ""
    again: bool = False
    state: State = State.OPEN


@dataclass(frozen=True)
class Look:
    """What this process knows of the step in hand, since it took it up in this direction: the last answer and whether
    it was to `verify`, acts and undos done by it, answers of UNKNOWN since, whether the deadline has passed, and why
    the last act was refused for good (or nothing).
    """

    number: int
    found: Found | None = None
    verified: bool = False
    acts: int = 0
    unknowns: int = 0
    late: bool = False
    refused: str = ""
    erred: str = ""  # what the last act raised, if it wasn't refused

    @property
    def why(self) -> str:
        """Why it isn't done, for people."""
        said = self.found.said if self.found is not None else ""
        return self.refused or (f"{said} (its last try: {self.erred})" if self.erred else said)


class Standing(NamedTuple):
    """A step by its marks. `begun`: an act may have happened; `closed`: undone, or settled as never having happened."""

    intended: bool = False
    begun: bool = False
    passed: bool = False
    failed: str = ""
    touched: bool = False  # its undo was begun
    closed: bool = False


def standings(lines: Sequence[Line], marks: Sequence[Mark]) -> dict[int, Standing]:
    """Where every step stands."""
    found = {line.number: Standing() for line in lines}
    for mark in marks:
        old = found.get(mark.number, Standing())
        match mark.phase:
            case Phase.INTENDED:
                new = old._replace(intended=True, failed="")
            case Phase.ACTING:
                new = old._replace(begun=True, failed="", closed=False)
            case Phase.ACTED:
                new = old
            case Phase.VERIFIED:
                new = old._replace(passed=True, failed="")
            case Phase.FAILED:
                new = old._replace(failed=mark.said or "failed")
            case Phase.UNDOING:
                new = old._replace(touched=True)
            case Phase.UNDONE:
                new = old._replace(closed=True)
        found[mark.number] = new
    return found


def point_of(lines: Sequence[Line]) -> Line | None:
    return next((line for line in lines if line.point), None)


def beyond(lines: Sequence[Line], known: dict[int, Standing]) -> bool:
    """The point of no return is passed, by its mark."""
    point = point_of(lines)
    return point is not None and known[point.number].passed


def may_turn_back(lines: Sequence[Line], known: dict[int, Standing]) -> bool:
    """There is a way back: the marks don't say that the point was passed (a look may still say so)."""
    return point_of(lines) is not None and not beyond(lines, known)


def may_go_forward(lines: Sequence[Line], known: dict[int, Standing]) -> bool:
    """The point is passed, or nothing has been undone yet. To withdraw the point itself undoes nothing that was done,
    as long as it isn't settled that it never happened.
    """
    point = point_of(lines)
    undone = (
        standing.closed or (standing.touched and (point is None or number != point.number))
        for number, standing in known.items()
    )
    return beyond(lines, known) or not any(undone)


def next_move(
    lines: Sequence[Line], marks: Sequence[Mark], course: Course, look: Look | None, given_up: Collection[int] = ()
) -> Move:
    """`look` is the last one in this life, of any step; `given_up` are steps whose undo failed in this life."""
    known = standings(lines, marks)
    if course is Course.BACK:
        if beyond(lines, known):
            return Move(Do.TURN_FORWARD, why="the point of no return is passed")
        return _back(lines, known, look, given_up)
    line = next((line for line in lines if not known[line.number].passed), None)
    if line is None:
        return Move(Do.END, why="every step is done", state=State.DONE)
    standing = known[line.number]
    if standing.failed:
        why = f"{line.verb}: {standing.failed}"
        if may_turn_back(lines, known):
            return Move(Do.TURN_BACK, line.number, why)
        return Move(Do.END, line.number, why, state=State.STUCK)
    if not standing.intended:
        return Move(Do.INTEND, line.number, line.why)
    here = look if look is not None and look.number == line.number else Look(line.number)
    final = may_turn_back(lines, known) or point_of(lines) is None
    return _forward(line, standing, here, final=final)


def _forward(line: Line, standing: Standing, look: Look, *, final: bool) -> Move:
    """`final`: a refusal needn't be waited out, since there is a way back, or a person is to look and nobody waits."""
    number, found = line.number, look.found
    if found is None:
        return Move(Do.PROBE if not look.acts else Do.VERIFY, number)
    if found.state is DONE:
        if look.verified or not standing.begun:
            return Move(Do.PASS, number, found.said if standing.begun else f"found so: {found.said}")
        return Move(Do.VERIFY, number)
    if look.late:
        return Move(Do.FAIL, number, f"{found.state} within {line.within:g}s: {look.why}")
    if found.state is NOT_DONE:
        if look.refused and final:
            return Move(Do.FAIL, number, look.refused)
        if line.repeatable or not standing.begun:
            return Move(Do.ACT, number, found.said, again=bool(look.acts))
    elif standing.begun and line.repeatable and look.unknowns >= PATIENT:
        return Move(Do.ACT, number, found.said, again=True)
    return Move(Do.VERIFY if look.verified else Do.PROBE, number, found.said, again=True)


def _back(lines: Sequence[Line], known: dict[int, Standing], look: Look | None, given_up: Collection[int]) -> Move:
    open_ = [
        line
        for line in reversed(lines)
        if known[line.number].begun and not known[line.number].closed and (line.undo or line.point)
    ]
    line = next((line for line in open_ if line.number not in given_up), None)
    if line is None:
        if open_:
            names = ", ".join(line.verb for line in open_)
            return Move(Do.END, why=f"not undone: {names}", state=State.STUCK)
        return Move(Do.END, why="what was begun is undone", state=State.ROLLED_BACK)
    number = line.number
    if look is None or look.number != number or look.found is None:
        return Move(Do.PROBE, number) if line.point or (look and look.number == number) else Move(Do.UNDO, number)
    found = look.found
    if line.point:
        return _settle(line, look, found)
    if found.state is NOT_DONE:
        return Move(Do.CLOSE, number, found.said)
    if look.late:
        return Move(Do.GIVE_UP, number, f"{found.state} within {line.within:g}s: {look.refused or found.said}")
    if found.state is UNKNOWN and look.unknowns < PATIENT:
        return Move(Do.PROBE, number, found.said, again=True)
    return Move(Do.UNDO, number, found.said, again=True)


def _settle(line: Line, look: Look, found: Found) -> Move:
    """Whether the point was passed after all. Only a look says so, and as long as none does, nothing else is undone."""
    number = line.number
    if found.state is DONE:
        return Move(Do.TURN_FORWARD, number, f"{line.verb} has happened: {found.said}")
    if found.state is NOT_DONE and (look.acts or not line.undo):
        return Move(Do.CLOSE, number, found.said)
    if look.late:
        why = f"whether {line.verb} has happened can't be told: {look.refused or found.said}"
        return Move(Do.END, number, why, state=State.STUCK)
    if found.state is NOT_DONE:
        return Move(Do.UNDO, number, found.said)
    return Move(Do.PROBE, number, found.said, again=True)
