"""The demo's own eyes: what stands in the two trees, when it came, and where they differ.

It reads the file system alone and trusts nothing that the product says, so that a proof here is a second opinion.
Times are inode change times: rename(2) sets them, both trees are on one machine, and so one clock measures both ends.
Invariant: read only.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.demo import uidlist
from orchestrator.errors import StillRunning

POLL = 0.01  # seconds between looks; the figures don't rest on it


@dataclass(frozen=True)
class Delivery:
    """One line of the SMTP front's ledger. `folder` is relative to the store; `at` is nanoseconds since the epoch."""

    identity: str
    account: str
    folder: str
    base: str
    at: int


@dataclass(frozen=True)
class Seen:
    """A message in a tree: its flags, its digest (empty unless asked for), its UID (None without a row)."""

    flags: str
    digest: str
    uid: int | None


def deliveries(ledger: Path) -> list[Delivery]:
    rows = (json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines())
    return [Delivery(row["id"], row["account"], row["folder"], row["base"], row["at"]) for row in rows]


def lags(sent: Iterable[Delivery], store: Path, within: float) -> list[float]:
    """Wait until all stand in `store`; seconds from each one's rename at the source to its rename here.

    Errors: StillRunning names how many are missing after `within` seconds.
    """
    waiting = list(sent)
    found: list[float] = []
    deadline = time.monotonic() + within
    while True:
        missing = []
        for delivery in waiting:
            at = _arrived(store / delivery.folder, delivery.base)
            if at is None:
                missing.append(delivery)
            else:
                found.append(max(0.0, (at - delivery.at) / 1e9))
        if not missing:
            return found
        if time.monotonic() > deadline:
            raise StillRunning(
                f"{len(missing)} of {len(missing) + len(found)} messages hadn't arrived after {within:g} s"
            )
        waiting = missing
        time.sleep(POLL)


def _arrived(folder: Path, base: str) -> int | None:
    for name in (f"new/{base}", f"cur/{base}:2,"):
        try:
            return (folder / name).stat().st_ctime_ns
        except FileNotFoundError:
            continue
    found = next(iter((folder / "cur").glob(base + ":*")), None) if (folder / "cur").is_dir() else None
    return found.stat().st_ctime_ns if found is not None else None


def tree(store: Path, *, deep: bool = False) -> dict[str, dict[str, Seen]]:
    """Every folder below `store` (its relative path), and in it every message by base name."""
    folders = (path.parent for path in store.rglob("cur") if path.is_dir() and ".mailmirror" not in path.parts)
    return {str(folder.relative_to(store)): _messages(folder, deep) for folder in folders}


def _messages(folder: Path, deep: bool) -> dict[str, Seen]:
    uids = {}
    if (folder / uidlist.FILE).exists():
        uids = {base.decode(): uid for uid, base in uidlist.read(folder).rows.items()}
    seen = {}
    for part in ("new", "cur"):
        for path in (folder / part).iterdir():
            base, _, info = path.name.partition(":")
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if deep else ""
            seen[base] = Seen(f"{part}:{info}", digest, uids.get(base))
    return seen


def identities(store: Path) -> Counter[str]:
    """How often each letter stands in a store, by its Message-ID."""
    folders = (path.parent for path in store.rglob("cur") if path.is_dir() and ".mailmirror" not in path.parts)
    files = (path for folder in folders for part in ("new", "cur") for path in (folder / part).iterdir())
    return Counter(message_id(path.read_bytes()) for path in files)


def message_id(body: bytes) -> str:
    """The Message-ID field's value, or an empty string when there is none; lines end with LF."""
    found = re.search(rb"^message-id:\s*(\S+)", body.partition(b"\n\n")[0], re.IGNORECASE | re.MULTILINE)
    return found.group(1).decode("utf-8", "replace") if found else ""


def differences(one: dict[str, dict[str, Seen]], other: dict[str, dict[str, Seen]]) -> list[str]:
    """Pure: what `other` has not, has too much, or has otherwise; empty when the two are equal."""
    found = [f"{folder}: not on the mirror" for folder in sorted(one.keys() - other.keys())]
    found += [f"{folder}: only on the mirror" for folder in sorted(other.keys() - one.keys())]
    for folder in sorted(one.keys() & other.keys()):
        here, there = one[folder], other[folder]
        found += [f"{folder}: {base} is missing" for base in sorted(here.keys() - there.keys())]
        found += [f"{folder}: {base} is too much" for base in sorted(there.keys() - here.keys())]
        both = sorted(here.keys() & there.keys())
        found += [f"{folder}: {base} is {here[base]} and {there[base]}" for base in both if here[base] != there[base]]
    return found


def until_equal(one: Path, other: Path, within: float) -> float:
    """Seconds until both trees are equal, contents aside. Errors: StillRunning with the first differences."""
    began = time.monotonic()
    left: list[str] = []

    def equal() -> bool:
        left[:] = _difference_now(one, other)
        return not left

    until(equal, within, lambda: f"the trees still differ after {within:g} s: " + "; ".join(left[:3]))
    return time.monotonic() - began


def until(holds: Callable[[], bool], within: float, why: Callable[[], str], *, pause: float = POLL) -> None:
    """Ask `holds` until it does. Errors: StillRunning(why()) after `within` seconds."""
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            raise StillRunning(why())
        time.sleep(pause)


def _difference_now(one: Path, other: Path) -> list[str]:
    try:
        return differences(tree(one), tree(other))
    except FileNotFoundError as error:
        return [f"a folder changed while it was read: {error.filename}"]
    except ValueError as error:
        return [f"a uidlist was read while it was written: {error}"]
