"""What a request about letters has to say: which ones, for which operation, and in an epoch that isn't over.

Invariant: a host whose guard doesn't answer carries nothing out; one that has no guard goes by its ledger alone.
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict, Generator, List, Optional

from . import guardtalk, queuefile
from .homes import PLAIN
from .serve import Fault, args

MOST = 10_000
"""Letters in one request or answer."""
_OPERATION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")


def operation(head: Dict[str, Any]) -> str:
    """Whose request it is. Raises Fault."""
    (said,) = args(head, operation=str)
    if not _OPERATION.fullmatch(said):
        raise Fault("bad-request", f"{said!r:.100} is no operation's name")
    return str(said)


def ids(head: Dict[str, Any]) -> List[str]:
    """The request's queue ids, each once. Raises Fault."""
    (said,) = args(head, ids=list)
    if len(said) > MOST or not all(isinstance(each, str) and queuefile.is_id(each) for each in said):
        raise Fault("bad-request", f"'ids' are up to {MOST} queue ids", "Name each letter; there is no ALL.")
    return list(dict.fromkeys(said))


def known(guard: str, undoing: bool, run: str = PLAIN.run) -> Generator[Optional[float], None, int]:
    """The epoch that this host's guard knows of, 0 where the file `guard` isn't there. Raises Fault: unguarded, and
    stale where something is to be undone after the tombstone.
    """
    if not os.path.exists(guard):
        return 0
    told = (yield from guardtalk.asked({"order": {"verb": "status"}}, run)).head
    if undoing and int(told["tombstone"]) > int(told["epoch"]):
        raise Fault("stale", "this host has given its place away for good", "Go on with the journey; don't undo it.")
    return max(int(told["epoch"]), int(told["later"] or 0))


def current(epoch: int, latest: int) -> None:
    """Raises Fault when an epoch is over."""
    if epoch < latest:
        raise Fault(
            "stale", f"epoch {epoch} is over: this host knows of {latest}",
            "Nothing was changed. See who is active by `mailmirror status`.",
        )  # fmt: skip
