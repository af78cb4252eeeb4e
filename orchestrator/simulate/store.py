"""A store: what its host's server and its users did to it, what replication brought, and what a power cut takes back.

One account with one folder. Times are the host's own, in ns. A server makes what it delivers durable; an unlink or a
rename that is younger than `COMMIT` may be undone by a power cut, and then the file has the ctime that it had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from orchestrator.agent.marker import Marker
from orchestrator.simulate.laws import Broken, Laws

RAISED = 1 << 20
"""What a passive place's next UID is raised to a multiple of (DESIGN section 6)."""
COMMIT = 5.0


@dataclass(frozen=True)
class Message:
    letter: str
    base: str
    seen: bool = False
    ctime: int = field(default=0, compare=False)
    inode: int = field(default=0, compare=False)

    @property
    def sub(self) -> int:
        return int(self.seen)

    @property
    def info(self) -> str:
        return ":2,S" if self.seen else ""


@dataclass(frozen=True)
class Knew:
    """What a passive place's ledger has of a message: as it came, and its ctime at the source."""

    message: Message
    changed: int


@dataclass
class Store:
    """UID -> message. `unsynced`: UIDs that a power cut takes; `passed`: the newest pass that wrote here; `cut`: as
    `store.cuts` tells it, with its rows. `complete`: up to which ctime of the source nothing was missing; `coming` is
    that of a pass that isn't durable yet. `kept`: quarantine, by base name. `mounted`: its file system is there.
    """

    marker: Marker
    laws: Laws
    now: Callable[[], float]
    letters: dict[int, Message] = field(default_factory=dict)
    unsynced: set[int] = field(default_factory=set)
    next_uid: int = 1
    cut: dict[str, Any] | None = None
    passed: int = 0
    mounted: bool = True
    known: dict[int, Knew] = field(default_factory=dict)
    complete: int = 0
    coming: int = 0
    kept: dict[str, Message] = field(default_factory=dict)
    aside: dict[str, Message] = field(default_factory=dict)
    came: dict[tuple[str, str], str] = field(default_factory=dict)
    _young: list[tuple[float, int, Message]] = field(default_factory=list)
    _inodes: int = 0

    def clock(self) -> int:
        return int((self.now() + 1.0) * 1e9)

    # ---- its own server and users ------------------------------------------------------------------------------------

    def deliver(self, letter: str, base: str = "", *, home: bool = False, seen: bool = False) -> None:
        """By the host's own server; `home`: what a lost place had, under the name that it had there."""
        uid = self.next_uid
        if home:
            self.laws.came_home(uid, letter)
        else:
            self.laws.named(uid, letter)
        self._inodes += 1
        name = base or f"{uid}.{self.marker.place}"
        self.letters[uid] = Message(letter, name, seen, self.clock(), self._inodes)
        self.laws.stands(letter)
        self.next_uid += 1

    def expunge(self, uid: int) -> None:
        """By a user, who has heard that it is done."""
        message = self.letters.pop(uid)
        self._young.append((self.now(), uid, message))
        self.laws.expunged(message.letter, self.clock())
        self.laws.goes(message.letter)

    def flag(self, uid: int) -> None:
        """A user turns a flag over."""
        message = self.letters[uid]
        self._young.append((self.now(), uid, message))
        self.letters[uid] = replace(message, seen=not message.seen, ctime=self.clock())
        self.laws.flagged(message.letter, not message.seen, self.marker.place, self.clock())

    def restless(self, uid: int) -> None:
        """A link of it is made: its ctime is now."""
        self.letters[uid] = replace(self.letters[uid], ctime=self.clock())

    # ---- replication -------------------------------------------------------------------------------------------------

    def offered(self) -> dict[str, Any]:
        """As a source tells it; where its file system is away nothing seems to stand there, and it says so."""
        letters = dict(self.letters) if self.mounted else {}
        trouble = "" if self.mounted else "the store's marker isn't there"
        return {"letters": letters, "next": self.next_uid, "complete": self.clock(), "trouble": trouble}

    def copy(self, offer: Mapping[str, Any], *, deletes: bool, adopts: bool = False) -> None:
        """From the other place; durable only when `sync` is called. What its owner deleted goes into quarantine.

        Raises Broken where it would take away what users were given here: that isn't the other place's to judge. One
        that `adopts` may: what only it had was brought home before. So may any for a letter that the other place has
        under another UID, as after a rejoin that was aborted when it had brought all home.
        """
        letters: Mapping[int, Message] = offer["letters"]
        there = {message.letter for message in letters.values()}
        for uid in [uid for uid in self.letters if uid not in letters]:
            if deletes:
                self._quarantine(uid, adopts or self.letters[uid].letter in there)
        for uid, message in letters.items():
            known = self.known.get(uid)
            if known is not None and known.changed == message.ctime and self.letters[uid] == message:
                continue
            if uid not in self.letters:
                self.laws.stands(message.letter)
                self.unsynced.add(uid)
            elif adopts and self.letters[uid].letter != message.letter:
                raise Broken(f"G4: UID {uid} names {self.letters[uid].letter} and {message.letter}")
            self._inodes += 1
            self.letters[uid] = replace(message, ctime=self.clock(), inode=self._inodes)
            self.known[uid] = Knew(message, message.ctime)
        if not offer["trouble"]:
            self.coming = offer["complete"]
        self.next_uid = max(self.next_uid, (offer["next"] // RAISED + 2) * RAISED)

    def _quarantine(self, uid: int, may: bool) -> None:
        message = self.letters.pop(uid)
        self.known.pop(uid, None)
        self.unsynced.discard(uid)
        if message.letter in self.laws.acknowledged and not may:
            raise Broken(f"G5: replication takes {message.letter} away from the {self.marker.place}")
        self.kept[message.base] = message
        self.laws.goes(message.letter)

    def sync(self) -> None:
        self.unsynced.clear()
        self.complete = self.coming

    def frozen(self, epoch: int, operation: str) -> dict[str, Any]:
        """A cut, made where there is none by this operation."""
        self.sync()
        if self.cut is None or (self.cut["epoch"], self.cut["operation"]) != (epoch, operation):
            self.cut = {
                "epoch": epoch, "place": self.marker.place, "operation": operation, "messages": len(self.letters),
                "waiting": 0, "at": self.now(), "source_complete": self.complete or None, "source_watermark": None,
                "rows": dict(self.known), "kept": dict(self.kept),
            }  # fmt: skip
        return self.cut

    def turned(self, marker: Marker) -> None:
        """Its own server writes here from now on, or no longer does: what a ledger knew of a source is over."""
        self.marker = marker
        self.sync()
        self.known.clear()
        self.complete = self.coming = 0
        self._young.clear()

    def power_cut(self, dice: Random) -> None:
        for uid in sorted(self.unsynced):
            self.known.pop(uid, None)
            self.laws.goes(self.letters.pop(uid).letter)
        self.unsynced.clear()
        self.coming = self.complete
        since = self.now() - dice.uniform(0.0, COMMIT)
        for at, uid, message in reversed(self._young):
            if at >= since:
                if uid not in self.letters:
                    self.laws.stands(message.letter)
                self.letters[uid] = message
        self._young.clear()
