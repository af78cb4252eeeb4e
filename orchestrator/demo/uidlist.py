"""dovecot-uidlist as Dovecot itself writes it: a version 3 header, rows appended under the lock.

Format and habits are those of Dovecot's maildir-uidlist.c: the header's next UID isn't rewritten when a row is
appended, rows of expunged messages linger until a quarter of the file is garbage, and a rewrite goes through
`dovecot-uidlist.tmp` and a rename. Invariant: a (UIDVALIDITY, UID) never names two messages.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import TryAgain

FILE = "dovecot-uidlist"
GARBAGE = 0.25  # the share of rows without a message at which Dovecot rewrites the file
LOCK_PATIENCE = 10.0  # seconds


@dataclass(frozen=True)
class Uidlist:
    """A parsed file: `rows` maps UID to base name, ascending; `next_uid` is the next that may be given out."""

    validity: int
    guid: str
    next_uid: int
    rows: dict[int, bytes]

    def uid(self, base: bytes) -> int | None:
        return next((uid for uid, name in self.rows.items() if name == base), None)


def parse(raw: bytes) -> Uidlist:
    """Errors: ValueError for anything that Dovecot wouldn't have written."""
    head, *lines = raw.split(b"\n")
    words = head.split(b" ")
    if words[0] != b"3" or lines[-1:] != [b""]:
        raise ValueError("not a whole dovecot-uidlist of version 3")
    fields = {word[:1]: word[1:] for word in words[1:]}
    rows: dict[int, bytes] = {}
    for line in lines[:-1]:
        before, _, base = line.partition(b":")
        uid = int(before.split(b" ")[0])
        if rows and uid <= next(reversed(rows)):
            raise ValueError(f"UID {uid} isn't above the one before it")
        rows[uid] = base
    next_uid = max([int(fields[b"N"]), *(uid + 1 for uid in rows)])
    return Uidlist(int(fields[b"V"]), fields[b"G"].decode("ascii"), next_uid, rows)


def read(folder: Path) -> Uidlist:
    return parse((folder / FILE).read_bytes())


def create(folder: Path, validity: int) -> None:
    """A new, empty one, as Dovecot makes it when it creates a folder."""
    _replace(folder, f"3 V{validity} N1 G{secrets.token_hex(16)}\n".encode("ascii"))


def append(folder: Path, bases: list[bytes]) -> list[int]:
    """Give the next UIDs to `bases`, in this order. The caller holds the lock."""
    first = read(folder).next_uid
    rows = b"".join(b"%d :%s\n" % (first + n, base) for n, base in enumerate(bases))
    with (folder / FILE).open("ab") as out:
        out.write(rows)
        out.flush()
        os.fdatasync(out.fileno())
    return list(range(first, first + len(bases)))


def tidy(folder: Path, present: Collection[bytes]) -> bool:
    """Rewrite the file without the rows of expunged messages, once they are a quarter of it. Under the lock."""
    known = read(folder)
    kept = {uid: base for uid, base in known.rows.items() if base in present}
    if len(known.rows) - len(kept) <= GARBAGE * len(known.rows):
        return False
    head = f"3 V{known.validity} N{known.next_uid} G{known.guid}\n".encode("ascii")
    _replace(folder, head + b"".join(b"%d :%s\n" % row for row in kept.items()))
    return True


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Dovecot's dotlock: `dovecot-uidlist.lock`, made by link(2), holding `pid:host`. Errors: TryAgain after 10 s."""
    path = folder / (FILE + ".lock")
    own = folder / f".temp.{os.getpid()}.{secrets.token_hex(4)}"
    own.write_text(f"{os.getpid()}:{socket.gethostname()}", encoding="ascii")
    deadline = time.monotonic() + LOCK_PATIENCE
    try:
        while not _linked(own, path):
            if time.monotonic() > deadline:
                raise TryAgain(f"{path} is held by somebody else for more than {LOCK_PATIENCE:g} s")
            time.sleep(0.002)
    finally:
        own.unlink()
    try:
        yield
    finally:
        path.unlink()


def _linked(own: Path, path: Path) -> bool:
    try:
        os.link(own, path)
    except FileExistsError:
        return False
    return True


def _replace(folder: Path, raw: bytes) -> None:
    new = folder / (FILE + ".tmp")
    with new.open("wb") as out:
        out.write(raw)
        out.flush()
        os.fdatasync(out.fileno())
    new.rename(folder / FILE)
