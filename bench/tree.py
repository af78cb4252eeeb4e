"""The store that is copied: accounts of Maildir++ folders as Dovecot leaves them, made from a seed.

Invariant: the same plan gives the same names, bytes and times; every folder has a uidlist (version 3) whose rows name
its messages in ascending order, and a keywords file that knows every keyword letter its file names use.
Doesn't write Dovecot's index caches: no peer needs them, and without them the figures flatter nobody.
"""

from __future__ import annotations

import os
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench import bodies

CHUNK = 2500  # messages that one worker makes at a time
FOLDERS = {  # name on disk -> share of the account's messages; ".Archive" is the one that is renamed: 13,000 of 60,000
    "": 0.36,
    ".Archive": 13 / 60,
    ".Sent": 0.16,
    ".Lists": 0.14,
    ".Trash": 0.06,
    ".Projects.Alpha": 0.13 / 3,
    ".Entw&APw-rfe": 0.02,
}
KEYWORDS = ("$Forwarded", "NonJunk", "$Label1")
SMALLEST = 1600  # bytes; most of it headers
SPAN = 90_000_000  # seconds over which the messages' dates are spread
START = 1_610_000_000


@dataclass(slots=True)
class Message:
    """One message file: base name, `new` or `cur`, and what follows the base name (`` or `:2,FLAGS`)."""

    base: str
    where: str
    info: str


@dataclass(slots=True)
class Folder:
    """One Maildir folder; `path` is relative to the store. `rows` are the uidlist's, expunged ones included."""

    path: str
    validity: int
    next_uid: int
    guid: str
    messages: dict[str, Message] = field(default_factory=dict)
    rows: list[tuple[int, str]] = field(default_factory=list)

    def uidlist(self) -> bytes:
        """Return the uidlist as a rewrite would make it: a header with the next UID, and a row per known base name."""
        head = f"3 V{self.validity} N{self.next_uid} G{self.guid}\n"
        return (head + "".join(f"{uid} :{base}\n" for uid, base in self.rows)).encode()


@dataclass(slots=True)
class Account:
    """One user's Maildir; `folders` by name on disk, the INBOX under the empty name."""

    path: str
    folders: dict[str, Folder]


@dataclass(slots=True)
class Tree:
    """A whole store as the generator left it, or as planned changes will leave it."""

    seed: int
    accounts: list[Account]
    serial: int  # of the next message's body

    def folders(self) -> list[Folder]:
        """Return every folder, account by account."""
        return [folder for account in self.accounts for folder in account.folders.values()]

    def count(self) -> int:
        """Return how many messages the store holds."""
        return sum(len(folder.messages) for folder in self.folders())


@dataclass(frozen=True, slots=True)
class Shape:
    """What to generate: how many messages and accounts, which folders, and the mean size in bytes.

    `fixed` gives every message that size; otherwise sizes are log-normal around the mean, as real mail's are.
    """

    messages: int = 60_000
    accounts: int = 40
    folders: tuple[tuple[str, float], ...] = tuple(FOLDERS.items())
    mean: int = 16_200
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class _Job:
    root: str
    folder: str
    seed: int
    serial: int
    sizes: tuple[int, ...]
    first: int  # index in the folder of the first message of this job
    total: int  # messages in the folder


def apportion(total: int, weights: list[float]) -> list[int]:
    """Split `total` by the weights into whole numbers that add up to it (largest remainder)."""
    whole = sum(weights)
    exact = [total * weight / whole for weight in weights]
    parts = [int(value) for value in exact]
    order = sorted(range(len(weights)), key=lambda i: (parts[i] - exact[i], i))
    for i in order[: total - sum(parts)]:
        parts[i] += 1
    return parts


def sizes(shape: Shape, seed: int) -> list[int]:
    """Return every message's size in bytes; their mean is the shape's."""
    if shape.fixed:
        return [shape.mean] * shape.messages
    rng = random.Random(f"sizes {seed}")
    drawn = [min(rng.lognormvariate(8.5, 1.45), 6e6) for _ in range(shape.messages)]
    scale = (shape.mean - SMALLEST) * shape.messages / max(sum(drawn), 1)
    return [SMALLEST + int(size * scale) for size in drawn]


def generate(root: Path, shape: Shape, seed: int) -> Tree:
    """Write the store below `root` (made; must not exist) with as many processes as there are cores, and return it.

    Raises OSError when the file system is full.
    """
    tree = skeleton(shape, seed)
    jobs = _jobs(root, tree, shape)
    for account in tree.accounts:
        for folder in account.folders.values():
            for leaf in ("cur", "new", "tmp"):
                (root / folder.path / leaf).mkdir(parents=True)
    bodies.vocabulary(seed)  # before the fork, so that the workers inherit it
    by_path = {folder.path: folder for folder in tree.folders()}
    with ProcessPoolExecutor(os.cpu_count() or 2) as pool:
        for job, made in zip(jobs, pool.map(_make, jobs), strict=True):
            _enter(by_path[job.folder], made)
    for account in tree.accounts:
        _sidecars(root, account)
    return tree


