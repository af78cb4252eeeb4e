"""A Maildir++ account as a mail server writes it: deliveries, flags, keywords, moves, expunges, folder names.

Every act leaves on disk what Dovecot leaves: the message under tmp/ first, durable, then its final name, then its
uidlist row; a flag change is a rename; a move is a hard link with a new UID and an unlink; a renamed folder keeps its
uidlist. Invariant: whoever reads the tree at any moment sees only whole messages. No index files are kept: the
product doesn't carry them.
"""

from __future__ import annotations

import itertools
import os
import re
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.demo import uidlist

INBOX = "INBOX"
FOLDERS = (INBOX, "Sent", "Archive", "Trash")
KEYWORDS = "dovecot-keywords"
VALIDITY = "dovecot-uidvalidity"
_counter = itertools.count(1)


@dataclass(frozen=True)
class Placed:
    """A message where it stands: its UID, its base name, and when it got there (nanoseconds, the kernel's clock)."""

    uid: int
    base: bytes
    ctime_ns: int


class Folder:
    """One folder: a directory with cur, new and tmp."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def deliver(self, raw: bytes) -> Placed:
        """What an LMTP server does with one message (LF line ends); durable when this returns."""
        base = _unique_name(raw)
        draft = self.path / "tmp" / os.fsdecode(base)
        with draft.open("xb") as out:
            out.write(raw)
            out.flush()
            os.fsync(out.fileno())
        final = self.path / "new" / os.fsdecode(base)
        with uidlist.lock(self.path):
            draft.rename(final)
            _sync_directory(self.path / "new")
            (uid,) = uidlist.append(self.path, [base])
        return Placed(uid, base, final.stat().st_ctime_ns)

    def messages(self) -> dict[bytes, Path]:
        """Base name to present path; new is read before cur, so that a message on its way is seen, not missed."""
        names = (path for part in ("new", "cur") for path in (self.path / part).iterdir())
        return {base_name(path): path for path in names}

    def opened(self) -> None:
        """What an IMAP server does when a user opens it: messages without a row in the uidlist get their UIDs."""
        with uidlist.lock(self.path):
            rows = set(uidlist.read(self.path).rows.values())
            uidlist.append(self.path, [base for base in self.messages() if base not in rows])

    def flag(self, base: bytes, flags: str) -> None:
        """Set the flags to `flags` (letters as in cr.yp.to/proto/maildir.html; a to z are keywords)."""
        with uidlist.lock(self.path):
            path = self.messages()[base]
            path.rename(self.path / "cur" / f"{os.fsdecode(base)}:2,{''.join(sorted(set(flags)))}")

    def keyword(self, word: str) -> str:
        """The letter that stands for `word` in file names here, given out on first use."""
        listing = self.path / KEYWORDS
        with uidlist.lock(self.path):
            rows = listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []
            words = [row.partition(" ")[2] for row in rows]
            if word not in words:
                words.append(word)
                _replace(listing, "".join(f"{n} {one}\n" for n, one in enumerate(words)))
        return chr(ord("a") + words.index(word))

    def move(self, bases: Iterable[bytes], target: Folder) -> list[int]:
        """IMAP MOVE: linked into the target under the same base name, then gone here; returns the new UIDs."""
        known = self.messages()
        bases = list(bases)
        with uidlist.lock(target.path):
            for base in bases:
                name = known[base].name
                os.link(known[base], target.path / "cur" / (name if ":2," in name else name + ":2,"))
            _sync_directory(target.path / "cur")
            uids = uidlist.append(target.path, bases)
        self.expunge(bases)
        return uids

    def expunge(self, bases: Iterable[bytes]) -> None:
        with uidlist.lock(self.path):
            known = self.messages()
            for base in bases:
                known.pop(base).unlink()
            uidlist.tidy(self.path, known.keys())


class Account:
    """One user's mail: INBOX at the root, every other folder as `.Name` below it (Maildir++)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str) -> Folder:
        return Folder(self.root if name == INBOX else self.root / f".{name}")

    def create(self, name: str) -> Folder:
        folder = self.folder(name)
        for part in ("cur", "new", "tmp"):
            (folder.path / part).mkdir(parents=True, mode=0o700)
        if name != INBOX:
            (folder.path / "maildirfolder").touch(mode=0o600)
            self._subscribe(added=name)
        uidlist.create(folder.path, self._next_validity())
        return folder

    def rename(self, name: str, new_name: str) -> Folder:
        """IMAP RENAME of a folder other than INBOX: one rename(2); UIDs and the folder's GUID stay."""
        folder = self.folder(new_name)
        self.folder(name).path.rename(folder.path)
        self._subscribe(added=new_name, removed=name)
        return folder

    def names(self) -> list[str]:
        below = sorted(path.name[1:] for path in self.root.glob(".*") if (path / "cur").is_dir())
        return [INBOX, *below] if (self.root / "cur").is_dir() else below

    def _next_validity(self) -> int:
        """Dovecot's counter: a file that holds the number in hex, and an empty one whose name says it again."""
        path = self.root / VALIDITY
        last = int(path.read_text(encoding="ascii"), 16) if path.exists() else int(time.time())
        for old in self.root.glob(VALIDITY + ".*"):
            old.unlink()
        (self.root / f"{VALIDITY}.{last + 1:08x}").touch(mode=0o444)
        _replace(path, f"{last + 1:08x}")
        return last + 1

    def _subscribe(self, *, added: str, removed: str = "") -> None:
        path = self.root / "subscriptions"
        present = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        wanted = [name for name in present if name not in (added, removed)] + [added]
        _replace(path, "".join(name + "\n" for name in wanted))


def base_name(path: Path) -> bytes:
    """The part of a message's file name that never changes: all before the first colon."""
    return _raw(path).partition(b":")[0]


def _raw(path: Path) -> bytes:
    return os.fsencode(path.name)


def _unique_name(raw: bytes) -> bytes:
    """Dovecot's: time, microseconds, process, a count, the host, then the size, and the size with CRLF line ends."""
    now_us = time.time_ns() // 1000
    host = re.sub(r"[/:]", "-", socket.gethostname())
    stamp = f"{now_us // 1_000_000}.M{now_us % 1_000_000}P{os.getpid()}Q{next(_counter)}.{host}"
    return f"{stamp},S={len(raw)},W={len(raw) + raw.count(10)}".encode()


def _replace(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".tmp")
    new.write_text(text, encoding="utf-8")
    new.rename(path)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
