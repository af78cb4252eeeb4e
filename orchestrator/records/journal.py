"""What was intended, done and proven in each operation, and why it was decided: so that a death at any instruction is
harmless, and every act can be told afterwards.

The only writer of the controller's SQLite (`database`). An operation is one run of a journey. What happens in it is
written as *marks*, which are only added: before an act what is intended, after it what came of it. Its own row changes
in three columns only (state, course, how it ended).

Invariant: what a method has written is durable when it returns. A pair has at most one operation that is open or stuck
(a unique index). Nothing is added to one that has ended.

It decides nothing: `failover/course` reads marks and says what comes next. It knows no host and no mail.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from orchestrator.errors import BrokenPromise, OperatorError, Refused
from orchestrator.records import database
from orchestrator.records.marks import Course, Json, Mark, Phase, State

KEPT = 10_000
"""Decisions; a pair whose network flaps makes some thousand a day."""


@dataclass(frozen=True)
class Opening:
    """What is known of an operation before it begins. `active` and `passive` are the places that have these roles then;
    `leaves` and `leads` the epochs (the same where nobody is promoted); `by` who ordered it; `playbook` its whole text;
    `version` that of mailmirror; `part_of` the operation that it belongs to (of a drill), or nothing.
    """

    pair: str
    journey: str
    active: str
    passive: str
    leaves: int
    leads: int
    by: str
    reason: str
    playbook: str
    version: str
    part_of: str = ""


@dataclass(frozen=True)
class Operation:
    """An operation as it stands. Times are seconds since 1970; `said` is why it turned or how it ended."""

    id: str
    opening: Opening
    began: float
    state: State
    course: Course
    ended: float | None
    said: str

    @property
    def running(self) -> bool:
        """It holds its pair: no other may begin."""
        return self.state in (State.OPEN, State.STUCK)


class Decision(NamedTuple):
    """What was seen and what was decided from it, by which version: enough to decide again."""

    id: int
    pair: str
    operation: str
    at: float
    version: str
    facts: Json
    decision: Json


class Event(NamedTuple):
    """A line of the history; `what` is the verb's own."""

    at: float
    verb: str
    what: dict[str, Json]


class Numbered(NamedTuple):
    """An event and its place among all."""

    number: int
    event: Event


_OPERATION = "pair, journey, active, passive, leaves, leads, by, reason, playbook, version, part_of"


