"""When a passive place is further behind than `mm_rpo` lets it be. Pure, and imports nothing: quick commands use it."""

from __future__ import annotations


def is_late(rpo: float, lag: float | None, *, linked: bool, seen_at: float, now: float) -> bool:
    """Whether more could be lost than is good. All in seconds; `seen_at` and `now` since the epoch.

    Without a link the lag isn't known; then the time since the pair was seen last counts, since nothing has come over
    in it. `rpo` 0 means that it isn't known.
    """
    if not rpo:
        return False
    if lag is not None and (linked or lag > rpo):
        return lag > rpo
    return not linked and now - seen_at > rpo
