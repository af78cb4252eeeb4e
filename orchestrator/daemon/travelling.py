"""Journeys in the daemon: one at a time for a pair, while the pair's own thread stays away from the stores.

Invariant: the thread keeps the pair's lock all the while, and follows again whatever became of the journey. What a
daemon that died left open is taken up before anything is followed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from orchestrator.daemon.follower import Follower
from orchestrator.errors import MailmirrorError, TryAgain
from orchestrator.failover import drill, journeys
from orchestrator.failover.copying import Copies
from orchestrator.failover.course import Move
from orchestrator.failover.journeys import Means
from orchestrator.inventory.model import Pair
from orchestrator.records.journal import Operation
from orchestrator.replication.report import PairStatus, PassiveStatus
from orchestrator.web.desk import Outlet

log = logging.getLogger(__name__)

AWAY = 15.0
"""Seconds for the pair's thread to let go of the stores."""


class Travelling:
    """See `web.desk.Travels`. `connect` begins a session of a pair's own."""

    def __init__(
        self, pairs: Mapping[str, Pair], followers: Mapping[str, Follower], connect: Callable[[Pair], Copies]
    ) -> None:
        self._pairs, self._followers, self._connect = pairs, followers, connect
        self._busy = {name: threading.Lock() for name in pairs}

    def plan(self, pair: str, journey: str, survey: str = "") -> Any:
        def work(means: Means) -> dict[str, Any]:
            return drill.planned(means) if journey == drill.NAME else journeys.planned(means, journey, survey)

        return self._alone(pair, f"a plan of a {journey}", work)

    def go(
        self, pair: str, journey: str, by: str, reason: str, outlet: Outlet, said: Mapping[str, Any] | None = None
    ) -> Any:
        def work(means: Means) -> dict[str, Any]:
            if journey == drill.NAME:
                return drill.told(means, by=by, reason=reason, progress=outlet.offer)
            return journeys.told(means, journey, by=by, reason=reason, progress=outlet.offer, said=said)

        return self._alone(pair, f"a {journey}", work)

    def order(self, pair: str, what: str, operation: str, by: str, reason: str, outlet: Outlet) -> Any:
        word = journeys.Word(what, operation, by, reason)
        return self._alone(pair, f"op {what}", lambda means: journeys.ordered(means, word, progress=outlet.offer))

    def take_up_all(self) -> None:
        """Before the pairs' threads start: those of pairs with an open operation begin away from the stores, and a
        further thread goes on with what a daemon that died left open.
        """
        for name, pair in self._pairs.items():
            try:
                left = journeys.left_open(pair)
            except MailmirrorError as error:  # what is copied doesn't hang on the journal; no journey begins without it
                log.error("Whether an operation is open isn't known pair=%s: %s %s", name, error, error.remedy)
                continue
            if left is not None:
                self._followers[name].stay_away("an operation is open")
                threading.Thread(target=self._take_up, args=(name,), name=f"open {name}", daemon=True).start()

    def _take_up(self, pair: str) -> None:
        """Errors are logged: it stays open."""

        def moved(operation: Operation, move: Move) -> None:
            log.info("pair=%s operation=%s %s %s", pair, operation.id, move.do.name, move.why)

        try:
            ended = self._alone(pair, "an open operation", lambda means: journeys.take_up(means, moved))
        except MailmirrorError as error:
            log.error("What was left open isn't ended pair=%s: %s", pair, error)
            return
        if ended is not None:
            log.info("What was left open has ended pair=%s operation=%s state=%s", pair, ended.id, ended.state)

    def _alone(self, name: str, why: str, work: Callable[[Means], Any]) -> Any:
        busy, follower = self._busy[name], self._followers[name]
        if not busy.acquire(blocking=False):
            raise TryAgain(f"Another journey of {name} is on.", remedy="See `mailmirror status`, and wait for its end.")
        try:
            pair = self._pairs[name]
            away = partial(follower.pause, why, AWAY)
            return work(Means(pair, partial(self._connect, pair), away, partial(_lag, follower)))
        finally:
            follower.resume(self._roles(name))
            busy.release()

    def _roles(self, name: str) -> PairStatus | None:
        """Where the newest journey led to, until the stores can be looked at."""
        pair = self._pairs[name]
        try:
            led = journeys.led_to(pair)
        except MailmirrorError as error:
            log.error("Where the journeys of %s led to can't be read: %s", name, error)
            return None
        if led is None:
            return None
        other = pair.mirror if led[0] == pair.primary.name else pair.primary
        return PairStatus(name, active=led[0], epoch=led[1], passives=[PassiveStatus(other.name, other.place)])


def _lag(follower: Follower) -> float | None:
    """Seconds that the passive place lacks, as the pair's thread knows it."""
    lags = [each.lag_seconds for each in follower.status().passives]
    return None if not lags or None in lags else max(each for each in lags if each is not None)
