"""Whether two places are equal, from the lines that their agents make. Pure.

A line stands for a folder: (path, account, is a Maildir, messages, digest of names and flags,
digest of sidecars, rows by message where they were asked for). The sidecars' digest covers the
uidlist, and a row by message has the UID, so UIDs and UIDVALIDITY are part of the proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.replication.report import Difference

MAX_DIFFERENCES = 200


@dataclass(frozen=True)
class Line:
    path: str
    account: str
    maildir: bool
    messages: int
    digest: str
    sidecars: str
    names: tuple[tuple[str, int, str, str, str], ...] = ()
    """(base, 1 for cur or 0 for new, flags as in the name, "UIDVALIDITY:UID" or "", digest) of each message"""


def lines(rows: Sequence[Sequence[Any]]) -> dict[str, Line]:
    """The lines that an agent packed, by path."""
    found = {}
    for path, account, maildir, messages, digest, sidecars, names in rows:
        listed = tuple((str(b), int(s), str(i), str(u), str(p)) for b, s, i, u, p in names)
        found[str(path)] = Line(
            str(path), str(account), bool(maildir), int(messages), str(digest), str(sidecars), listed
        )
    return found


def compare(active: dict[str, Line], passive: dict[str, Line]) -> list[Difference]:
    """Folder by folder what differs; empty when the places are equal."""
    found = []
    for path in sorted(active.keys() | passive.keys()):
        here, there = active.get(path), passive.get(path)
        known = here or there
        assert known is not None
        for what in _differences(here, there):
            found.append(Difference(known.account, path, what))
    return found


def _differences(here: Line | None, there: Line | None) -> list[str]:
    if here is None:
        return ["stands on the passive place only"]
    if there is None:
        return ["is missing on the passive place"]
    found = []
    if here.maildir != there.maildir:
        found.append("is a Maildir folder on one place only")
    if here.messages != there.messages:
        found.append(f"{here.messages} messages on the active, {there.messages} on the passive place")
    elif here.digest != there.digest:
        found.append("names or flags differ")
    if here.sidecars != there.sidecars:
        found.append("sidecars differ (uidlist, keywords, or others)")
    return found


def by_message(active: Line, passive: Line) -> list[str]:
    """What differs in a folder, message by message (both lines with names)."""
    here = {base: row for base, *row in active.names}
    there = {base: row for base, *row in passive.names}
    found = []
    for base in sorted(here.keys() | there.keys()):
        if base.startswith("/"):
            where = [name for name, place in (("active", here), ("passive place", there)) if base in place]
            found.append(f"can't be read on the {' and the '.join(where)}: {base[1:]}")
        elif base not in there:
            found.append(f"{base}: missing on the passive place")
        elif base not in here:
            found.append(f"{base}: stands on the passive place only")
        elif here[base][:2] != there[base][:2]:
            found.append(f"{base}: flags differ ({_shown(here[base])} / {_shown(there[base])})")
        elif here[base][2] != there[base][2]:
            found.append(f"{base}: UID differs ({here[base][2] or 'none'} / {there[base][2] or 'none'})")
        elif here[base] != there[base]:
            found.append(f"{base}: content, size or time differs")
    return found[:MAX_DIFFERENCES]


def _shown(row: list[Any]) -> str:
    return f"{'cur' if row[0] else 'new'}{row[1]}"
