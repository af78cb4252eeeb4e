"""Random histories of a site that keeps its promises, with what its clients wrote down; and faults to plant in them.

Invariant: an unplanted history is sound, whatever its dice threw: lost replies may have been carried out, or not, or
late. Each fault is planted in an account of its own, and says which findings it has to cause, no more and no fewer.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from tests.lab.oracle.intervals import Answer
from tests.lab.oracle.journal import Act, Began, Cached, Outcome, Record, Seen, Sent
from tests.lab.oracle.reading import Folder, Message

SEED = 11
FLAGS = ("\\seen", "\\flagged", "work")
Signature = tuple[str, str, str, str]  # kind, account, what about, detail


@dataclass
class Box:
    """A folder in truth: UID -> (id, flags)."""

    validity: int
    uidnext: int = 1
    modseq: int = 1
    mail: dict[int, tuple[str, frozenset[str]]] = field(default_factory=dict)

    def add(self, identity: str, flags: frozenset[str] = frozenset()) -> int:
        self.mail[self.uidnext] = (identity, flags)
        self.uidnext += 1
        self.modseq += 1
        return self.uidnext - 1


class Owner:
    """One account: the truth, and the records of its clients."""

    def __init__(self, name: str, dice: random.Random) -> None:
        self.name = name
        self.dice = dice
        self.boxes = {"INBOX": Box(100)}
        self.records: list[Record] = []
        self.late: list[Callable[[], object]] = []  # commands without a reply that may yet be carried out
        self._count = 0
        self._validity = 100
        self.ended: list[str] = []

    def step(self) -> None:
        todo = [self.send, self.send, self.append, self.store, self.store, self.move, self.expunge]
        todo += [self.copy_and_expunge, self.create, self.rename, self.delete]
        self.dice.choice(todo)()
        if self.late and self.dice.random() < 0.5:
            self.late.pop(self.dice.randrange(len(self.late)))()
        self.look()

    def look(self) -> None:
        """A client sees everything, as after a sync."""
        for folder, box in self.boxes.items():
            for uid, (identity, _) in box.mail.items():
                self.records.append(Seen(0, self.name, folder, box.validity, uid, identity))

    def _identity(self) -> str:
        self._count += 1
        return f"s{SEED}-{self.name}-{self._count}"

    def _lost(self) -> bool:
        return self.dice.random() < 0.1

    def send(self) -> None:
        """Up to two attempts; a lost reply may hide a delivery, at once or late."""
        identity = self._identity()
        outcome: Outcome = "unknown"
        while outcome == "unknown":
            outcome = "unknown" if self._lost() else "ok" if self.dice.random() < 0.95 else "no"
            self.records.append(Sent(0, identity, self.name, "mx", outcome, "", ""))
            deliver = functools.partial(self.boxes["INBOX"].add, identity)
            if outcome == "ok" or (outcome == "unknown" and self.dice.random() < 0.3):
                deliver()
            elif outcome == "unknown" and self.dice.random() < 0.5:
                self.late.append(deliver)
            if outcome == "unknown" and self.dice.random() < 0.3:
                return

    def _done(self, act: str, carry_out: Callable[[], dict[str, int]], **told: object) -> None:
        """Journals a command; its effect comes now, later or never when the reply is lost."""
        if not self._lost():
            new = carry_out()
            self._note(act, "ok", **told, **new)
            return
        self._note(act, "unknown", **told)
        if self.dice.random() < 0.4:
            carry_out()
        elif self.dice.random() < 0.5:
            self.late.append(carry_out)

    def _note(self, act: str, outcome: Outcome, **told: object) -> None:
        self.records.append(Act(0, self.name, act, outcome, **told))  # type: ignore[arg-type]

    def _pick(self) -> tuple[str, int] | None:
        found = [(folder, uid) for folder, box in self.boxes.items() for uid in box.mail]
        return self.dice.choice(found) if found else None

    def append(self) -> None:
        folder, identity = self.dice.choice(sorted(self.boxes)), self._identity()
        flags = frozenset(flag for flag in FLAGS if self.dice.random() < 0.3)

        def carry_out() -> dict[str, int]:
            if folder in self.boxes:
                self.boxes[folder].add(identity, flags)
            return {}

        self._done("append", carry_out, folder=folder, id=identity, flags=tuple(sorted(flags)))

    def _told(self, folder: str, uid: int) -> dict[str, object]:
        box = self.boxes[folder]
        return {"folder": folder, "uid": uid, "validity": box.validity, "id": box.mail[uid][0]}

    def store(self) -> None:
        if found := self._pick():
            folder, uid = found
            box = self.boxes[folder]
            flag = self.dice.choice(FLAGS)
            add = flag not in box.mail[uid][1]

            def carry_out() -> dict[str, int]:
                if uid in box.mail:
                    identity, flags = box.mail[uid]
                    box.mail[uid] = (identity, flags | {flag} if add else flags - {flag})
                    box.modseq += 1
                return {}

            self._done("store", carry_out, flags=(flag,), add=add, **self._told(folder, uid))

    def _into(self, found: tuple[str, int], *, keep: bool) -> tuple[str, Callable[[], dict[str, int]]]:
        folder, uid = found
        source = self.boxes[folder]
        target = self.dice.choice(sorted(set(self.boxes) - {folder}) or [folder])

        def carry_out() -> dict[str, int]:
            if uid not in source.mail or target not in self.boxes:
                return {}
            identity, flags = source.mail[uid]
            if not keep:
                del source.mail[uid]
                source.modseq += 1
            new = self.boxes[target].add(identity, flags)
            return {"new_uid": new, "new_validity": self.boxes[target].validity}

        return target, carry_out

    def move(self) -> None:
        found = self._pick()
        if found and len(self.boxes) > 1:
            target, carry_out = self._into(found, keep=False)
            self._done("move", carry_out, target=target, **self._told(*found))

    def copy_and_expunge(self) -> None:
        found = self._pick()
        if found and len(self.boxes) > 1:
            target, carry_out = self._into(found, keep=True)
            self._done("copy", carry_out, target=target, **self._told(*found))
            self.expunge(found)

    def expunge(self, found: tuple[str, int] | None = None) -> None:
        if found := found or self._pick():
            folder, uid = found
            box = self.boxes[folder]

            def carry_out() -> dict[str, int]:
                box.modseq += box.mail.pop(uid, None) is not None
                return {}

            self._done("expunge", carry_out, **self._told(folder, uid))

    def create(self) -> None:
        if len(self.boxes) < 5:
            self._validity += 1
            self._count += 1
            name, validity = f"f{self._count}", self._validity
            self.boxes[name] = Box(validity)
            self._note("create", "ok", folder=name)

    def _others(self) -> list[str]:
        return sorted(set(self.boxes) - {"INBOX"})

    def rename(self) -> None:
        if self._others() and not self.late:
            old = self.dice.choice(self._others())
            self._count += 1
            new = f"f{self._count}"
            lost = self._lost()
            if not lost or self.dice.random() < 0.5:
                self.boxes[new] = self.boxes.pop(old)
            self.ended += [] if lost else [old]
            self._note("rename", "unknown" if lost else "ok", folder=old, target=new)

    def delete(self) -> None:
        if len(self._others()) > 2 and not self.late:
            name = self.dice.choice(self._others())
            del self.boxes[name]
            self.ended.append(name)
            self._note("delete", "ok", folder=name)

    def caches(self) -> Iterator[Record]:
        for name, box in self.boxes.items():
            mail = tuple((uid, identity, tuple(sorted(flags))) for uid, (identity, flags) in sorted(box.mail.items()))
            yield Cached(0, self.name, name, box.validity, box.uidnext, box.modseq, mail)

    def reading(self) -> dict[str, Folder]:
        return {
            name: Folder(
                box.validity,
                box.uidnext,
                box.modseq,
                tuple(Message(uid, tuple(sorted(flags)), one) for uid, (one, flags) in sorted(box.mail.items())),
            )
            for name, box in self.boxes.items()
        }


@dataclass
class History:
    owners: list[Owner]
    records: list[Record]
    reading: dict[str, dict[str, Folder]]
    answers: list[Answer]


def history(seed: int, accounts: int, steps: int) -> History:
    dice = random.Random(seed)
    owners = [Owner(f"user{number}", dice) for number in range(accounts)]
    for owner in owners:
        for _ in range(3):
            owner.create()
        for _ in range(5):
            owner.append()
    for _ in range(steps):
        dice.choice(owners).step()
    for owner in owners:
        owner.look()
        owner.records += owner.caches()
        for _ in range(2):
            owner.send()  # nobody has seen these
    records: list[Record] = [Began(0, 0, SEED, 50)]
    for owner in owners:
        records += owner.records
    moved = 50 + dice.random() * 20
    turns = [("primary", t) for t in range(50)] + [("mirror", moved + t) for t in range(50)]
    answers = [Answer(t, place, f"{place}-{t}", "imap", "OK") for place, t in turns]
    return History(owners, records, {owner.name: owner.reading() for owner in owners}, answers)


def changed(folder: Folder, **fields: object) -> Folder:
    return replace(folder, **fields)  # type: ignore[arg-type]


def without(folder: Folder, uid: int) -> Folder:
    return changed(folder, messages=tuple(one for one in folder.messages if one.uid != uid))


def with_(folder: Folder, message: Message) -> Folder:
    messages = tuple(sorted((*folder.messages, message), key=lambda one: one.uid))
    return changed(folder, messages=messages, uidnext=max(folder.uidnext, message.uid + 1))
