"""Agents that die at a chosen act, and a mailbox's history that makes them act in every way they can.

An act is a call that changes what a disk holds: a file created, written, cut, renamed, exchanged, linked, unlinked,
a directory made or removed, fsync, syncfs, a commit of the index. The agent process is the real one; these calls are
wrapped before its code is imported. A first run counts the acts; each further run kills the process (SIGKILL) before
its k-th act, behind it, or, for a write, with half of the bytes written.

Invariant: nothing of this is in the product's code. Times and modes (utime, chmod, chown) aren't acts of their own:
what they change isn't visible under a final name before a rename.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.agent import uidlist as strict
from orchestrator.demo import uidlist
from orchestrator.demo.mailbox import INBOX
from orchestrator.errors import HostUnreachable, LinkLost
from orchestrator.remote.host import Conversation
from orchestrator.remote.lines import ChildLine, house
from tests.support import pairs
from tests.support.dying import WRAP

BEFORE, HALF, AFTER = HOWS = ("before", "half", "after")
ALL = bool(os.environ.get("ALL_CRASHES"))
"""Every act instead of a sample."""
MOST = 150
"""Acts up to which every one is tried also in an ordinary run; beyond, a sample is drawn."""

_DYING = """
import os, signal, sqlite3, stat, sys
sys.path.append(sys.argv.pop(1))
told = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
at, how, count = int(sys.argv.pop(1)), sys.argv.pop(1), 0
really_write = os.write

def die():
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()

def act(what, call, half=None):
    global count
    mine, count = count == at, count + 1
    really_write(told, what.encode() + b"\\n")
    if mine and how == "before":
        die()
    if mine and how == "half" and half is not None:
        half()
        die()
    result = call()
    if mine:
        die()
    return result

"""
_DYING += WRAP
_DYING += """
def is_file(fd, *a, **k):
    return stat.S_ISREG(os.fstat(fd).st_mode)

