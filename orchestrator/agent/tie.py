"""What ties a passive store to its ledger: a word that stands in both, drawn anew each minute of work.

The ledger is on another disk than the store, often. Where one of the two was put back from an older copy, the other
tells of messages that aren't there, or doesn't know of those that are: taken for the truth, a message would soon be
missing, or stand twice.

Invariant: the ledger has the new word, and remembers the old one, before the store has it; so a crash in between
unties nothing.
"""

from __future__ import annotations

import os
import time
import uuid
from typing import Optional

from . import beneath
from .beneath import Root
from .ledger import Ledger
from .marker import DIRECTORY

FILE = b"ledger"
TEMPORARY = b"ledger.tmp"
EVERY = 60.0
"""Seconds for which a word is good: copies that are less far apart aren't told from one another."""


class Tie:
    """One store's. One thread."""

    def __init__(self, root: Root, ledger: Ledger) -> None:
        self._root, self._ledger = root, ledger
        self._due = 0.0

    @property
    def holds(self) -> bool:
        """Whether store and ledger were last worked on together. Raises Outside, NotRegular."""
        meta, word = self._ledger.meta, self._read()
        if meta.get("tie") is None:
            return word is None
        return word in (meta.get("tie"), meta.get("tied"))

    def renew(self) -> None:
        """Draw a new word, if the old one is used up. Commits the ledger: only where all that it says is durable."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + EVERY
        word = uuid.uuid4().hex
        self._ledger.begin()
        self._ledger.meta.set(tie=word, tied=self._read())
        self._ledger.commit()
        self._write(word)
        self._ledger.begin()
        self._ledger.meta.set(tied=word)  # the old word is good no more

    def _read(self) -> Optional[str]:
        try:
            fd = beneath.open_file(self._root.open_dir(DIRECTORY), FILE)
        except FileNotFoundError:
            return None
        try:
            return os.read(fd, 100).decode("ascii", "replace").strip()
        finally:
            os.close(fd)

    def _write(self, word: str) -> None:
        home = self._root.open_dir(DIRECTORY)
        if TEMPORARY in beneath.entries(home):
            beneath.unlink(home, TEMPORARY)
        fd = beneath.create(home, TEMPORARY, 0o600)
        try:
            os.write(fd, word.encode() + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        beneath.rename(home, TEMPORARY, home, FILE)
        beneath.fsync_dir(home)
