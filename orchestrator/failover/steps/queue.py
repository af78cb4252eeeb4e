"""The queue: carried held to the other host, letter by letter, and let go there on command.

What has to be done with which letter is decided in `queueplan`, from both ends' own lists; the agents do it
(`agent.mailqueue`), each act once, however often it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import HostError, Refused, StillRunning
from orchestrator.failover import carrying, queueplan
from orchestrator.failover.queueplan import Laid, Letter
from orchestrator.failover.step import DONE, NOT_DONE, UNKNOWN, Found, Step, Voyage
from orchestrator.failover.verbs import Parameters
from orchestrator.failover.world import World
from orchestrator.traffic.proof import SERVICES

PATIENCE = 20.0
AT_ONCE = 200
NO_QUEUE = "no queue"
"""A note of a rejoin: there is no Postfix whose queue could be moved."""


def carry_queue(voyage: Voyage[World], parameters: Parameters) -> Step:
    """The queue of `source` stands held at the other host."""
    return Carry(voyage, *_ends(voyage, str(parameters["source"])))


def release_queue(voyage: Voyage[World], parameters: Parameters) -> Step:
    """The letters that were carried to `at` are let go, by their list, and the sender's copies are taken out."""
    there, here = _ends(voyage, str(parameters["at"]))
    return Release(voyage, here, there)


def _ends(voyage: Voyage[World], word: str) -> tuple[str, str]:
    """The place that `word` means, and the other one."""
    places = (voyage.active, voyage.passive)
    return places if word == "active" else (places[1], places[0])


@dataclass(frozen=True)
class Moving:
    """Both ends of a move: `source` gives, `target` takes."""

    voyage: Voyage[World]
    source: str
    target: str

    @property
    def giver(self) -> str:
        return self.voyage.world.host(self.source)

    @property
    def epoch(self) -> int:
        """The one that ends, as long as there is a way back: what is undone is undone in the same."""
        return self.voyage.leaves

    def ask(self, place: str, do: str, **more: Any) -> None:
        head = {"do": do, "instance": "", "operation": self.voyage.operation, "epoch": self.epoch, **more}
        self._by(place)(head, b"")

    def _by(self, place: str) -> carrying.Ask:
        def asking(head: dict[str, Any], blob: bytes) -> tuple[dict[str, Any], bytes]:
            answer = self.voyage.world.ask(place, "queue", head, max(PATIENCE, self.voyage.left), blob)
            return dict(answer.head), answer.blob

        return asking

    def both(self) -> tuple[list[Letter], list[Laid]]:
        """The giver's queue and the taker's ledger."""
        return carrying.looked(carrying.Ends(self._by(self.source), self._by(self.target), self.giver))

    def ledger(self) -> list[Laid]:
        """The taker's ledger alone."""
        ends = carrying.Ends(_nobodys, self._by(self.target), self.giver)
        return carrying.looked(ends)[1]

    def looked(self, look: Any) -> Found:
        try:
            found: Found = look()
            return found
        except (HostError, StillRunning) as error:
            return Found(UNKNOWN, str(error))


@dataclass(frozen=True)
class Carry(Moving):
    def probe(self) -> Found:
        return self.looked(self._seen)

    verify = probe

    def _plan(self) -> queueplan.Move:
        """Of a giver that only queues, what this voyage put on hold there: Postfix runs, and what it takes by now goes
        its own way.
        """
        there, rows = self.both()
        if self.voyage.leaves == self.voyage.leads:
            there = [each for each in there if (each.held, each.operation) == ("us", self.voyage.operation)]
        return queueplan.move(there, rows, self.giver, self.voyage.operation)

    def _seen(self) -> Found:
        if self.voyage.notes.get(NO_QUEUE):
            return Found(DONE, str(self.voyage.notes.get(NO_QUEUE)))
        plan = self._plan()
        left = len({*plan.hold, *plan.carry})
        stays = f"; {len(plan.stays)} stay there" if plan.stays else ""
        return Found(NOT_DONE if left else DONE, f"{left} letters are to be carried{stays}")

    def act(self) -> None:
        plan = self._plan()
        for some in _batches(list(plan.hold)):
            self.ask(self.source, "hold", ids=some)
        for some in _batches(list(plan.carry)):
            self._carry(some)

    def _carry(self, ids: list[str]) -> None:
        ends = carrying.Ends(self._by(self.source), self._by(self.target), self.giver)
        found = carrying.carried(ends, ids, self.voyage.operation, self.epoch)
        if found.remains:
            raise Refused(
                f"{self.voyage.world.host(self.target)} still has {len(found.remains)} letters that it gave away.",
                remedy="Its own earlier move isn't finished: see `mailmirror history`.",
            )

    def undo(self) -> None:
        for some in _batches(queueplan.to_lift(self.both()[1], self.giver, self.voyage.operation)):
            self.ask(self.target, "lift", source=self.giver, ids=some)
        back = queueplan.to_unhold(*self.both(), self.giver, self.voyage.operation)
        for some in _batches(back):
            self.ask(self.source, "unhold", ids=some)


@dataclass(frozen=True)
class Release(Moving):
    """What was carried is let go, also where the giver can't be asked; its own copies are taken out when it can."""

    def probe(self) -> Found:
        return self.looked(self._seen)

    verify = probe

    def _seen(self) -> Found:
        if self.voyage.notes.get(NO_QUEUE):
            return Found(DONE, str(self.voyage.notes.get(NO_QUEUE)))
        held = queueplan.to_release(self.ledger(), self.giver, self.voyage.operation)
        if held:
            return Found(NOT_DONE, f"{len(held)} letters are still held")
        if self._lost:
            return Found(DONE, f"none is held; what stands at {self.giver} is for its rejoin")
        left = queueplan.to_drop(*self.both(), self.giver)
        return Found(NOT_DONE if left else DONE, f"none is held; copies of {len(left)} still stand at {self.giver}")

    def act(self) -> None:
        for some in _batches(queueplan.to_release(self.ledger(), self.giver, self.voyage.operation)):
            self.ask(self.target, "release", source=self.giver, ids=some)
        if self._lost:
            return
        confirmed = queueplan.to_drop(*self.both(), self.giver)
        for some in _batches(list(confirmed)):
            self.ask(self.source, "drop", confirmed={each: confirmed[each] for each in some})

    @property
    def epoch(self) -> int:
        return self.voyage.leads

    @property
    def _lost(self) -> bool:
        """Whether nobody counts on the giver any more: it didn't hand its queue over."""
        known = self.voyage.notes.get("fence")
        return isinstance(known, dict) and known["kind"] != SERVICES

    def undo(self) -> None:
        raise Refused("A letter that was let go isn't held again.", remedy="Switch over again.")


def _nobodys(head: dict[str, Any], blob: bytes) -> tuple[dict[str, Any], bytes]:
    """Of a giver that isn't asked: no letters."""
    del head, blob
    return {"letters": [], "more": False}, b""


def _batches(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]
