"""A client's cache of one folder, and whether it is still true when the server is asked again.

Invariant: what is reported would have misled a real client: shown it the wrong message, made it download again what it
had, or hidden a change. A message that went away without the client's doing isn't judged here (`verdict` knows what
was promised), nor is one that came. A fault is reported once, then the cache takes over what the server says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

KINDS: dict[str, str] = {
    "uidvalidity": "UIDVALIDITY changed: the client downloads everything again",
    "reuse": "a UID names another message than before",
    "renumbered": "a message that the client has came under another UID: it downloads it again",
    "late uid": "a message came under a UID below the announced UIDNEXT: the client never asks for it",
    "uidnext back": "UIDNEXT went back",
    "modseq back": "HIGHESTMODSEQ went back: later changes stay hidden from the client",
    "missed flags": "flags changed, and the answer since the client's modseq left it out",
    "missed vanished": "a message is gone, and the VANISHED since the client's modseq left it out",
    "uidl reuse": "a POP3 UIDL names another message than before",
    "damaged": "a message isn't the one that was sent",
    "uidl changed": "a POP3 message that the client has came under another UIDL: it downloads it again",
}
IGNORED = {"\\recent"}


class Trouble(NamedTuple):
    """One fault of a cache: `kind` of KINDS, what it is about, and the message's new UID and id where there is one."""

    kind: str
    text: str
    uid: int = 0
    id: str = ""


def plain(flags: Iterable[str]) -> frozenset[str]:
    """Flags as they are compared: without case, without \\Recent, which belongs to a session."""
    return frozenset(flag.lower() for flag in flags) - IGNORED


@dataclass(frozen=True)
class Listing:
    """A folder as the server tells it. `ids` holds the messages whose identity was read; `modseq` is 0 where CONDSTORE
    isn't advertised, then nothing is expected of it.
    """

    validity: int
    uidnext: int
    modseq: int
    flags: Mapping[int, frozenset[str]]
    ids: Mapping[int, str]


@dataclass(frozen=True)
class Since:
    """What the server answered when it was asked for the changes since the cache's modseq: `changed` by CONDSTORE,
    `vanished` by QRESYNC; None where it wasn't asked.
    """

    changed: Mapping[int, frozenset[str]] | None = None
    vanished: frozenset[int] | None = None


@dataclass
class Cache:
    """`ids` and `flags` by UID. `validity` 0: nothing is known yet."""

    validity: int = 0
    uidnext: int = 0
    modseq: int = 0
    ids: dict[int, str] = field(default_factory=dict)
    flags: dict[int, frozenset[str]] = field(default_factory=dict)

    def forget(self, uid: int) -> None:
        """The message is gone by the client's own command, or by an EXPUNGE that it was told."""
        self.ids.pop(uid, None)
        self.flags.pop(uid, None)

    def fresh(self, listing: Listing) -> set[int]:
        """The UIDs whose identity a client has to ask for."""
        return set(listing.flags) - (set(self.ids) if listing.validity == self.validity else set())

    def faults(self, listing: Listing, since: Since | None = None) -> Iterator[Trouble]:
        """Nothing when the cache is true. Identities of the fresh ones should be in the listing; a cached UID is
        checked where its identity was read. A message that somebody moved away and back is `renumbered` too: whether
        that was so, the journal knows.
        """
        if not self.validity:
            return
        if listing.validity != self.validity:
            text = f"{self.validity} became {listing.validity}, {len(self.ids)} messages were cached"
            yield Trouble("uidvalidity", text)
            return
        yield from self._names(listing)
        if listing.uidnext < self.uidnext:
            yield Trouble("uidnext back", f"{self.uidnext} became {listing.uidnext}")
        if listing.modseq and listing.modseq < self.modseq:
            yield Trouble("modseq back", f"{self.modseq} became {listing.modseq}")
        if since is not None:
            yield from self._missed(listing, since)

    def _names(self, listing: Listing) -> Iterator[Trouble]:
        gone = {identity: uid for uid, identity in self.ids.items() if identity and uid not in listing.flags}
        for uid, identity in sorted(listing.ids.items()):
            before = self.ids.get(uid)
            if before is not None:
                if before != identity:
                    text = f"UID {uid} was {before or 'unknown'}, is {identity or 'unknown'}"
                    yield Trouble("reuse", text, uid, identity)
            elif identity in gone:
                yield Trouble("renumbered", f"{identity} was UID {gone[identity]}, is UID {uid}", uid, identity)
            elif uid < self.uidnext:
                yield Trouble("late uid", f"{identity} came as UID {uid}, UIDNEXT was {self.uidnext}", uid, identity)

    def _missed(self, listing: Listing, since: Since) -> Iterator[Trouble]:
        if since.changed is not None:
            for uid in sorted(self.flags.keys() & listing.flags.keys() - since.changed.keys()):
                if self.flags[uid] != listing.flags[uid]:
                    text = f"UID {uid}: {_said(self.flags[uid])} became {_said(listing.flags[uid])}"
                    yield Trouble("missed flags", text, uid, self.ids.get(uid, ""))
        if since.vanished is not None:
            for uid in sorted(self.ids.keys() - listing.flags.keys() - since.vanished):
                yield Trouble("missed vanished", f"UID {uid} ({self.ids[uid]})", uid, self.ids[uid])

    def take(self, listing: Listing) -> None:
        """Believes the server. Identities that weren't read stay as they were."""
        known = self.ids if listing.validity == self.validity else {}
        self.ids = {uid: listing.ids.get(uid, known.get(uid, "")) for uid in listing.flags}
        self.flags = dict(listing.flags)
        self.validity, self.uidnext, self.modseq = listing.validity, listing.uidnext, listing.modseq


def _said(flags: frozenset[str]) -> str:
    return " ".join(sorted(flags)) or "no flags"


@dataclass
class Uidls:
    """A POP3 client's memory: which message each UIDL was."""

    ids: dict[str, str] = field(default_factory=dict)

    def faults(self, named: Mapping[str, str]) -> Iterator[Trouble]:
        """`named`: the server's UIDLs now, and the message of each."""
        before = {identity: uidl for uidl, identity in self.ids.items() if identity}
        for uidl, identity in named.items():
            if self.ids.get(uidl, identity) != identity:
                yield Trouble("uidl reuse", f"{uidl} was {self.ids[uidl]}, is {identity}", 0, identity)
            elif uidl not in self.ids and before.get(identity, uidl) not in named:
                yield Trouble("uidl changed", f"{identity} was {before[identity]}, is {uidl}", 0, identity)

    def take(self, named: Mapping[str, str]) -> None:
        self.ids = dict(named)
