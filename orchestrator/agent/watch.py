"""Which watch a root gets: fanotify, else inotify, else polling, and why not a better one.

Events are hints, scans are the truth: a watch saves the time until the next audit, and
correctness never rests on it. After a start, a restart or an "overflow" everything is dirty.

Invariant: `choose` answers with a watch whenever the root is a directory, and `why` says in one
line what kept the better kinds from it. This module reads no events and lists no directories.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Protocol

from .fanotify import Fanotify
from .hint import Hint, Place, Unavailable, WatchFull, remote_kind
from .inotify import Inotify

__all__ = ["INTERVAL", "KINDS", "Hint", "Polling", "Watch", "WatchFull", "choose"]

KINDS = ("fanotify", "inotify", "poll")
"""Best first."""

INTERVAL = 2.0
"""Seconds between two looks at the folders where nothing tells of a change."""


class Watch(Protocol):
    """What tells that something below a root has changed. Belongs to one thread at a time.

    Follow a directory first and list it then; the other way round a change between the two is
    told by nobody. After an "appeared" directory follow that directory and all below it, after
    "overflow" everything; following again is harmless. After "gone" close it and choose anew.
    """

    kind: str
    """One of KINDS."""

    why: str
    """Why a better kind wasn't taken; "" for the best."""

    def fileno(self) -> Optional[int]:
        """The descriptor that gets readable when there is something to read; None when there is none."""

    def read(self) -> List[Hint]:
        """What changed since the last read. Never waits; may stop early, the descriptor stays readable then."""

    def follow(self, directory: bytes) -> None:
        """Tell of this directory's entries; one that isn't there any more is no error.

        Raises WatchFull when the kernel allows no more directories, OSError when this one can't be read.
        """

    def forget(self, directory: bytes) -> None:
        """Stop following a directory and all below it."""

    def close(self) -> None:
        """Let the kernel forget everything. Idempotent."""


class Polling:
    """No events: the caller looks at the folders every `interval` seconds."""

    kind = "poll"

    def __init__(self, why: str = "", interval: float = INTERVAL) -> None:
        self.why = why
        self.interval = interval

    def fileno(self) -> Optional[int]:
        """None: there is nothing to wait for."""
        return None

    def read(self) -> List[Hint]:
        """Nothing, ever."""
        return []

    def follow(self, directory: bytes) -> None:
        """Nothing to do: the caller knows its folders."""

    def forget(self, directory: bytes) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


def choose(root_path: str, want: str = "auto", own_pid: bool = True) -> Watch:
    """The best watch that can be had for a root; `want` is "auto" or the best kind that is to be tried.

    With `own_pid` fanotify leaves out what this process does itself (inotify can't tell who acted).
    On a network file system "auto" means polling: what other hosts do there raises no event here.
    Raises NotADirectoryError when the root isn't a directory, ValueError for another `want`.
    """
    if want != "auto" and want not in KINDS:
        raise ValueError(f"watch: {want!r} isn't one of auto, {', '.join(KINDS)}")
    place = Place(root_path)
    makers: Dict[str, Callable[[], Watch]] = {
        "fanotify": lambda: Fanotify(place, own_pid=own_pid),
        "inotify": lambda: Inotify(place),
    }
    reasons: List[str] = []
    if want == "auto":
        remote = remote_kind(place.path)
        if remote:
            return Polling(f"{root_path} is on {remote}: what other hosts do there raises no event here")
    else:
        reasons = [f"{want} was asked for"] if want != KINDS[0] else []
        makers = {kind: make for kind, make in makers.items() if KINDS.index(kind) >= KINDS.index(want)}
    for make in makers.values():
        try:
            watch = make()
        except Unavailable as reason:
            reasons.append(str(reason))
            continue
        watch.why = "; ".join(reasons)
        return watch
    return Polling("; ".join(reasons))