wrap(os, "open", lambda path, flags, *a, **k: bool(flags & os.O_CREAT) or flags & os.O_TMPFILE == os.O_TMPFILE)
wrap(os, "write", is_file, lambda real, fd, data: real(fd, data[: len(data) // 2]))
wrap(os, "pwrite", is_file, lambda real, fd, data, at: real(fd, data[: len(data) // 2], at))
for name in ("ftruncate", "fsync"):
    wrap(os, name)
for name in ("rename", "replace", "link", "unlink", "mkdir", "rmdir"):
    wrap(os, name)

class Connection(sqlite3.Connection):
    def execute(self, sql, *a):
        if sql == "COMMIT":
            return act("commit", lambda: super(Connection, self).execute(sql, *a))
        return super().execute(sql, *a)

connect = sqlite3.connect
sqlite3.connect = lambda *a, **k: connect(*a, factory=Connection, **k)
from orchestrator.agent import beneath
wrap(beneath, "syncfs")
wrap(beneath, "exchange")
from orchestrator.agent.main import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Crash:
    """Where an agent dies: at its act number `at` (from 0), and how."""

    at: int
    how: str


NEVER = Crash(-1, BEFORE)


class Mortal(pairs.Laid):
    """A pair, in memory, in which one host's agent may be a child process that dies."""

    def __init__(self, base: Path) -> None:
        super().__init__(base, pairs.MEMORY)
        self.crashes: dict[str, Crash] = {}
        self.acts = base / "acts"

    def _converse(self, name: str, faults: pairs.Faults) -> Conversation:
        crash = self.crashes.get(name)
        if crash is None:
            return super()._converse(name, faults)
        words = [str(self.acts), str(crash.at), crash.how, "--state", str(self.state(name))]
        line = ChildLine([sys.executable, "-I", "-S", "-c", _DYING, house(), *words])
        self.lines[name] = line
        return Conversation(line, name=name, dead_after=20.0)

    def pass_with(self, host: str, crash: Crash) -> None:
        """A pass in which this host's agent dies so, or outlives it."""
        self.end()
        self.crashes = {host: crash}
        try:
            self.open()
            self.sync()
        except (LinkLost, HostUnreachable):
            self.acts.touch()  # it was killed, as was meant; perhaps before its first act
        self.end()
        self.crashes = {}

    def counted(self) -> list[str]:
        """What the mortal agents did, act by act."""
        return self.acts.read_text().split()


@contextmanager
def a_mortal_pair() -> Iterator[Mortal]:
    """It ends with the block."""
    with pairs.in_memory() as base:
        laid = Mortal(base)
        try:
            yield laid
        finally:
            laid.end()


def chosen(acts: list[str], seed: int) -> list[Crash]:
    """Every crash that these acts allow; a sample of them where they are many and nobody asked for all."""
    crashes = [
        Crash(number, how)
        for number, what in enumerate(acts)
        for how in HOWS
        if how != HALF or what in ("write", "pwrite")
    ]
    if ALL or len(crashes) <= MOST:
        return crashes
    return sorted(random.Random(seed).sample(crashes, 40), key=lambda crash: crash.at)


def around(acts: Sequence[str], kinds: Sequence[str]) -> Iterator[Crash]:
    """A crash before and one behind every act of these kinds."""
    for number, what in enumerate(acts):
        if what in kinds:
            yield from (Crash(number, how) for how in (BEFORE, AFTER))


def failures(crashes: Sequence[Crash], acts: Sequence[str], live: Callable[[Crash], Sequence[str]]) -> list[str]:
    """Live through every crash; what went wrong, crash by crash. `live` tells the acts up to the end."""
    failed = []
    for crash in crashes:
        try:
            reached = live(crash)
        except Exception as error:  # noqa: BLE001 - every crash has its say, then all that failed are told
            failed.append(f"{crash} ({acts[crash.at]}): {type(error).__name__}: {error}"[:600])
        else:
            if len(reached) <= crash.at:
                print(f"{crash} came too late to matter")
    return [f"{len(failed)} of {len(crashes)}", *failed] if failed else []


class History:
    """Two accounts, copied once, and then one batch of every kind of change.

    With `many`, more bodies come than are made durable one by one.
    """

    def __init__(self, laid: pairs.Laid, *, many: bool = False) -> None:
        self.laid, self.many = laid, many
        self.box = pairs.Mailbox(laid.source / "ex.org/ann")
        self.other = pairs.Mailbox(laid.source / "ex.org/bob")
        self.content: dict[bytes, bytes] = {}
        self.before: set[bytes] = set()  # base names that the mirror had before the batch
        self.gone: set[bytes] = set()  # base names that the batch expunged
        self.rows: dict[tuple[str, int, int], bytes] = {}  # (account, UIDVALIDITY, UID) -> base, all that ever were

    def begin(self) -> None:
        """Lay the store and copy it."""
        self.lay()
        self.laid.sync()
        self.before = set(self.content)

    def lay(self) -> None:
        for name in ("Sent", "Archive", "Old", "Left", "Right", "Gone"):
            self.box.create(name)
        for name, count in ((INBOX, 6), ("Sent", 4), ("Archive", 2), ("Old", 2), ("Left", 1), ("Right", 1)):
            for _ in range(count):
                self.deliver(name, 300)
        for _ in range(2):
            self.deliver("Gone", 100)
        placed = self.other.folder(INBOX).deliver(b"Subject: bob\n\n")
        self.content[placed.base] = b"Subject: bob\n\n"
        self.note()
        self.laid.session.initialise()

    def deliver(self, folder: str, size: int) -> None:
        body = b"Subject: %d\n\n" % len(self.content) + random.Random(len(self.content)).randbytes(size)
        self.content[self.box.folder(folder).deliver(body).base] = body

    def change(self) -> None:
        """The batch."""
        inbox, sent, archive = (self.box.folder(name) for name in (INBOX, "Sent", "Archive"))
        first = sorted(inbox.messages())
        inbox.flag(first[0], "S" + inbox.keyword("important"))
        inbox.flag(first[1], "RS")
        inbox.move(first[2:4], archive)
        self.box.copy(first[4:5], INBOX, "Archive")
        gone = sorted(sent.messages())[:3]
        sent.expunge(gone)  # more than a quarter: the uidlist is rewritten
        gone += sorted(self.box.folder("Gone").messages())
        self.box.delete("Gone")
        self.gone = set(gone)
        self.box.rename("Old", "Older")
        for old, new in (("Left", "Third"), ("Right", "Left"), ("Third", "Right")):
            self.box.rename(old, new)
        self.box.create("Fresh")
        self.deliver("Fresh", 100)
        self.deliver(INBOX, 700_000)
        for _ in range(24 if self.many else 2):
            self.deliver(INBOX, 200)
        self.note()

    def note(self) -> None:
        """Remember every UID that is or was given out."""
        for box in (self.box, self.other):
            for name in box.names():
                known = uidlist.read(box.folder(name).path)
                self.rows.update({(box.root.name, known.validity, uid): base for uid, base in known.rows.items()})

    # --- what must be true ------------------------------------------------------------

    def truth(self) -> None:
        """Assert what holds on the mirror's disk at every moment, a moment after a crash too."""
        places = set()
        there = set()
        for path, (*_, body) in pairs.messages(self.laid.mirror).items():
            folder, _, name = path.rpartition("/")
            base = name.partition(":")[0].encode("latin-1")
            assert self.content.get(base) == body, f"{path} isn't the message that it is named for"
            key = (folder.rpartition("/")[0], base)
            assert key not in places, f"{path} stands twice in its folder"
            places.add(key)
            there.add(base)
        assert self.before - self.gone <= there, "a message is lost that was there"
        self._uids_are_true()

    def _uids_are_true(self) -> None:
        """A uidlist that stands here gives no message another UID than the source did; its last row may be torn."""
        for path in self.laid.mirror.rglob("dovecot-uidlist"):
            if ".mailmirror" not in path.parts:
                raw = path.read_bytes()
                parsed = strict.parse(raw)
                assert parsed.usable, f"{path}: {parsed.problems}"
                account = path.relative_to(self.laid.mirror).parts[1]
                known = {uid: self.rows.get((account, parsed.header.uidvalidity, uid)) for uid in parsed.uids}
                assert dict(zip(parsed.uids, parsed.bases, strict=True)) == known

    def made_good(self) -> None:
        """Assert that one more pass makes all good."""
        self.laid.sync()
        self.truth()
        self.settled()

    def settled(self) -> None:
        """Assert, after a pass in quiet, that both sides are equal, UIDs included, and that nothing was left behind."""
        pairs.equal(self.laid)
        for box in (self.box, self.other):
            for name in box.names():
                self._same_uids(box, name)
        state = self.laid.mirror / ".mailmirror"
        assert list((state / "tmp").iterdir()) == []
        assert {path.name for path in state.iterdir()} - {"quarantine"} == {"ledger", "store.json", "tmp"}

    def _same_uids(self, box: pairs.Mailbox, name: str) -> None:
        here = box.folder(name).path
        ours = uidlist.read(here)
        theirs = uidlist.read(self.laid.mirror / here.relative_to(self.laid.source))
        standing = box.folder(name).messages().keys()
        assert {u: b for u, b in ours.rows.items() if b in standing} == {
            u: b for u, b in theirs.rows.items() if b in standing
        }
        assert (theirs.validity, theirs.next_uid > ours.next_uid) == (ours.validity, True)