def skeleton(shape: Shape, seed: int) -> Tree:
    """Return the accounts and folders without a message; with the same seed they are those of `generate`."""
    rng = random.Random(f"skeleton {seed}")
    accounts = []
    for number in range(shape.accounts):
        path = f"example.org/user{number:02d}/Maildir"
        folders = {}
        for place, (name, _) in enumerate(shape.folders):
            where = f"{path}/{name}" if name else path
            folders[name] = Folder(where, START + number * 100 + place, 1, f"{rng.getrandbits(128):032x}")
        accounts.append(Account(path, folders))
    return Tree(seed, accounts, shape.messages)


def reopened(root: Path, shape: Shape, seed: int) -> Tree:
    """Return a generated store as far as arriving mail needs it: folders with their next UIDs, but without messages."""
    tree = skeleton(shape, seed)
    tree.serial = shape.messages * 10  # far from the bodies of any planned change
    for folder in tree.folders():
        rows = (root / folder.path / "dovecot-uidlist").read_bytes().splitlines()[1:]
        folder.next_uid = int(rows[-1].split(b" ")[0]) + 1 if rows else 1
    return tree


def _jobs(root: Path, tree: Tree, shape: Shape) -> list[_Job]:
    rng = random.Random(f"shares {tree.seed}")
    shares = [rng.lognormvariate(0, 0.5) for _ in tree.accounts]
    lengths = iter(sizes(shape, tree.seed))
    jobs, serial = [], 0
    totals = apportion(shape.messages, [share for _, share in shape.folders])
    for (name, _), total in zip(shape.folders, totals, strict=True):
        for account, count in zip(tree.accounts, apportion(total, shares), strict=True):
            for first in range(0, count, CHUNK):
                take = tuple(next(lengths) for _ in range(min(CHUNK, count - first)))
                path = account.folders[name].path
                jobs.append(_Job(str(root), path, tree.seed, serial, take, first, count))
                serial += len(take)
    return jobs


def _make(job: _Job) -> list[tuple[str, str, str]]:
    rng = random.Random(f"{job.seed} {job.folder} {job.first}")
    inbox = job.folder.endswith("Maildir")
    made = []
    for offset, size in enumerate(job.sizes):
        body = bodies.message(job.seed, job.serial + offset, size)
        moment = START + int((job.first + offset + rng.random()) * SPAN / job.total)
        micro = rng.randrange(1_000_000)
        base = name_of(moment, micro, rng.randrange(1000, 99999), body)
        unseen = inbox and rng.random() < 0.05
        where, info = ("new", "") if unseen else ("cur", ":2," + _flags(rng))
        path = f"{job.root}/{job.folder}/{where}/{base}{info}"
        write_message(path, body, moment * 1_000_000_000 + micro * 1000)
        made.append((base, where, info))
    return made


def name_of(seconds: int, micro: int, process: int, body: bytes) -> str:
    """Return a base name as Dovecot's delivery makes it: S is the size, W the size with CRLF line ends."""
    return f"{seconds}.M{micro}P{process}.mail1,S={len(body)},W={len(body) + body.count(10)}"


def write_message(path: str, body: bytes, mtime_ns: int) -> None:
    """Write one file in place and give it its date (INTERNALDATE is the file's mtime)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, body)
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
    finally:
        os.close(descriptor)


def _flags(rng: random.Random) -> str:
    flags = "".join(letter for letter, chance in (("F", 0.04), ("R", 0.15), ("S", 0.75)) if rng.random() < chance)
    return flags + ("abc"[rng.randrange(3)] if rng.random() < 0.1 else "")


def _enter(folder: Folder, made: list[tuple[str, str, str]]) -> None:
    for base, where, info in made:
        folder.messages[base] = Message(base, where, info)
        folder.rows.append((folder.next_uid, base))
        folder.next_uid += 1


def subscriptions(account: Account) -> bytes:
    """Return Dovecot's subscriptions file (version 2: a header, an empty line, a name a line, levels by tabs)."""
    names = (name[1:].replace(".", "\t") for name in sorted(account.folders) if name)
    return "".join(["V\t2\n\n", *(f"{name}\n" for name in names)]).encode()


def _sidecars(root: Path, account: Account) -> None:
    for name, folder in account.folders.items():
        base = root / folder.path
        (base / "dovecot-uidlist").write_bytes(folder.uidlist())
        (base / "dovecot-keywords").write_text("".join(f"{i} {word}\n" for i, word in enumerate(KEYWORDS)))
        if name:
            (base / "maildirfolder").touch()
    top = root / account.path
    (top / "subscriptions").write_bytes(subscriptions(account))
    highest = max(folder.validity for folder in account.folders.values())
    (top / "dovecot-uidvalidity").write_text(f"{highest:08x}")
    (top / f"dovecot-uidvalidity.{highest:08x}").touch()
