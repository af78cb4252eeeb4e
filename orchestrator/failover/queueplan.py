"""What of one mail host's queue has to be moved to the other: lists of both ends in, letters by name out. Pure.

The lists are what the agents' verb `queue` told (`agent/mailqueue` and `agent/received` say what each act does). A
letter is known by its id at the host that gives, and by the microsecond of its arrival. The order of a move: `hold`,
`carry`, then, when the receiver is active, `to_release`, then `to_drop`; undone by `to_lift`, then `to_unhold`.

Invariant: a letter that the receiver has had for good is never carried; the site's own held letters are in no list of
acts; what is given back to the sender stands nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

WITHOUT = ("maildrop", "corrupt")
"""Queues whose letters stay: pickup takes the ones when Postfix runs, a person looks at the others."""
_OURS = ("us", "holding")
_UNRELEASED = ("laying", "laid", "releasing")


class Letter(NamedTuple):
    """A queue file as its host lists it. `arrived`: microseconds since 1970, None where it doesn't say; `held`: on hold
    by `us` (for `operation`; `holding` when that was cut off), by the `site`, or `laid` here and not released; else
    empty.
    """

    id: str
    queue: str
    arrived: int | None
    held: str = ""
    operation: str = ""
    whole: bool = True


class Laid(NamedTuple):
    """A row of the receiver's ledger."""

    source: str
    id: str
    arrived: int
    digest: str
    state: str
    operation: str


class Move(NamedTuple):
    """`hold`: to be put on hold by us; `carry`: to be read and laid; `stays`: id and why, of what isn't moved."""

    hold: tuple[str, ...]
    carry: tuple[str, ...]
    stays: Mapping[str, str]


Known = dict[tuple[str, int | None], Laid]


def letters(told: Mapping[str, Any]) -> list[Letter]:
    """What an agent answered to `list`. Raises KeyError, TypeError and ValueError for what isn't such an answer."""
    found = []
    for row in told["letters"]:
        name, queue, arrived, _size, _inode, _ctime, whole, held, operation = row
        found.append(Letter(str(name), str(queue), arrived, str(held), str(operation), bool(whole)))
    return found


def ledger(told: Mapping[str, Any]) -> list[Laid]:
    """What an agent answered to `laid`. Raises as `letters`."""
    return [Laid(row[0], row[1], row[2], row[3], row[7], row[8]) for row in told["laid"]]


def move(there: Iterable[Letter], rows: Iterable[Laid], source: str, operation: str) -> Move:
    """What has to be moved of the queue of the host `source`."""
    known = _known(rows, source)
    hold, carry, stays = [], [], {}
    for letter in there:
        if why := _stays(letter):
            stays[letter.id] = why
            continue
        row = known.get((letter.id, letter.arrived))
        if letter.held != "us" or letter.operation != operation:
            hold.append(letter.id)
        if row is None or row.state in ("lifted", "left") or _is_other(row, operation):
            carry.append(letter.id)
    return Move(tuple(hold), tuple(carry), stays)


def _stays(letter: Letter) -> str:
    """Why a letter isn't moved, empty when it is."""
    if letter.queue in WITHOUT:
        return f"it is in {letter.queue}"
    if letter.arrived is None or not letter.whole:
        return "it isn't whole"
    if letter.held == "laid":
        return "it came from the other host, and isn't released yet"
    return "the site itself has it on hold" if letter.queue == "hold" and letter.held not in _OURS else ""


def _is_other(row: Laid, operation: str) -> bool:
    """Whether another operation laid it and never released it: laying it again makes it this one's."""
    return row.state in ("laying", "laid") and row.operation != operation


def to_release(rows: Iterable[Laid], source: str, operation: str) -> list[str]:
    """What this operation has laid and not let go."""
    return [row.id for row in _of(rows, source, operation) if row.state in _UNRELEASED]


def to_lift(rows: Iterable[Laid], source: str, operation: str) -> list[str]:
    """What this operation has laid and may still take back."""
    return [row.id for row in _of(rows, source, operation) if row.state in ("laying", "laid")]


def to_drop(there: Iterable[Letter], rows: Iterable[Laid], source: str) -> dict[str, str]:
    """By id the digests of letters that the receiver has let go, so that the sender's copies may be taken out."""
    known = _known(rows, source)
    pairs = [(letter, known.get((letter.id, letter.arrived))) for letter in there if letter.held in _OURS]
    return {letter.id: row.digest for letter, row in pairs if row is not None and row.state == "released"}


def to_unhold(there: Iterable[Letter], rows: Iterable[Laid], source: str, operation: str) -> list[str]:
    """What the sender may go on with itself: what this operation put on hold, and the receiver hasn't."""
    known = _known(rows, source)
    pairs = [(letter, known.get((letter.id, letter.arrived))) for letter in there if letter.held in _OURS]
    return [each.id for each, row in pairs if each.operation == operation and (row is None or row.state == "lifted")]


def _known(rows: Iterable[Laid], source: str) -> Known:
    return {(row.id, row.arrived): row for row in rows if row.source == source}


def _of(rows: Iterable[Laid], source: str, operation: str) -> Sequence[Laid]:
    return [row for row in rows if (row.source, row.operation) == (source, operation)]
