"""What a pair's journeys came to, for metrics: how often each ended how, and how the last one of each went.

Invariant: it reads the journal and asks nobody. Times of the past are those that the journal has; what it doesn't have
is None, never zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.failover.states import State
from orchestrator.records import database, history
from orchestrator.records.journal import Decision, Journal, Operation
from orchestrator.records.marks import Mark, Phase
from orchestrator.records.marks import State as Ended

LOOKED = 60
"""Decisions before a journey that are looked through for the beginning of the outage."""
ILL = (State.SUSPECT.value, State.DOWN.value, State.BLOCKED.value)


@dataclass(frozen=True)
class Last:
    """The last one of a journey that was done. Seconds: `steps` by verb, each from its intention until it was proven;
    `away` for which users weren't served (of a failover from the first suspicion on). `lag` and `messages`: what the
    other place lacked at the last contact, where a place was promoted without the other's word.
    """

    journey: str
    began: float
    ended: float
    steps: Mapping[str, float]
    away: float | None = None
    lag: float | None = None
    messages: int | None = None


@dataclass(frozen=True)
class Travelled:
    """`ended`: how many, by journey and how they ended; `drill`: when the last one ended that was done."""

    pair: str
    ended: Mapping[tuple[str, str], int] = field(default_factory=dict)
    lasts: Sequence[Last] = ()
    drill: float | None = None


def travelled(directory: Path, pair: str) -> Travelled:
    """Of a journal that may not be there yet. Raises as `Journal` does."""
    if not database.path_of(directory).exists():
        return Travelled(pair)
    with Journal(directory) as journal:
        known = journal.operations(pair)
        ended = Counter((each.opening.journey, each.state.value) for each in known if not each.running)
        lasts = {each.opening.journey: each for each in known if each.state is Ended.DONE}
        drills = [each for each in history.drills(journal, pair) if each["state"] == "done"]
        return Travelled(
            pair, ended, tuple(_last(journal, each) for each in lasts.values()), drills[-1]["ended"] if drills else None
        )


def _last(journal: Journal, operation: Operation) -> Last:
    marks, pair = journal.marks(operation.id), operation.opening.pair
    lag = messages = since = None
    if operation.opening.journey == "failover":
        lag, messages = _lacked(journal.decisions(pair, operation.id))
        since = outage(journal.decisions(pair, newest=LOOKED, until=operation.began))
    return Last(
        operation.opening.journey, operation.began, operation.ended or operation.began, steps(marks),
        away(marks, since), lag, messages,
    )  # fmt: skip


def _lacked(decisions: Sequence[Decision]) -> tuple[float | None, int | None]:
    """Seconds and messages, as the decision said that began it; later ones of the same operation say how it stands."""
    for kept in decisions:
        loss: Any = kept.decision.get("loss") if isinstance(kept.decision, dict) else None
        if isinstance(loss, dict):
            return loss.get("seconds"), loss.get("messages")
    return None, None


def steps(marks: Sequence[Mark]) -> dict[str, float]:
    """How long each took, by its verb; what wasn't proven is left out."""
    begun: dict[tuple[int, str], float] = {}
    found: dict[str, float] = {}
    for mark in marks:
        key = (mark.number, mark.verb)
        begun.setdefault(key, mark.at)
        if mark.phase is Phase.VERIFIED:
            found[mark.verb] = found.get(mark.verb, 0.0) + mark.at - begun[key]
    return found


def away(marks: Sequence[Mark], since: float | None = None) -> float | None:
    """Seconds from when users were turned away, or from `since`, until they were proven to be served again; None where
    it didn't come so far.
    """
    turned = [mark.at for mark in marks if (mark.verb, mark.phase) == ("drain", Phase.ACTING)]
    served = [mark.at for mark in marks if (mark.verb, mark.phase) == ("verify_outside", Phase.VERIFIED)]
    start = since if since is not None else turned[0] if turned else None
    return round(served[0] - start, 3) if served and start is not None else None


def outage(before: Sequence[Decision]) -> float | None:
    """When the suspicion began that a journey followed, of the decisions `before` it: the first of the last ones that
    saw the active place ill. None where none did, or where `LOOKED` don't reach back that far.
    """
    first = None
    for kept in reversed(before):
        told: Any = kept.decision if isinstance(kept.decision, dict) else {}
        if told.get("state") in ILL:
            first = kept.at
        elif first is not None or told.get("state") != State.MOVING.value:
            return first
    return first if len(before) < LOOKED else None
