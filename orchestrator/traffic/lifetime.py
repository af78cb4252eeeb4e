"""How long resolvers may keep the moving names: lowered ahead of a move, counted on in time, restored after it. Pure.

A resolver that asked just before a time to live was lowered keeps its answer for the whole old time. So a lower one is
counted on only one old time to live after every name server was seen to show it. What it was, and since when, stands in
the zone beside the epoch: a controller that starts anew, or another one, knows as much as the first.

Invariant: nothing here moves users; a time to live is never called in force earlier than it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from orchestrator.errors import Refused
from orchestrator.traffic.pointing import Lowered, Plan, Sight, noted, settled


@dataclass(frozen=True)
class Held:
    """For how long a resolver may give an answer that stands in the zone now. `ttl` is the longest there; `since` is
    from when on nobody keeps an answer longer than that, in seconds since 1970, None where that isn't known.
    `lowered` says whether the zone has a note of longer ones that are to be restored.
    """

    ttl: int
    since: int | None
    lowered: bool


def held(now: Sight) -> Held:
    """As one server says. With no note in the zone nobody knows when the present times to live were set."""
    longest = max(now.ttls.values(), default=0)
    if now.lowered is None:
        return Held(longest, None, False)
    since = now.lowered.since
    return Held(longest, None if since is None else since + _longest(now.lowered), True)


def is_counted_on(now: Sight, wanted: int, clock: float) -> bool | None:
    """Whether a move at this time, seconds since 1970, is known to resolvers within `wanted` seconds. None where nobody
    knows: a low time to live without a note may have been set a moment ago.
    """
    found = held(now)
    if found.ttl > wanted:
        return False
    if not found.lowered:
        return None
    return found.since is not None and found.since <= clock


def keeps(now: Sight, clock: float) -> float:
    """For how many seconds more, at most, some resolver may send users where the zone sends them now."""
    found = held(now)
    if now.lowered is None:
        return float(found.ttl)
    if found.since is None:
        return float(max(found.ttl, _longest(now.lowered)))
    return max(float(found.ttl), min(found.since - clock, float(_longest(now.lowered))))


def lowering(seen: Sequence[Sight], wanted: int, clock: float, excused: Collection[str] = ()) -> Plan | None:
    """The next change on the way to `wanted`: to lower, or to write down that every server shows it, at `clock`, which
    was read after they were seen. None where neither is due. Raises Refused where the servers don't agree.
    """
    now = settled(seen, excused)
    note = now.lowered
    if any(ttl > wanted for ttl in now.ttls.values()):
        lower = {name: min(ttl, wanted) for name, ttl in now.ttls.items()}
        return _only(now, noted(now, wanted), lower, excused)
    if note is None or (note.since is not None and note.since <= clock):
        return None
    # No stamp yet, or one from a clock that was ahead of ours: written now, which is late enough in either case.
    return _only(now, replace(note, since=int(clock) + 1), dict(now.ttls), excused)


def restoring(seen: Sequence[Sight], excused: Collection[str] = ()) -> Plan | None:
    """The change back to what the note says; None where there is none. Raises Refused where the servers don't agree."""
    now = settled(seen, excused)
    if now.lowered is None:
        return None
    was = dict(now.lowered.was)
    # A record that had no time to live, since it didn't stand there, keeps the one it got.
    back = {name: was.get(name) or ttl for name, ttl in now.ttls.items()}
    return _only(now, None, back, excused)


def _only(now: Sight, note: Lowered | None, ttls: dict[str, int], excused: Collection[str]) -> Plan:
    plan = Plan(now, now.mark, note, now.addresses, ttls, now.mx, frozenset(excused))
    if not any(now.addresses.values()):
        raise Refused("None of the names has an address yet.", remedy="Point them at the active place first.")
    return plan


def _longest(note: Lowered) -> int:
    return max((ttl for _, ttl in note.was), default=0)
