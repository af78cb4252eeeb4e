"""From the journal of answers to what has to be found: messages, folders, names of messages. Pure.

Invariant: deliveries come first, whatever their place in the journal, since a message can be seen before its sender has
its answer; all else of an account keeps its order. A command whose outcome is unknown makes expectations wider, never
narrower.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tests.lab.oracle.caches import Trouble
from tests.lab.oracle.journal import Act, Began, Cached, Fault, Record, Seen, Sent
from tests.lab.oracle.worlds import Item

Name = tuple[str, str, int, int, str]  # account, folder, UIDVALIDITY, UID, UIDL


@dataclass
class Folders:
    """Of one account: names that have to be there, and names that must not. What isn't known is in neither."""

    there: set[str] = field(default_factory=lambda: {"INBOX"})
    gone: set[str] = field(default_factory=set)

    def happened(self, act: Act) -> None:
        if act.act not in ("create", "rename", "delete") or act.outcome == "no":
            return
        moved = {name for name in self.there if name == act.folder or name.startswith(f"{act.folder}/")}
        if act.outcome == "unknown":
            self.there -= moved
            self.gone -= {act.folder, act.target}
        elif act.act == "create":
            self._now(act.folder)
        else:
            self.there -= moved
            self.gone |= moved | {act.folder}
            if act.act == "rename":
                for name in moved | {act.folder}:
                    self._now(act.target + name[len(act.folder) :])

    def _now(self, name: str) -> None:
        self.there.add(name)
        self.gone.discard(name)


@dataclass
class Letters:
    """The attempts to send one message: how many were acknowledged, how many had no reply."""

    acknowledged: int = 0
    unknown: int = 0


@dataclass
class Promises:
    """Keys of `items` and `letters` are (account, id); messages of another run's journal are in neither. `names` tells
    what each name of a message was said to name, in the order in which it was said; `resurrected` were seen after an
    acknowledged expunge; `caches` are each client's last.
    """

    items: dict[tuple[str, str], Item] = field(default_factory=dict)
    letters: dict[tuple[str, str], Letters] = field(default_factory=dict)
    seeds: set[int] = field(default_factory=set)
    folders: dict[str, Folders] = field(default_factory=dict)
    names: dict[Name, list[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    caches: dict[tuple[str, str], Cached] = field(default_factory=dict)
    resurrected: dict[tuple[str, str], str] = field(default_factory=dict)
    arrived: set[tuple[str, int, int]] = field(default_factory=set)  # account, UIDVALIDITY, UID: by the owner's command
    doubtful: set[tuple[str, str]] = field(default_factory=set)  # may have come again for a reason that is no fault
    to_inbox: set[tuple[str, str]] = field(default_factory=set)  # moved there by the owner
    _of_account: dict[str, dict[str, Item]] = field(default_factory=dict)

    def item(self, account: str, identity: str) -> Item:
        key = (account, identity)
        if key not in self.items:
            self.items[key] = self._of_account.setdefault(account, {})[identity] = Item()
        return self.items[key]

    def named(self, name: Name, identity: str) -> None:
        said = self.names.setdefault(name, [])
        if identity and identity not in said:
            said.append(identity)

    def acknowledged(self) -> int:
        """Messages that stand, or stood, by an acknowledgement."""
        return sum(1 for key in self.items if self.letters[key].acknowledged)

    def of_this_run(self, identity: str) -> bool:
        """Whether one of this journal's seeds made it."""
        return any(identity.startswith(f"s{seed}-") for seed in self.seeds)

    # ---- one record after the other ----

    def take(self, record: Record) -> None:
        if isinstance(record, Began):
            self.seeds.add(record.seed)
        elif isinstance(record, Act):
            self._acted(record)
        elif isinstance(record, Seen):
            self._saw(record)
        elif isinstance(record, Fault):
            self.faults.append(record)
        elif isinstance(record, Cached):
            self.caches[record.account, record.folder] = record

    def _acted(self, act: Act) -> None:
        self.folders.setdefault(act.account, Folders()).happened(act)
        if act.act in ("rename", "delete"):
            for item in self._of_account.get(act.account, {}).values():
                item.happened(act)
        elif act.act == "append":
            letters = self.letters.setdefault((act.account, act.id), Letters())
            letters.acknowledged += act.outcome == "ok"
            letters.unknown += act.outcome == "unknown"
            self.item(act.account, act.id).happened(act)
        elif (act.account, act.id) in self.letters:
            self.item(act.account, act.id).happened(act)
        if act.uid and act.id:
            self.named((act.account, act.folder, act.validity, act.uid, ""), act.id)
        key = (act.account, act.id)
        if act.act in ("move", "copy"):
            self.arrived.add((act.account, act.new_validity, act.new_uid))
            self.to_inbox |= {key} if act.target == "INBOX" else set()
        if act.outcome == "unknown" and act.act in ("move", "copy", "append"):
            self.doubtful.add(key)
        if act.new_uid and act.id:
            self.named((act.account, act.target, act.new_validity, act.new_uid, ""), act.id)

    def excused(self, account: str, validity: int, trouble: Trouble) -> bool:
        """Whether a message stands under a new number for a good reason: its owner moved it there, or a command or a
        delivery without an answer may have put it there again.
        """
        key = (account, trouble.id)
        if trouble.kind == "uidl changed":
            return key in self.to_inbox or key in self.doubtful
        arrived = (account, validity, trouble.uid) in self.arrived
        return trouble.kind == "renumbered" and (arrived or key in self.doubtful)

    def _saw(self, seen: Seen) -> None:
        self.named((seen.account, seen.folder, seen.validity, seen.uid, seen.uidl), seen.id)
        item = self.items.get((seen.account, seen.id))
        if item is not None and item.left and not any(item.ends()):
            where = f"seen in {seen.folder} at {seen.t:.3f} after its acknowledged expunge"
            self.resurrected.setdefault((seen.account, seen.id), where)


def gathered(records: Iterable[Record], twice: Mapping[str, int] = MappingProxyType({})) -> Promises:
    """All that the journal promises; `twice`: how often a message may have been delivered again within the site (see
    `postlog`).
    """
    records = list(records)
    promises = Promises()
    for record in records:
        if isinstance(record, Sent):
            letters = promises.letters.setdefault((record.account, record.id), Letters())
            letters.acknowledged += record.outcome == "ok"
            letters.unknown += record.outcome == "unknown"
    for (account, identity), letters in promises.letters.items():
        most = letters.acknowledged + letters.unknown + twice.get(identity, 0)
        if most > 1:
            promises.doubtful.add((account, identity))
        promises.item(account, identity).delivered(letters.acknowledged, most)
    for record in records:
        promises.take(record)
    return promises


def reused(promises: Promises) -> Iterator[tuple[str, str, str, str]]:
    """Names that named two messages: (account, folder, kind, what about)."""
    for (account, folder, _, uid, uidl), said in promises.names.items():
        for before, after in itertools.pairwise(said):
            if uidl:
                yield account, folder, "uidl reuse", f"{uidl} was {before}, is {after}"
            else:
                yield account, folder, "reuse", f"UID {uid} was {before}, is {after}"
