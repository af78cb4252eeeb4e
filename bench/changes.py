"""What happens to the store between two copies, done the way Dovecot does it.

Invariant: changes are planned from the tree alone (the same seed gives the same changes, so every peer meets the same
work) and only then applied; a planned list leaves tree and disk in step. Dovecot's habits that are kept: a delivery is
written in tmp/ and renamed into new/; a uidlist grows by appended rows and its header isn't rewritten; expunged rows
linger until more than a quarter of the list is garbage, then the list is rewritten through a temporary file.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import bodies, tree
from bench.tree import Account, Folder, Message, Tree

ARRIVAL = 1_710_000_000  # date of the first message that arrives after the tree was made


@dataclass(frozen=True, slots=True)
class Deliver:
    """Write `body` into the folder's tmp/, give it its date, rename it into new/."""

    folder: str
    base: str
    body: bytes
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Rename:
    """Rename a message or a folder; both paths are relative to the store."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Append:
    """Append whole lines to a file, as Dovecot does to a uidlist under its lock."""

    path: str
    lines: bytes


@dataclass(frozen=True, slots=True)
class Replace:
    """Replace a file atomically through `PATH.tmp`."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Unlink:
    """Delete one message file."""

    path: str


Op = Deliver | Rename | Append | Replace | Unlink
Planner = Callable[[Tree, random.Random], list[Op]]


def apply(operations: list[Op], root: Path) -> None:
    """Carry out planned operations below `root`, in order. Raises OSError; whatever was done stays done."""
    for operation in operations:
        match operation:
            case Deliver():
                deliver(root, operation)
            case Rename(old, new):
                os.rename(root / old, root / new)
            case Append(path, lines):
                with open(root / path, "ab") as stream:
                    stream.write(lines)
            case Replace(path, content):
                temporary = root / f"{path}.tmp"
                temporary.write_bytes(content)
                os.rename(temporary, root / path)
            case Unlink(path):
                os.unlink(root / path)


def deliver(root: Path, operation: Deliver) -> None:
    """Carry out one delivery; the message counts from the return of its rename(2)."""
    folder = root / operation.folder
    waiting = folder / "tmp" / operation.base
    tree.write_message(str(waiting), operation.body, operation.mtime_ns)
    os.rename(waiting, folder / "new" / operation.base)


def new_messages(count: int) -> Planner:
    """Plan that many deliveries, most of them into the INBOX, and the uidlist rows that follow them."""

    def plan(store: Tree, rng: random.Random) -> list[Op]:
        done: list[Op] = []
        grown: dict[str, list[str]] = {}
        for number in range(count):
            folders = rng.choice(store.accounts).folders
            folder = folders[""] if rng.random() < 0.8 else rng.choice(list(folders.values()))
            delivery, row = arrive(store, folder, rng, ARRIVAL + number)
            done.append(delivery)
            grown.setdefault(folder.path, []).append(row)
        done += [Append(f"{path}/dovecot-uidlist", "".join(rows).encode()) for path, rows in grown.items()]
        return done

    return plan


def arrive(store: Tree, folder: Folder, rng: random.Random, moment: int, size: int = 0) -> tuple[Deliver, str]:
    """Enter one new message into the tree; return its delivery and its uidlist row. Size 0: drawn as for the tree."""
    length = size or tree.SMALLEST + min(int(rng.lognormvariate(8.3, 1.4)), 2_000_000)
    body = bodies.message(store.seed, store.serial, length)
    store.serial += 1
    micro = rng.randrange(1_000_000)
    base = tree.name_of(moment, micro, rng.randrange(1000, 99999), body)
    folder.messages[base] = Message(base, "new", "")
    row = _row(folder, base)
    return Deliver(folder.path, base, body, moment * 1_000_000_000 + micro * 1000), row


