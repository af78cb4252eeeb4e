"""What was promised, as it was promised: one JSON line an answer, flushed before the client goes on.

Invariant: a record is on its way to the file (written, not fsynced: the client's own host loses no power) before the
next command of the same client is sent, so no acknowledgement is forgotten. The outcome of a command whose reply never
came is `unknown`, never a guess. Times are seconds of CLOCK_BOOTTIME, which all hosts of one kernel share and nobody
can set; `Began` ties them to the clock on the wall.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal

Outcome = Literal["ok", "no", "unknown"]


def now() -> float:
    """The clock of all records."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Began:
    what: ClassVar[str] = "began"
    t: float
    wall: float
    seed: int
    rate: float


@dataclass(frozen=True)
class Sent:
    """One attempt to hand a message over, from its last dot on. `via` is mx or submission; `link` is "from>to", each
    an address:port, and tells the connection.
    """

    what: ClassVar[str] = "sent"
    t: float
    id: str
    account: str
    via: str
    outcome: Outcome
    reply: str
    link: str


@dataclass(frozen=True)
class Act:
    """One command of a user. `act` is append, store, copy, move, expunge, create, rename or delete; `add` tells
    whether a store adds or removes `flags`; `uid` is the message's, `new_uid` and `new_validity` what the server gave
    to it in `target` (0: not told); a rename's new name is its `target`.
    """

    what: ClassVar[str] = "act"
    t: float
    account: str
    act: str
    outcome: Outcome
    id: str = ""
    folder: str = ""
    target: str = ""
    validity: int = 0
    uid: int = 0
    new_validity: int = 0
    new_uid: int = 0
    flags: tuple[str, ...] = ()
    add: bool = True
    link: str = ""


@dataclass(frozen=True)
class Seen:
    """A client was told that this number names this message. For POP3 `uidl` is the name, and `validity` and `uid`
    are 0.
    """

    what: ClassVar[str] = "seen"
    t: float
    account: str
    folder: str
    validity: int
    uid: int
    id: str
    uidl: str = ""


@dataclass(frozen=True)
class Fault:
    """A cache that was true before and isn't any more; `kind` is one of `caches.KINDS`, the rest as in its Trouble."""

    what: ClassVar[str] = "fault"
    t: float
    account: str
    folder: str
    kind: str
    text: str
    validity: int = 0
    uid: int = 0
    id: str = ""


@dataclass(frozen=True)
class Login:
    """A positive answer that moved no message: the OK after a login. `link` as in Sent."""

    what: ClassVar[str] = "login"
    t: float
    account: str
    protocol: str
    link: str


@dataclass(frozen=True)
class Cached:
    """What a client holds of a folder when it stops: its messages as (UID, id, flags)."""

    what: ClassVar[str] = "cached"
    t: float
    account: str
    folder: str
    validity: int
    uidnext: int
    modseq: int
    messages: tuple[tuple[int, str, tuple[str, ...]], ...]


Record = Began | Sent | Act | Seen | Fault | Login | Cached
_KINDS: dict[str, type[Any]] = {kind.what: kind for kind in (Began, Sent, Act, Seen, Fault, Login, Cached)}


def to_line(record: Record) -> str:
    return json.dumps({"what": record.what, **asdict(record)}, separators=(",", ":"))


def from_line(line: str) -> Record:
    """Raises ValueError or TypeError when it isn't one of our records."""
    raw = json.loads(line)
    kind = _KINDS.get(raw.pop("what", ""))
    if kind is None:
        raise ValueError(f"not a record of the journal: {line[:80]}")
    record: Record = kind(**{key: _frozen(value) for key, value in raw.items()})
    return record


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def read(path: str | Path) -> Iterator[Record]:
    """The records of a file; a last line that was torn when its writer was killed is left out."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield from_line(line)


class Journal:
    """An append-only file that any thread may write to; a context manager."""

    def __init__(self, path: str | Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._lock = threading.Lock()

    def write(self, *records: Record) -> None:
        """In this order, and handed to the kernel when it returns."""
        data = "".join(to_line(record) + "\n" for record in records).encode()
        with self._lock:
            while data:
                data = data[os.write(self._file, data) :]

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
