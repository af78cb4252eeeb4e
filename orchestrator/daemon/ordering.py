"""Those who decide, one for each pair that has guards and is looked at; and an operator's orders, on their way to them.

Invariant: a journey that an operator orders is decided on first, by the same table as every other; a pair without
guards is ordered as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from orchestrator.daemon.acting import Hands, Logged, Sources
from orchestrator.daemon.deciding import Deciding
from orchestrator.daemon.systemd import Sign
from orchestrator.errors import NothingToDo, UsageError
from orchestrator.failover.decide import AUTOMATIC
from orchestrator.failover.states import State
from orchestrator.health.report import PairHealth
from orchestrator.inventory.model import Pair
from orchestrator.readiness.checks import Readied
from orchestrator.records import flags
from orchestrator.records.journal import Journal
from orchestrator.remote import guarded
from orchestrator.replication.report import PairStatus
from orchestrator.web.decides import Standing
from orchestrator.web.desk import Outlet, Travels

COOLDOWN, SPLIT_BRAIN = "cooldown", "split-brain"


def decided_for(pair: Pair) -> bool:
    """Whether there is somebody to decide: guards on both mail hosts, and health."""
    return bool(pair.probed) and all(guarded.has_guard(pair, host) for host in (pair.primary, pair.mirror))


class Decisions:
    """See `web.decides.Decides`; and `web.desk.Travels`, for journeys that are decided on before they are begun."""

    def __init__(
        self,
        pairs: Mapping[str, Pair],
        travels: Travels,
        health: Callable[[str], tuple[str, PairHealth]],
        status: Callable[[str], PairStatus],
        readied: Callable[[str], Readied],
        event: Callable[[str, str, str], None],
        stand_still: Callable[[str, bool], None],
    ) -> None:
        self._travels, self._stand_still = travels, stand_still
        self._hands: dict[str, Hands] = {}
        self._deciding: dict[str, Deciding] = {}
        for pair in pairs.values():
            if decided_for(pair):
                self._add(pair, health, status, readied, event)

    def _add(
        self,
        pair: Pair,
        health: Callable[[str], tuple[str, PairHealth]],
        status: Callable[[str], PairStatus],
        readied: Callable[[str], Readied],
        event: Callable[[str, str, str], None],
    ) -> None:
        name = pair.name

        def go(journey: str, reason: str) -> Any:
            return self._travels.go(name, journey, AUTOMATIC, reason, Logged(name))

        sources = Sources(
            lambda: health(name), lambda: status(name), lambda: readied(name), go,
            lambda still: self._stand_still(name, still),
        )  # fmt: skip
        hands = self._hands[name] = Hands(pair, sources)
        self._deciding[name] = Deciding(pair, hands.seen, hands, lambda what, text: event(name, what, text))

    def start(self) -> None:
        for hands in self._hands.values():
            hands.start()
        for deciding in self._deciding.values():
            deciding.start()

    def stop(self) -> None:
        """Returns at once."""
        for deciding in self._deciding.values():
            deciding.stop()
        for hands in self._hands.values():
            hands.stop()

    def join(self, timeout: float) -> bool:
        return all(each.join(timeout) for each in self._deciding.values())

    def signs(self) -> list[Sign]:
        """Their last signs of life. From any thread, at once."""
        return [each.sign() for each in self._deciding.values()]

    def restarts(self, pair: str) -> int:
        """How many restarts of its services count by now."""
        deciding = self._deciding.get(pair)
        return deciding.restarts if deciding is not None else 0

    def poke(self, pair: str) -> None:
        if pair in self._deciding:
            self._deciding[pair].poke()

    # ---- what is told ------------------------------------------------------------------------------------------------

    def told(self, pair: str) -> dict[str, Any]:
        """For `status`; nothing for a pair that isn't decided for."""
        deciding = self._deciding.get(pair)
        return deciding.told() if deciding is not None else {}

    def paused(self, pair: str) -> str:
        """Why nothing is done unasked, where an operator paused it; empty else."""
        deciding = self._deciding.get(pair)
        return "it is paused" if deciding is not None and deciding.standing().paused else ""

    def standings(self) -> list[Standing]:
        return [deciding.standing() for deciding in self._deciding.values()]

    def sentences(self, pair: str) -> list[str]:
        """The present decision; nothing for a pair that isn't decided for."""
        deciding = self._deciding.get(pair)
        return deciding.explained() if deciding is not None else []

    def explain(self, pair: str) -> dict[str, Any]:
        deciding = self._one(pair)
        return {"pair": pair, **deciding.told(), "lines": deciding.explained()}

    # ---- orders ------------------------------------------------------------------------------------------------------

    def pause(self, pair: str, seconds: float, by: str, reason: str) -> dict[str, Any]:
        deciding, made = self._one(pair), []
        deciding.order(
            "pause", by, reason, lambda journal: made.append(flags.pause(journal, pair, seconds, by, reason))
        )
        return {"pair": pair, "until": made[0].until, "by": by, "why": made[0].why}

    def resume(self, pair: str, by: str, reason: str) -> dict[str, Any]:
        deciding = self._one(pair)
        standing = deciding.standing()
        if not standing.paused and standing.state is not State.HALTED:
            raise NothingToDo(f"{pair} isn't paused.", remedy="`mailmirror status` shows how it stands.")
        decision = deciding.order("resume", by, reason, lambda journal: flags.resume(journal, pair, by, reason))
        return {"pair": pair, "state": decision.state.value, "why": decision.why}

    def acknowledge(self, pair: str, what: str, by: str, reason: str) -> dict[str, Any]:
        deciding = self._one(pair)
        standing = deciding.standing()
        if what not in (COOLDOWN, SPLIT_BRAIN):
            raise UsageError(f"{what[:40]!r} can't be acknowledged.", remedy=f"There are {COOLDOWN}, {SPLIT_BRAIN}.")
        if what == COOLDOWN and not standing.cooldown:
            raise NothingToDo(f"{pair} is in no cooldown.")
        if what == SPLIT_BRAIN and standing.state is not State.SPLIT_BRAIN:
            raise NothingToDo(f"{pair} is {standing.state.value}, not {State.SPLIT_BRAIN.value}.")
        decision = deciding.order("ack", by, reason, lambda journal: flags.acknowledge(journal, pair, what, by, reason))
        return {"pair": pair, "acknowledged": what, "state": decision.state.value, "why": decision.why}

    def note(self, pair: str, noted: Callable[[Journal], object]) -> None:
        """Have something kept that the next decision sees."""
        self._one(pair).note(noted)

    def _one(self, pair: str) -> Deciding:
        deciding = self._deciding.get(pair)
        if deciding is None:
            raise UsageError(
                f"Nothing is decided for {pair}: it has no guards, or its services aren't looked at.",
                remedy="Say mm_services, and lay guards down: `mailmirror agent install HOST --guard`.",
            )
        return deciding

    # ---- journeys ----------------------------------------------------------------------------------------------------

    def plan(self, pair: str, journey: str, survey: str = "") -> Any:
        return self._travels.plan(pair, journey, survey)

    def go(
        self, pair: str, journey: str, by: str, reason: str, outlet: Outlet, said: Mapping[str, Any] | None = None
    ) -> Any:
        with self._decided(pair, journey, by, reason):
            return self._travels.go(pair, journey, by, reason, outlet, said)

    def confirm(self, pair: str, journey: str, by: str, reason: str, noted: Callable[[Journal], object]) -> Any:
        """As `go`; `noted` writes its record in the turn in which it is decided, or raises, and nothing is begun."""
        with self._one(pair).journey(journey, by, reason, noted):
            return self._travels.go(pair, journey, by, reason, Logged(pair))

    def order(self, pair: str, what: str, operation: str, by: str, reason: str, outlet: Outlet) -> Any:
        with self._decided(pair, f"op {what}", by, reason):
            return self._travels.order(pair, what, operation, by, reason, outlet)

    def _decided(self, pair: str, verb: str, by: str, reason: str) -> AbstractContextManager[None]:
        deciding = self._deciding.get(pair)
        return deciding.journey(verb, by, reason) if deciding is not None else nullcontext()