def flag_changes(count: int) -> Planner:
    """Plan that many messages getting a flag or a keyword: one rename each, out of new/ where it was still there."""

    def plan(store: Tree, rng: random.Random) -> list[Op]:
        done: list[Op] = []
        for folder, message in _sample(store, rng, count):
            old = _path(folder, message)
            message.where, message.info = "cur", ":2," + _another(message.info[3:], rng)
            done.append(Rename(old, _path(folder, message)))
        return done

    return plan


def _another(flags: str, rng: random.Random) -> str:
    wanted = "S" if "S" not in flags else rng.choice([letter for letter in "FRTabc" if letter not in flags])
    return "".join(sorted(flags + wanted))  # ASCII order, capitals before keyword letters, as Dovecot writes them


def moves(count: int) -> Planner:
    """Plan that many messages moved to another folder of their account: same file, same base name, a new UID there.

    None goes back to a folder whose uidlist still has its old row: what Dovecot makes of that is another matter.
    """

    def plan(store: Tree, rng: random.Random) -> list[Op]:
        homes = {folder.path: account for account in store.accounts for folder in account.folders.values()}
        known = {folder.path: {base for _, base in folder.rows} for folder in store.folders()}
        done: list[Op] = []
        grown: dict[str, list[str]] = {}
        touched: dict[str, Folder] = {}
        for folder, message in _sample(store, rng, count):
            others = [other for other in homes[folder.path].folders.values() if message.base not in known[other.path]]
            target = rng.choice(others)
            old = _path(folder, message)
            del folder.messages[message.base]
            message.where, message.info = "cur", message.info or ":2,"
            target.messages[message.base] = message
            done.append(Rename(old, _path(target, message)))
            grown.setdefault(target.path, []).append(_row(target, message.base))
            touched[folder.path] = folder
        done += [Append(f"{path}/dovecot-uidlist", "".join(rows).encode()) for path, rows in grown.items()]
        return done + _cleanups(touched)

    return plan


def folder_renames(name: str, new: str) -> Planner:
    """Plan the folder `name` of every account renamed to `new`, and the subscriptions that follow."""

    def plan(store: Tree, rng: random.Random) -> list[Op]:
        done: list[Op] = []
        for account in store.accounts:
            done.append(_rename_folder(account, name, new))
            done.append(Replace(f"{account.path}/subscriptions", tree.subscriptions(account)))
        return done

    return plan


def _rename_folder(account: Account, name: str, new: str) -> Rename:
    folder = account.folders.pop(name)
    account.folders[new] = folder
    old, folder.path = folder.path, f"{account.path}/{new}"
    return Rename(old, folder.path)


def expunges(count: int) -> Planner:
    """Plan that many messages deleted for good; their uidlist rows linger."""

    def plan(store: Tree, rng: random.Random) -> list[Op]:
        done: list[Op] = []
        touched: dict[str, Folder] = {}
        for folder, message in _sample(store, rng, count):
            done.append(Unlink(_path(folder, message)))
            del folder.messages[message.base]
            touched[folder.path] = folder
        return done + _cleanups(touched)

    return plan


def _sample(store: Tree, rng: random.Random, count: int) -> list[tuple[Folder, Message]]:
    every = [(folder, message) for folder in store.folders() for message in folder.messages.values()]
    return rng.sample(every, min(count, len(every)))


def _path(folder: Folder, message: Message) -> str:
    return f"{folder.path}/{message.where}/{message.base}{message.info}"


def _row(folder: Folder, base: str) -> str:
    folder.rows.append((folder.next_uid, base))
    folder.next_uid += 1
    return f"{folder.next_uid - 1} :{base}\n"


def _cleanups(touched: dict[str, Folder]) -> list[Op]:
    done: list[Op] = []
    for path, folder in touched.items():
        if len(folder.rows) - len(folder.messages) > len(folder.rows) / 4:
            folder.rows = [row for row in folder.rows if row[1] in folder.messages]
            done.append(Replace(f"{path}/dovecot-uidlist", folder.uidlist()))
    return done
