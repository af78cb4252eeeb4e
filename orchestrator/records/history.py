"""Who ordered what of a pair and why, and each new verdict on its hosts: events in the controller's journal.

An order is written before it is carried out; its event says what was asked for, not what came of it (that is in the
operation's marks, the daemon's log, in `status`, and on the hosts). Passes without a reason are left out: there may be
one a minute.

Invariant: an event is durable before the order is carried out (`journal`).
"""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import Any

from orchestrator.records import database
from orchestrator.records.journal import Journal

LONGEST_REASON = 2_000  # characters
CHANGING = frozenset(("sync", "undelete", "release", "retire", "seed"))
"""The verbs on a pair that are orders, as the daemon calls them."""
CLAIMED = "claimed_user"
"""Who says to have ordered it, by sudo's SUDO_USER, beside the uid that the kernel has proven."""
LONGEST_CLAIM = 64  # characters
NOTED = ("id", "account", "pattern", "since", "until", "adopt", CLAIMED)
"""Of an order's request, what its event says."""


def append(directory: Path, pair: str, verb: str, reason: str, *, uid: int, pid: int, **what: Any) -> None:
    """Note an order. `what` is the verb's own: an id, an account. Raises as `Journal` does."""
    with Journal(directory) as journal:
        journal.event(pair, verb, {"reason": reason[:LONGEST_REASON], "uid": uid, "pid": pid, **what})


def judged(directory: Path, pair: str, **what: Any) -> None:
    """Note a verdict that is new, with all that it rests on. Raises as `Journal` does."""
    with Journal(directory) as journal:
        journal.event(pair, "verdict", what)


def told(directory: Path, pair: str, verb: str = "") -> list[dict[str, Any]]:
    """The events of one verb, or all, oldest first; none where nothing was ever noted. Raises as `Journal` does."""
    if not database.path_of(directory).exists():
        return []
    with Journal(directory) as journal:
        return [{"at": event.at, "verb": event.verb, **event.what} for event in journal.events(pair, verb)]


def drills(journal: Journal, pair: str) -> list[dict[str, Any]]:
    """Each drill with its last word, oldest first: id, state, by and more as it was told, `at` when it was begun,
    `ended` when that word came. One whose controller died has none but that it was begun. Parts are operations.
    """
    known: dict[str, dict[str, Any]] = {}
    for at, _, what in journal.events(pair, "drill"):
        began = known.get(str(what["id"]), {}).get("at", at)
        known[str(what["id"])] = {**what, "at": began, "ended": at}
    return list(known.values())


def worth_noting(verb: str, reason: str) -> bool:
    """Whether an order is kept: every one that changes something, but a plain pass only with a reason."""
    return verb != "sync" or bool(reason)


def who(uid: int, claim: str = "") -> str:
    """The user's name as this host knows it; where it was root for somebody, with who is said to be that."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    plain = "".join(letter for letter in claim[:LONGEST_CLAIM] if letter.isprintable())
    return f"{name} (claims to be {plain})" if plain else name
