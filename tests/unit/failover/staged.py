"""A world of scripted steps, and a controller that dies at a chosen instant: what the conductor is proven against.

The world is what the hosts would be: which steps have happened. An act may fail, lose its reply, happen later, happen
by half, be refused; a look may not be able to tell. The world itself objects to what must never be done to it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import HostUnreachable, LinkLost, Refused
from orchestrator.failover.conductor import Ask, Conductor
from orchestrator.failover.playbook import Playbook
from orchestrator.failover.step import DONE, NOT_DONE, UNKNOWN, Found, Maker, Voyage
from orchestrator.failover.verbs import VERBS, Parameters
from orchestrator.records import database
from orchestrator.records.journal import Journal, Operation

OUTCOMES = ("ok", "lost", "fail", "later", "half", "nothing", "refused")
"""What an act may come to: done; done but the reply is lost; not done and said so; done after `LATE` seconds; half done
and the reply is lost; not done and not said; refused.
"""
LATE = 2.0


class Killed(BaseException):
    """The controller's process has ended here."""


class Fuse:
    """Counts the instants at which a controller can die; burns at the one that was chosen."""

    def __init__(self) -> None:
        self.count, self.at = 0, 0

    def tick(self) -> None:
        self.count += 1
        if self.count == self.at:
            raise Killed


class Clock:
    """A virtual clock; the world's late acts happen by it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        self.seconds += 0.001  # each look takes its time
        return self.seconds

    def pause(self, seconds: float) -> None:
        self.seconds += seconds


class Dying(Journal):
    """The journal itself; its process may die before and after every commit."""

    def __init__(self, directory: Path, fuse: Fuse) -> None:
        super().__init__(directory)
        self._fuse = fuse

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self._fuse.tick()
        with super()._writing() as db:
            yield db
        self._fuse.tick()


@dataclass
class World:
    """`acts` and `undos` are what each step's calls come to, by number, then "ok"; `blind`: looks that can't tell."""

    playbook: Playbook
    directory: Path
    acts: dict[int, list[str]] = field(default_factory=dict)
    undos: dict[int, list[str]] = field(default_factory=dict)
    blind: dict[int, int] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    fuse: Fuse = field(default_factory=Fuse)
    done: set[int] = field(default_factory=set)
    half: set[int] = field(default_factory=set)
    pending: dict[int, float] = field(default_factory=dict)
    called: list[tuple[str, int]] = field(default_factory=list)
    instant: int = 0  # the first one at which the point was passed and the controller doesn't know it
    _disk: sqlite3.Connection | None = None

    def heal(self) -> None:
        """From now on everything works."""
        self.acts, self.undos, self.blind = {}, {}, {}

    def passed(self) -> bool:
        """The point of no return, in truth."""
        self._settle()
        return self.playbook.point in self.done

    def count(self, what: str, number: int) -> int:
        return self.called.count((what, number))

    def look(self, number: int) -> Found:
        self._settle()
        self.fuse.tick()
        if self.blind.get(number, 0) > 0:
            self.blind[number] -= 1
            return Found(UNKNOWN, "no answer")
        if number in self.half:
            return Found(UNKNOWN, "one of two")
        return Found(DONE if number in self.done else NOT_DONE, "seen")

    def act(self, number: int) -> None:
        assert self._last_mark(number) == "acting", "no act without a durable intent"
        self._settle()
        point = self.playbook.point
        assert number <= point or not point or point in self.done, "nothing of the new epoch before its point"
        line = self.playbook.lines[number - 1]
        assert line.repeatable or not self.count("act", number), "at most once"
        self.fuse.tick()
        self.called.append(("act", number))
        outcome = self._next(self.acts, number)
        if outcome == "refused":
            raise Refused("it says no")
        if outcome == "fail":
            raise HostUnreachable("no route")
        if outcome == "half" and number not in self.half:
            self.half.add(number)
            raise LinkLost("broke off")
        if outcome == "later":
            self.pending[number] = self.clock.seconds + LATE
            raise LinkLost("broke off")
        if outcome != "nothing":
            self.half.discard(number)
            self.done.add(number)
        if number == point:
            self.instant = self.fuse.count + 1
        self.fuse.tick()
        if outcome == "lost":
            raise LinkLost("broke off")

    def undo(self, number: int) -> None:
        assert self._last_mark(number) == "undoing", "no undo without a durable intent"
        assert not self.passed() or number == self.playbook.point, "nothing is undone beyond the point of no return"
        assert number <= self.playbook.point
        assert self.playbook.lines[number - 1].undo
        self.fuse.tick()
        self.called.append(("undo", number))
        outcome = self._next(self.undos, number)
        if number in self.done and number == self.playbook.point:
            raise Refused("too late")
        if outcome == "fail":
            raise HostUnreachable("no route")
        self.pending.pop(number, None)  # a late one is barred
        self.done.discard(number)
        self.half.discard(number)
        self.fuse.tick()
        if outcome == "lost":
            raise LinkLost("broke off")

    def _next(self, script: Mapping[int, list[str]], number: int) -> str:
        left = script.get(number)
        return left.pop(0) if left else "ok"

    def _settle(self) -> None:
        for number, at in list(self.pending.items()):
            if self.clock.seconds >= at:
                del self.pending[number]
                self.done.add(number)

    def _last_mark(self, number: int) -> str:
        """As another process reads it from the disk."""
        if self._disk is None:
            self._disk = sqlite3.connect(f"file:{database.path_of(self.directory)}?mode=ro", uri=True)
        newest = "SELECT phase FROM marks WHERE number = ? ORDER BY rowid DESC LIMIT 1"
        row = self._disk.execute(newest, (number,)).fetchone()
        return str(row[0]) if row else ""

    def close(self) -> None:
        if self._disk is not None:
            self._disk.close()
            self._disk = None


@dataclass(frozen=True)
class Scripted:
    """A step of the world."""

    world: World
    number: int

    def probe(self) -> Found:
        return self.world.look(self.number)

    def verify(self) -> Found:
        return self.world.look(self.number)

    def act(self) -> None:
        self.world.act(self.number)

    def undo(self) -> None:
        self.world.undo(self.number)


def _make(voyage: Voyage[World], parameters: Parameters) -> Scripted:
    assert parameters is not None
    return Scripted(voyage.world, voyage.number)


MAKERS: dict[str, Maker[World]] = dict.fromkeys(VERBS, _make)


def conductor(world: World, journal: Journal) -> Conductor[World]:
    return Conductor(journal, MAKERS, world, world.clock)


def begin(world: World, journal: Journal) -> Operation:
    return conductor(world, journal).begin(
        world.playbook, pair="org", active="primary", passive="mirror", epoch=3, by="jane (uid 7)", reason="a test",
        version="0.1.0",
    )  # fmt: skip


def go_on() -> Ask:
    return Ask.GO_ON


def play(world: World, kills: tuple[int, ...]) -> Operation | None:
    """One operation by controllers that die after so many instants each, the last one not at all; how it stands then.
    None where the first died before the operation had begun.
    """
    name = ""
    for at in (*kills, 0):
        world.fuse.count, world.fuse.at = 0, at
        journal = Dying(world.directory, world.fuse)
        try:
            if not name:
                running = begin(world, journal) if journal.running("org") is None else journal.running("org")
                assert running is not None
                name = running.id
                return conductor(world, journal).carry_on(name)
            return conductor(world, journal).restart(name)
        except Killed:
            found = journal.operations("org")
            if not found:
                return None
            name = found[0].id
        finally:
            world.fuse.at = 0
            journal.close()
    raise AssertionError("unreachable")
