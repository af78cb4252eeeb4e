"""Faults to plant in a sound history: each changes what is found at the end, and names the findings that it causes.

Invariant: a fault is planted where the answers leave no doubt (the message has one possible state), so that it must be
found; where a history has no such place the fault says so with None.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.lab.oracle.intervals import Answer, serving
from tests.lab.oracle.journal import Cached, Seen
from tests.lab.oracle.promises import Promises, gathered
from tests.lab.oracle.reading import Folder, Message
from tests.unit.lab.histories import SEED, History, Owner, Signature, changed, with_, without

Fault = Callable[[History, Owner, random.Random], set[Signature] | None]


def _promises(history: History) -> Promises:
    return gathered(history.records)


def _certain(history: History, owner: Owner, *, unseen: bool = False) -> Iterator[tuple[str, Message]]:
    """Messages of one possible state, one copy: (folder, message)."""
    promises = _promises(history)
    cached = {
        identity
        for record in history.records
        if isinstance(record, Cached) and record.account == owner.name
        for _, identity, _ in record.messages
    }
    for name, folder in history.reading[owner.name].items():
        for message in folder.messages:
            ends = promises.items[owner.name, message.id].ends()
            if len(ends) == 1 and len(next(iter(ends))) == 1 and (message.id in cached) != unseen:
                yield name, message


def _one(history: History, owner: Owner, dice: random.Random) -> tuple[str, Message] | None:
    found = sorted(_certain(history, owner), key=lambda pair: (pair[0], pair[1].uid))
    return dice.choice(found) if found else None


def lost(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    if (found := _one(history, owner, dice)) is None:
        return None
    name, message = found
    there = history.reading[owner.name]
    there[name] = without(there[name], message.uid)
    return {("lost", owner.name, message.id, "")}


def duplicated(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    if (found := _one(history, owner, dice)) is None:
        return None
    name, message = found
    there = history.reading[owner.name]
    there[name] = with_(there[name], replace(message, uid=there[name].uidnext))
    return {("duplicated", owner.name, message.id, "")}


def resurrected(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    """As after a power cut that undid an unlink: under its old UID."""
    items = _promises(history).items
    there = history.reading[owner.name]
    places = {record.id: record for record in history.records if isinstance(record, Seen)}
    for (account, identity), item in items.items():
        seen = places.get(identity)
        if account == owner.name and item.ends() == {()} and seen is not None and seen.folder in item.left & set(there):
            folder = there[seen.folder]
            if folder.validity == seen.validity:
                there[seen.folder] = with_(folder, Message(seen.uid, (), identity))
                late = ("cache", owner.name, seen.folder, "late uid")
                return {("resurrected", owner.name, identity, ""), late}
    return None


def damaged(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    if (found := _one(history, owner, dice)) is None:
        return None
    name, message = found
    there = history.reading[owner.name]
    there[name] = with_(without(there[name], message.uid), replace(message, whole=False))
    return {("damaged", owner.name, message.id, "")}


def misplaced(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    there = history.reading[owner.name]
    if (found := _one(history, owner, dice)) is None or len(there) < 2:
        return None
    name, message = found
    other = dice.choice(sorted(set(there) - {name}))
    there[name] = without(there[name], message.uid)
    there[other] = with_(there[other], replace(message, uid=there[other].uidnext))
    return {("misplaced", owner.name, message.id, "")}


def flags(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    if (found := _one(history, owner, dice)) is None:
        return None
    name, message = found
    there = history.reading[owner.name]
    toggled = tuple(sorted({*message.flags} ^ {dice.choice(("\\seen", "work", "\\answered"))}))
    there[name] = with_(without(there[name], message.uid), replace(message, flags=toggled))
    return {("flags", owner.name, message.id, "")}


def unexpected(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    there = history.reading[owner.name]
    there["INBOX"] = with_(there["INBOX"], Message(there["INBOX"].uidnext, (), f"s{SEED}-nobody-1"))
    return {("unexpected", owner.name, f"s{SEED}-nobody-1", "")}


def renumbered(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    found = _one(history, owner, dice)
    if found is None or (owner.name, found[1].id) in _promises(history).doubtful:
        return None
    name, message = found
    there = history.reading[owner.name]
    there[name] = with_(without(there[name], message.uid), replace(message, uid=there[name].uidnext))
    return {("cache", owner.name, name, "renumbered")}


def uid_reuse(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    """A message that nobody has seen gets the UID of one that was expunged."""
    there = history.reading[owner.name]
    unseen = [pair for pair in _certain(history, owner, unseen=True) if pair[0] == "INBOX"]
    inbox = there["INBOX"]
    standing = {message.uid for message in inbox.messages}
    given = {
        record.uid
        for record in history.records
        if isinstance(record, Seen) and (record.account, record.folder) == (owner.name, "INBOX")
    }
    if not unseen or not given - standing:
        return None
    message = unseen[0][1]
    there["INBOX"] = with_(without(inbox, message.uid), replace(message, uid=min(given - standing)))
    return {("cache", owner.name, "INBOX", "reuse"), ("cache", owner.name, "INBOX", "late uid")}


def uid_of_another(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    """Two messages have changed places, as after a uidlist that was put together wrongly."""
    for name, folder in sorted(history.reading[owner.name].items()):
        sure = [message for place, message in _certain(history, owner) if place == name]
        if len(sure) > 1:
            one, other = sure[:2]
            swapped = with_(without(without(folder, one.uid), other.uid), replace(one, uid=other.uid))
            history.reading[owner.name][name] = with_(swapped, replace(other, uid=one.uid))
            return {("cache", owner.name, name, "reuse")}
    return None


def _folder(history: History, owner: Owner, name: str, **fields: object) -> None:
    there = history.reading[owner.name]
    there[name] = changed(there[name], **fields)


def uidvalidity(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    name = dice.choice(sorted(history.reading[owner.name]))
    _folder(history, owner, name, validity=9999)
    return {("cache", owner.name, name, "uidvalidity")}


def modseq_back(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    for record in history.records:
        if isinstance(record, Cached) and record.account == owner.name and record.modseq > 1:
            _folder(history, owner, record.folder, modseq=record.modseq - 1)
            return {("cache", owner.name, record.folder, "modseq back")}
    return None


def uidnext_back(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    for record in history.records:
        if isinstance(record, Cached) and record.account == owner.name and record.uidnext > 1:
            _folder(history, owner, record.folder, uidnext=record.uidnext - 1)
            return {("cache", owner.name, record.folder, "uidnext back")}
    return None


def folder_lost(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    sure = _promises(history).folders[owner.name].there
    for name, folder in sorted(history.reading[owner.name].items()):
        if name in sure - {"INBOX"} and not folder.messages:
            del history.reading[owner.name][name]
            return {("folder lost", owner.name, name, "")}
    return None


def folder_resurrected(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    for name in owner.ended:
        history.reading[owner.name][name] = Folder(77, 1, 1, ())
        return {("folder resurrected", owner.name, name, "")}
    return None


def account_unread(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    del history.reading[owner.name]
    return {("nothing", owner.name, "account", "")}


def second_writer(history: History, owner: Owner, dice: random.Random) -> set[Signature] | None:
    """One answer of the old writer while the new one serves: in a longer silence of its it would be a hand-over."""
    span = max(serving(history.answers).get("mirror", []), key=lambda each: each.end - each.start, default=None)
    if span is None or span.end - span.start < 0.2:
        return None
    history.answers.append(Answer(dice.uniform(span.start + 0.05, span.end - 0.05), "primary", "late", "pop3", "+OK"))
    return {("second writer", "", "mirror and primary", "")}


FAULTS: tuple[Fault, ...] = (
    lost,
    duplicated,
    resurrected,
    damaged,
    misplaced,
    flags,
    unexpected,
    renumbered,
    uid_reuse,
    uid_of_another,
    uidvalidity,
    modseq_back,
    uidnext_back,
    folder_lost,
    folder_resurrected,
    account_unread,
    second_writer,
)
