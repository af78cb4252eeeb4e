"""What holds back what nobody ordered: a pause with its end, and the cooldown after a promotion; and a snooze, which
holds back the question. Events in the journal.

Invariant: a pause has an end, and the clock alone ends it; the newest word counts. What is read is what was written
durably, by the daemon or by a command without one.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from orchestrator.errors import UsageError
from orchestrator.records.journal import Event, Journal

PAUSE, RESUME, COOLDOWN = "pause", "resume", "ack cooldown"
SNOOZE = "snooze"
RESTART, NOT_BEGUN = "restart", "not begun"
LONGEST = 7 * 86400.0
"""Seconds; who needs longer says it again, or mm_mode: confirm."""
LONGEST_REASON = 500
RESTARTS_COUNT = 3600.0
"""Seconds for which a restart counts among those that were tried."""


class Pause(NamedTuple):
    """Times are seconds since 1970."""

    since: float
    until: float
    by: str
    why: str


def pause(journal: Journal, pair: str, seconds: float, by: str, why: str, now: float | None = None) -> Pause:
    """Begin one, or change its end. Raises UsageError where it has no reason or no sensible end."""
    if not 0 < seconds <= LONGEST:
        raise UsageError(f"A pause lasts up to {LONGEST / 86400:.0f} days.", remedy="Say --for 2h, for example.")
    if not why.strip():
        raise UsageError("A pause needs a reason: whoever is called meanwhile reads it.", remedy="Say --reason TEXT.")
    now = time.time() if now is None else now
    made = Pause(now, now + seconds, by, why.strip()[:LONGEST_REASON])
    journal.event(pair, PAUSE, {"until": made.until, "by": made.by, "why": made.why})
    return made


def resume(journal: Journal, pair: str, by: str, why: str) -> None:
    journal.event(pair, RESUME, {"by": by, "why": why[:LONGEST_REASON]})


def acknowledge(journal: Journal, pair: str, what: str, by: str, why: str) -> None:
    """An operator has looked: "cooldown" ends it, other things are for the history."""
    journal.event(pair, f"ack {what}", {"by": by, "why": why[:LONGEST_REASON]})


def paused(journal: Journal, pair: str, now: float) -> Pause | None:
    """The pause that is on; None where there is none, or it has ended."""
    last, ended = journal.newest(pair, PAUSE), journal.newest(pair, RESUME)
    if last is None or (ended is not None and ended.number > last.number):
        return None
    found = _read(last.event)
    return found if found is not None and found.until > now else None


def _read(event: Event) -> Pause | None:
    what = event.what
    until, by, why = what.get("until"), what.get("by"), what.get("why")
    if not isinstance(until, (int, float)):
        return None
    return Pause(event.at, min(float(until), event.at + LONGEST), str(by), str(why))


def cooldown_until(journal: Journal, pair: str, seconds: float) -> float:
    """When it ends: so long after the last promotion, unless an operator has ended it since; 0.0 for none."""
    promoted = journal.promoted(pair)
    if promoted is None:
        return 0.0
    ended = journal.newest(pair, COOLDOWN)
    if ended is not None and ended.event.at >= promoted:
        return 0.0
    return promoted + seconds


def snooze(journal: Journal, pair: str, until: float, by: str) -> None:
    """The question whether users are to be moved is put off until then; 0: no more."""
    journal.event(pair, SNOOZE, {"until": until, "by": by})


def snoozed_until(journal: Journal, pair: str) -> float:
    """Until when the question is put off; 0.0 where it isn't."""
    last = journal.newest(pair, SNOOZE)
    until = last.event.what.get("until") if last is not None else None
    return float(until) if isinstance(until, (int, float)) else 0.0


def restarts(journal: Journal, pair: str, now: float) -> tuple[int, bool, float]:
    """How many restarts count by now, whether one of them failed, and when the last one was."""
    found = [event for event in journal.events(pair, RESTART) if 0 <= now - event.at <= RESTARTS_COUNT]
    failed = any(event.what.get("state") != "done" for event in found)
    return len(found), failed, max((event.at for event in found), default=0.0)


def not_begun(journal: Journal, pair: str) -> tuple[float, str]:
    """When a journey that was decided on couldn't be begun last, and why; 0.0 and nothing for never."""
    last = journal.newest(pair, NOT_BEGUN)
    return (0.0, "") if last is None else (last.event.at, str(last.event.what.get("why", "")))
