"""From what hosts and daemon said in one look to the facts of a decision. Pure.

What others said is checked here: a word that can't be understood is none. Health is a word on roles as they are; while
they have just moved, and when nobody has judged for a while, it is UNKNOWN.

Invariant: what wasn't heard, or was heard too long ago, is unknown; nothing here reads silence as an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from orchestrator.failover.facts import Flags, Operation, Word
from orchestrator.failover.verbs import JOURNEYS
from orchestrator.fencing.proof import TESTED_WITHIN, Attested, Case, fenced
from orchestrator.fencing.proof import Verdict as Fence
from orchestrator.health.report import PairHealth, PlaceHealth
from orchestrator.health.verdict import Analysis, Level, Remedy, Verdict
from orchestrator.readiness.checks import Readied
from orchestrator.readiness.facts import Device
from orchestrator.records.marks import Mark, Phase, State
from orchestrator.replication.report import Link, PairStatus

if TYPE_CHECKING:
    from orchestrator.records.journal import Operation as Kept

JUDGED_LATELY = 5.0
"""Seconds for which the last judgement of a pair's health says how it is now."""
FENCE = "fence"
"""The step that proves it (`verbs`)."""


@dataclass(frozen=True)
class Heard:
    """What one host said. `began`: when it was asked, in seconds of CLOCK_MONOTONIC; `alive`: its agent answered;
    `markers`: what stands at its stores' roots, None where that isn't known; `why` there is no word, for people.
    """

    began: float
    alive: bool = False
    word: Word | None = None
    markers: tuple[Mapping[str, Any] | None, ...] = ()
    leaving: str = ""
    queues: bool = False
    why: str = ""

    @property
    def epoch(self) -> int | None:
        """The least of its stores'; None where one of them isn't known."""
        epochs = [each.get("epoch") if each else None for each in self.markers]
        known = [epoch for epoch in epochs if isinstance(epoch, int)]
        return min(known) if known and len(known) == len(epochs) else None


@dataclass(frozen=True)
class Copied:
    """How replication stood at one moment, in seconds since 1970; `active` is its word, a host's name or empty.
    `lag` and `pending` are None while there is no contact with the active's agent.
    """

    at: float = 0.0
    active: str = ""
    epoch: int = 0
    lag: float | None = None
    pending: int | None = None


NEVER, NO_FLAGS = Readied(""), Flags()


@dataclass(frozen=True)
class Look:
    """All that one look came to. `heard` by place: those that answered lately; `healths` by place."""

    now: float
    heard: Mapping[str, Heard] = field(default_factory=dict)
    healths: Mapping[str, Verdict] = field(default_factory=dict)
    lone: str = ""
    copied: Copied = Copied()
    readied: Readied = NEVER
    devices: tuple[Device, ...] = ()
    attested: Attested | None = None
    operation: Operation | None = None
    flags: Flags = NO_FLAGS
    restarted: float = 0.0
    refused: tuple[float, str] = (0.0, "")


def heard(
    began: float, guard: Mapping[str, Any] | None, markers: Sequence[Mapping[str, Any] | None], why: str
) -> Heard:
    """An agent's answer; `guard` is what `mailmirror-guard status` has, None for none."""
    found = None if guard is None else _word(guard)
    if guard is None or found is None:
        said = why if guard is None else "what its guard says can't be understood: `mailmirror agent update` it"
        return Heard(began, True, None, tuple(markers), why=said)
    queues = isinstance(guard.get("hands"), Mapping) and guard["hands"].get("queues") is True
    return Heard(began, True, found, tuple(markers), str(guard["granted"].get("leaving", ""))[:200], queues)


def _word(guard: Mapping[str, Any]) -> Word | None:
    try:
        granted, left = guard["granted"], guard["run_out"]
        refuses, gone = granted["refuses"] is True, left is not None and float(left) <= 0
        return Word(
            int(guard["epoch"]), str(guard["active"])[:20], guard["serves"] is True, guard["armed"] is True,
            int(guard["tombstone"]), refuses and gone,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):  # another version, or broken: it is no word
        return None


def healths(told: PairHealth, active: str, holder: str, now: float) -> dict[str, Verdict]:
    """The verdicts by place. `active` is whom health takes for active, `holder` who it is, by host name."""
    if now - told.at > JUDGED_LATELY:
        stale = Verdict(Level.UNKNOWN, Analysis.BLIND, Remedy.ALERT, ("nobody has judged lately",))
        return {each.place: stale for each in told.places}
    if holder and active != holder:
        moved = Verdict(Level.UNKNOWN, Analysis.BLIND, Remedy.NOTHING, ("the roles have just moved: looking anew",))
        return {each.place: moved for each in told.places}
    return {each.place: _verdict(each) for each in told.places}


def _verdict(told: PlaceHealth) -> Verdict:
    if not told.analysis:  # nothing was judged yet
        return Verdict(Level.UNKNOWN, Analysis.BLIND, Remedy.ALERT, ("nobody has looked yet",))
    fallen = {glance.service for glance in told.glances if glance.fallen}
    early = sorted({glance.service for glance in told.glances if glance.how and glance.service in told.never} - fallen)
    if early and Level(told.level) in (
        Level.HEALTHY,
        Level.DEGRADED,
    ):  # it fails since the first look, not yet for long
        why = f"{', '.join(early)} wasn't seen well since the looking began"
        return Verdict(Level.UNKNOWN, Analysis.BLIND, Remedy.NOTHING, (why,))
    return Verdict(Level(told.level), Analysis(told.analysis), Remedy(told.remedy), tuple(told.evidence))


def failing(told: PairHealth, host: str) -> set[str]:
    """The services of a host that have failed for somebody so often that it counts."""
    return {glance.service for place in told.places if place.host == host for glance in place.glances if glance.fallen}


def copied(status: PairStatus, now: float) -> Copied:
    linked = status.link in (Link.LIVE, Link.CATCHING_UP) and bool(status.taken_at)
    lags = [each.lag_seconds if each.connected else None for each in status.passives]
    if not linked or not lags or None in lags:
        return Copied(now, status.active, status.epoch)
    lag = max(each for each in lags if each is not None)
    return Copied(now, status.active, status.epoch, lag, sum(each.pending for each in status.passives))


def operation(last: Kept | None, marks: Sequence[Mark]) -> Operation | None:
    """The journal's last operation as decisions see it."""
    if last is None:
        return None
    journey = JOURNEYS.get(last.opening.journey)
    point = journey.point if journey is not None else ""
    past = any(mark.verb == point and mark.phase is Phase.VERIFIED for mark in marks)
    fenceless = any(mark.verb == FENCE and mark.phase is Phase.FAILED for mark in marks)
    unproven = last.state is State.ROLLED_BACK and fenceless
    return Operation(last.id, last.opening.journey, str(last.state), past, unproven, last.ended or 0.0)


def device(devices: Sequence[Device], host: str, now: float) -> bool:
    """Whether a level of the host's fence devices passed a test lately, every device of it."""
    mine = sorted((each for each in devices if each.host == host), key=lambda each: each.level)
    return any(
        all(each.passed is not None and 0 <= now - each.passed <= TESTED_WITHIN for each in level)
        for _, level in groupby(mine, lambda each: each.level)
    )


def fence(attested: Attested | None, host: str, epoch: int, passive: str, now: float) -> Fence | None:
    """What an operator's statement comes to, the one proof that is kept outside of a journey; None without one."""
    if attested is None:
        return None
    return fenced([attested], Case(host, epoch, passive, 0.0, "", now))