class Journal:
    """The file in a state directory, as a context or until `close`. Threads may share one.

    Raises TryAgain, NotPermitted or OperatorError where the file can't be opened, written or read.
    """

    def __init__(self, directory: Path, now: Callable[[], float] = time.time) -> None:
        self.path = database.path_of(directory)
        self._db = database.connect(directory)
        self._now = now
        self._turn = threading.Lock()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._turn:
            self._db.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, durable when it is left; nothing of it where anything goes wrong."""
        with self._turn, database.told(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, query: str, *values: str | int | float) -> list[tuple[str | int | float | None, ...]]:
        with self._turn, database.told(self.path):
            return self._db.execute(query, values).fetchall()

    # ---- operations --------------------------------------------------------------------------------------------------

    def begin(self, opening: Opening) -> Operation:
        """A new operation, open and going forward. Raises Refused while the pair has another one that hasn't ended."""
        at = self._now()
        name = time.strftime("%Y%m%d-%H%M%S-", time.gmtime(at)) + secrets.token_hex(3)
        known = _plain(opening)
        try:
            with self._writing() as db:
                marks = ", ".join("?" * len(known))
                db.execute(
                    f"INSERT INTO operations (id, {_OPERATION}, began, state, course, said) "
                    f"VALUES (?, {marks}, ?, 'open', 'forward', '')",
                    (name, *known, at),
                )
        except sqlite3.IntegrityError as error:
            other = self.running(opening.pair)
            named = f"{other.opening.journey} {other.id} ({other.state})" if other else "another operation"
            raise Refused(
                f"{opening.pair} has an operation that hasn't ended: {named}.",
                remedy="See `mailmirror history`, then `mailmirror op resume`, `op rollback` or `op abort`.",
            ) from error
        return self.operation(name)

    def operation(self, name: str) -> Operation:
        """The operation of that id. Raises OperatorError where there is none."""
        found = self._operations("id = ?", name)
        if not found:
            raise OperatorError(f"There is no operation {name}.", remedy="See `mailmirror history` for their ids.")
        return found[0]

    def running(self, pair: str) -> Operation | None:
        """The pair's operation that hasn't ended; None where it has none."""
        found = self._operations("pair = ? AND state IN ('open', 'stuck')", pair)
        return found[0] if found else None

    def operations(self, pair: str) -> list[Operation]:
        """All of a pair's, oldest first."""
        return self._operations("pair = ?", pair)

    def last(self, pair: str) -> Operation | None:
        """The newest one; None where there was none."""
        found = self._operations("pair = ? AND rowid = (SELECT max(rowid) FROM operations WHERE pair = ?1)", pair)
        return found[0] if found else None

    def promoted(self, pair: str) -> float | None:
        """When the last one was done that promoted a place in an emergency, in seconds since 1970; None for never."""
        rows = self._rows(
            "SELECT max(ended) FROM operations WHERE pair = ? AND state = 'done' AND leads > leaves"
            " AND journey IN ('failover', 'promote_older')", pair,
        )  # fmt: skip
        return float(rows[0][0]) if rows and rows[0][0] is not None else None

    def _operations(self, which: str, value: str) -> list[Operation]:
        rows = self._rows(
            f"SELECT id, {_OPERATION}, began, state, course, ended, said FROM operations WHERE {which} ORDER BY rowid",
            value,
        )
        return [_operation(row) for row in rows]

    def turn(self, name: str, course: Course, why: str) -> None:
        """From here on it goes that way; a stuck one is open again. Raises BrokenPromise where it has ended."""
        self._change(name, "course = ?, state = 'open', ended = NULL, said = ?", course, why)

    def end(self, name: str, state: State, why: str) -> None:
        """How it ended, or that it is stuck. Raises BrokenPromise where it has ended before."""
        self._change(name, "state = ?, ended = ?, said = ?", state, self._now(), why)

    def _change(self, name: str, what: str, *values: str | float) -> None:
        with self._writing() as db:
            _must_run(db, name)
            db.execute(f"UPDATE operations SET {what} WHERE id = ?", (*values, name))

    # ---- steps -------------------------------------------------------------------------------------------------------

    def mark(self, name: str, number: int, verb: str, phase: Phase, said: str = "", parameters: Json = None) -> None:
        """One more mark of a step. Raises BrokenPromise where the operation has ended."""
        with self._writing() as db:
            _must_run(db, name)
            row = (self._now(), name, number, verb, phase, said, json.dumps(parameters))
            db.execute("INSERT INTO marks VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def marks(self, name: str) -> tuple[Mark, ...]:
        """All of an operation, oldest first."""
        rows = self._rows(
            "SELECT at, number, verb, phase, said, parameters FROM marks WHERE operation = ? ORDER BY rowid", name
        )
        return tuple(
            Mark(float(at or 0), int(number or 0), str(verb), Phase(str(phase)), str(said), _parameters(str(told)))
            for at, number, verb, phase, said, told in rows
        )

    def note(self, name: str, key: str, facts: Json) -> None:
        """What a step leaves for later ones; an earlier note of that key stays in the file, and counts no more."""
        with self._writing() as db:
            _must_run(db, name)
            db.execute("INSERT INTO notes VALUES (?, ?, ?, ?)", (name, key, json.dumps(facts), self._now()))

    def notes(self, name: str) -> dict[str, Json]:
        """The newest note of every key."""
        rows = self._rows("SELECT key, facts FROM notes WHERE operation = ? ORDER BY rowid", name)
        return {str(key): json.loads(str(facts)) for key, facts in rows}

    # ---- decisions and the history -----------------------------------------------------------------------------------

    def decided(self, pair: str, facts: Json, decision: Json, version: str, operation: str = "") -> int:
        """Keep a decision with what it saw, before it is acted on; its number. Of those that led to no operation the
        last `KEPT` stay.
        """
        row = (pair, operation, self._now(), version, json.dumps(facts), json.dumps(decision))
        with self._writing() as db:
            columns = "pair, operation, at, version, facts, decision"
            number = db.execute(f"INSERT INTO decisions ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row).lastrowid or 0
            old = "DELETE FROM decisions WHERE pair = ? AND operation = '' AND id <= ?"
            db.execute(old, (pair, number - KEPT))
            return number

    def belongs(self, number: int, operation: str) -> None:
        """The decision led to that operation, which had no name yet when it was kept."""
        with self._writing() as db:
            db.execute("UPDATE decisions SET operation = ? WHERE id = ?", (operation, number))

    def decisions(
        self, pair: str, operation: str = "", *, newest: int = 0, number: int = 0, until: float = 0.0
    ) -> list[Decision]:
        """A pair's decisions, or those of one operation, oldest first; of these the `newest` up to `until`, or the one
        of that `number`.
        """
        only = "pair = ? AND (? = '' OR operation = ?) AND (? = 0 OR id = ?) AND (? = 0 OR at <= ?)"
        columns = "id, pair, operation, at, version, facts, decision"
        rows = self._rows(
            f"SELECT * FROM (SELECT {columns} FROM decisions WHERE {only} ORDER BY id DESC LIMIT ?) ORDER BY id",
            pair, operation, operation, number, number, until, until, newest or -1,
        )  # fmt: skip
        return [
            Decision(
                int(number or 0), str(of), str(op), float(at or 0), str(by), json.loads(str(facts)), json.loads(str(so))
            )
            for number, of, op, at, by, facts, so in rows
        ]

    def event(self, pair: str, verb: str, what: Mapping[str, Json]) -> None:
        """One more line of the history."""
        with self._writing() as db:
            db.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (pair, self._now(), verb, json.dumps(what)))

    def newest(self, pair: str, verb: str) -> Numbered | None:
        """The newest line of a verb; None where there is none."""
        query = "SELECT rowid, at, verb, what FROM events WHERE pair = ? AND verb = ? ORDER BY rowid DESC LIMIT 1"
        for number, at, said, what in self._rows(query, pair, verb):
            return Numbered(int(number or 0), Event(float(at or 0), str(said), json.loads(str(what))))
        return None

    def events(self, pair: str, verb: str = "") -> list[Event]:
        """The lines of a pair, or those of one verb, oldest first."""
        only = "pair = ? AND (? = '' OR verb = ?)"
        rows = self._rows(f"SELECT at, verb, what FROM events WHERE {only} ORDER BY rowid", pair, verb, verb)
        return [Event(float(at or 0), str(said), json.loads(str(what))) for at, said, what in rows]


def _must_run(db: sqlite3.Connection, name: str) -> None:
    row = db.execute("SELECT state FROM operations WHERE id = ?", (name,)).fetchone()
    if row is None or row[0] not in ("open", "stuck"):
        raise BrokenPromise(f"Operation {name} is {row[0] if row else 'unknown'}: nothing more may happen in it.")


def _parameters(told: str) -> Json:
    """Of a mark; nearly all have none, and all are read again at every move."""
    return None if told == "null" else json.loads(told)


def _plain(opening: Opening) -> tuple[str | int, ...]:
    return tuple(getattr(opening, name) for name in _OPERATION.split(", "))


def _operation(row: tuple[str | int | float | None, ...]) -> Operation:
    name, *told, began, state, course, ended, said = row
    known = dict(zip(_OPERATION.split(", "), told, strict=True))
    opening = Opening(**known)  # type: ignore[arg-type]  # the columns have the fields' names and kinds
    at = float(ended) if ended is not None else None
    return Operation(str(name), opening, float(began or 0), State(str(state)), Course(str(course)), at, str(said))
