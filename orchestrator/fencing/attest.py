"""An operator's word that a host can't be active: checked, recorded in the pair's history, read back from there.

Invariant: a statement names who makes it, of which host, for which epoch, in words of their own, and counts only as it
stands in the record; what is read back is what counts. Whether the words are true only the operator knows.
"""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import Any

from orchestrator.errors import BrokenPromise, UsageError
from orchestrator.fencing.proof import Attested
from orchestrator.inventory.model import MIRROR, PRIMARY, Pair
from orchestrator.records import history

VERB = "attest fenced"
SHORTEST = 10
"""Characters: "yes" says nothing to whoever reads the history later."""


def state(pair: Pair, host: str, epoch: int, active_epoch: int, words: str, *, uid: int, pid: int) -> Attested:
    """Record the statement that `host` can't be active, made in the epoch `active_epoch` by the user `uid`.

    Raises UsageError where it can't be meant so, NotPermitted and OperatorError where it can't be recorded.
    """
    _check(pair, host, epoch, active_epoch, words)
    history.append(pair.state_dir, pair.name, VERB, words.strip(), uid=uid, pid=pid, host=host, epoch=epoch)
    recorded = latest(pair.state_dir, pair.name, host, epoch)
    if recorded is None or recorded.words != words.strip():
        raise BrokenPromise(f"The statement of {host} isn't in the history of {pair.name} after it was written.")
    return recorded


def latest(directory: Path, pair: str, host: str, epoch: int) -> Attested | None:
    """The newest recorded statement of that host in that epoch; None for none. Raises as `history.told` does."""
    said = [
        line for line in history.told(directory, pair, VERB) if (line.get("host"), line.get("epoch")) == (host, epoch)
    ]
    return _attested(said[-1]) if said else None


def _attested(line: dict[str, Any]) -> Attested | None:
    try:
        by = _who(int(line["uid"]))
        return Attested(str(line["host"]), int(line["epoch"]), by, str(line["reason"]), float(line["at"]))
    except (KeyError, TypeError, ValueError):  # not as this version writes it: then nobody stated anything
        return None


def _check(pair: Pair, host: str, epoch: int, active_epoch: int, words: str) -> None:
    found = pair.hosts.get(host)
    if found is None or found.place not in (PRIMARY, MIRROR):
        names = f"{pair.primary.name} and {pair.mirror.name}"
        raise UsageError(
            f"{host} is no mail host of the pair {pair.name}; these are {names}.", remedy="Name the host that is off."
        )
    if epoch != active_epoch:
        raise UsageError(
            f"The statement is for epoch {epoch}, and the pair is in epoch {active_epoch}.",
            remedy="Look whether the host is off now, and state it for this epoch.",
        )
    text = words.strip()
    if len(text) < SHORTEST or not text.replace("\n", " ").isprintable():
        raise UsageError(
            f"A statement has at least {SHORTEST} characters and nothing that can't be printed.",
            remedy="Say what you saw and did, for example: --attest-fenced 'its power cable is in my hand'.",
        )
    if len(text) > history.LONGEST_REASON:
        raise UsageError(f"A statement has at most {history.LONGEST_REASON} characters.", remedy="Say it shorter.")


def _who(uid: int) -> str:
    """The user's name and number; the number alone where there is no name."""
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:  # a user of another directory, or gone since
        return f"uid {uid}"
