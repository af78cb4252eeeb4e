"""The epoch register of a guard: what it has to remember, as a value and as a file.

The register says which epoch it is, which place is active in it, and what this guard has promised. It is the authority:
the controller's journal, the epoch in the DNS and the store markers follow it (DESIGN section 8).

Two files of one size change places with each change, so that keeping it needs no space on a disk that is full.

Invariant: a register is replaced whole and is durable when `keep` returns; one that is damaged is an error, never an
empty one. Its `generation` grows with every minute and start, so that who remembers a higher one knows a restored copy.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from typing import Any, Dict, FrozenSet, Mapping, Optional, Tuple

from . import beneath
from .lease import Kept

FILE = "register.json"
SIZE = 32 << 10  # bytes, of which a register needs some 6 KiB at most
REMEMBERED = 64  # operations whose outcome is known when they are asked for again


NOTHING = Kept(0, without_end=False)  # promised by who grants nothing


class Damaged(Exception):
    """The file isn't a whole register. The text says what to do."""


@dataclass(frozen=True)
class Register:
    """`epoch` 0: it knows of none. `tombstone`: this place doesn't serve in an epoch below it, for good; 0 for none.
    `kept`: what it promised as a granter. `boot` is the boot for which `without_end` (granters whose grants have no
    end) and `attested` (an operator's words) count. `announced`: in a pair without a witness, the next reboot was
    announced. `leaving`: why this granter grants without an end; `turn`: how often that was ordered or withdrawn, or on
    the active, the last such turn that it heard of. `seen`: the highest generation of each other guard; `stores`: the
    epoch and generation of each store, by the first letters of its id, as the active told them; `done`: operation ->
    outcome; `weak`: the active told that its kernel doesn't end its lease. `before`: the active of the earlier epoch,
    to whom this granter may have granted so many seconds (`lasting`, infinite for a grant without an end) after it was
    fenced: it grants nothing until that has run out. `quiet`: the operation that has this active serve nobody, or
    this passive place not even queue, until `quiet_until`, and `fresh`: when a promotion made it active, both in
    CLOCK_BOOTTIME of `boot`; empty and 0 for none.
    """

    epoch: int
    active: str
    generation: int = 0
    tombstone: int = 0
    kept: Kept = NOTHING
    boot: str = ""
    without_end: FrozenSet[str] = frozenset()
    attested: str = ""
    announced: bool = False
    leaving: str = ""
    turn: int = 0
    seen: Mapping[str, int] = field(default_factory=dict)
    stores: Mapping[str, Tuple[int, int]] = field(default_factory=dict)
    done: Mapping[str, str] = field(default_factory=dict)
    weak: bool = False
    before: str = ""
    lasting: float = 0.0
    quiet: str = ""
    quiet_until: float = 0.0
    fresh: float = 0.0

    def in_epoch(self, epoch: int, active: str) -> "Register":
        """The register in a later epoch. What was promised in this one doesn't count there."""
        return replace(
            self, epoch=epoch, active=active, kept=NOTHING, without_end=frozenset(), attested="", announced=False,
            weak=False, stores={}, before="", lasting=0.0, quiet="", quiet_until=0.0, fresh=0.0,
        )  # fmt: skip

    def with_done(self, operation: str, outcome: str) -> "Register":
        """The outcome of an operation; the oldest ones are forgotten."""
        done = {**{name: said for name, said in self.done.items() if name != operation}, operation: outcome}
        return replace(self, done=dict(list(done.items())[-REMEMBERED:]))


def same_promises(one: Register, other: Register) -> bool:
    """Whether they differ in nothing but what others told of themselves, and in age: losing that breaks no promise."""
    return replace(one, generation=0, seen={}, stores={}) == replace(other, generation=0, seen={}, stores={})


def text(register: Register) -> bytes:
    """What the file holds: a line of JSON, one with its SHA-256, empty lines. Raises ValueError if that is too long."""
    head: Dict[str, Any] = dict(register.__dict__)
    head["kept"] = dict(register.kept.__dict__)
    head["without_end"] = sorted(register.without_end)
    line = json.dumps(head, sort_keys=True).encode()
    whole = line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n"
    if len(whole) > SIZE:
        raise ValueError(f"a register of {len(whole)} bytes")
    return whole.ljust(SIZE, b"\n")


def parse(raw: bytes) -> Register:
    """The register that a file holds. Raises Damaged."""
    line, _, digest = raw.partition(b"\n")
    if hashlib.sha256(line).hexdigest().encode() != digest.rstrip(b"\n"):
        raise Damaged("its digest doesn't fit its content")
    head = json.loads(line)
    try:
        head["kept"] = Kept(**head["kept"])
        head["without_end"] = frozenset(head["without_end"])
        head["stores"] = {store: (int(epoch), int(generation)) for store, (epoch, generation) in head["stores"].items()}
        return Register(**head)
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(f"it is of another version: {error}") from error


def load(directory: str) -> Optional[Register]:
    """The register kept in a directory; None when there never was one. Raises Damaged."""
    path = os.path.join(directory, FILE)
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except FileNotFoundError:
        return None
    try:
        return parse(raw)
    except Damaged as error:
        raise Damaged(
            f"{path} is damaged: {error}. This place doesn't serve and grants nothing. When the other guards are up,"
            " move the file away and start the guard again: it learns the epoch from them"
        ) from error


def keep(directory: str, register: Register) -> None:
    """Durable when this returns. Raises OSError."""
    name, new, data = FILE.encode(), FILE.encode() + b".new", text(register)
    there = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Not truncated: its blocks are written again, and a disk that is full has none to give.
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=there)
        try:
            beneath.write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        try:
            beneath.exchange(there, new, there, name)
        except (FileNotFoundError, beneath.Unsupported):
            os.rename(new, name, src_dir_fd=there, dst_dir_fd=there)
        os.fsync(there)
    finally:
        os.close(there)
