"""The active's services: new sessions turned away, those that are there ended, all stopped and nobody left that writes.

The agent does it (`agent.services`), and only while the guard there is quiet by the same operation: so whatever becomes
of the controller, the guard's own hands undo it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.errors import HostError, StillRunning
from orchestrator.failover.step import DONE, NOT_DONE, UNKNOWN, Found, Step, Voyage
from orchestrator.failover.steps.looks import Guarded
from orchestrator.failover.verbs import Parameters
from orchestrator.failover.world import Head, World

TURNED_AWAY = 600.0
"""Seconds for which new sessions are refused; the guard's quiet ends it sooner."""
BEYOND = 3.0
"""Seconds for an answer, beyond the time that the work itself may take."""


def drain(voyage: Voyage[World], parameters: Parameters) -> Step:
    """New sessions are turned away; those that are there may end within `cap`."""
    return Drain(voyage, float(str(parameters["cap"])))


def stop_services(voyage: Voyage[World], _: Parameters) -> Step:
    """The mail services are stopped, and no process is left that writes."""
    return Stop(voyage)


@dataclass(frozen=True)
class Services(Guarded):
    """What both steps share: they ask the same verb, and both are undone by it."""

    def verify(self) -> Found:
        return self.probe()

    def probe(self) -> Found:
        try:
            told = self.asked("look", BEYOND)
            return self.judged(told) if told["units"] else self._alone(told)
        except (HostError, StillRunning) as error:
            return Found(UNKNOWN, str(error))

    def _alone(self, told: Head) -> Found:
        """Where the guard gates no unit, whoever serves asks it before each answer: its quiet is all there is."""
        silent = told["quiet"] is not None and told["quiet"]["operation"] == self.quiet
        said = f"no unit of mm_services is at the {self.voyage.active}: who serves there asks its guard"
        return Found(DONE if silent else NOT_DONE, said)

    def undo(self) -> None:
        """The quiet ends first, for while it lasts nothing is started; no tombstone can come after that."""
        self.order(self.voyage.active, "resume", epoch=self.voyage.leaves)
        self.asked("open", max(BEYOND, self.voyage.left))

    def judged(self, told: Head) -> Found:
        raise NotImplementedError

    def asked(self, do: str, within: float, **more: Any) -> Head:
        head = {"do": do, "operation": self.quiet, "epoch": self.voyage.leaves, **more}
        return self.voyage.world.ask(self.voyage.active, "services", head, within).head


@dataclass(frozen=True)
class Drain(Services):
    cap: float

    def act(self) -> None:
        self.asked("reject", BEYOND, seconds=TURNED_AWAY)
        self.asked("drain", self.cap + BEYOND, seconds=self.cap)

    def judged(self, told: Head) -> Found:
        letters, deliveries, mailboxes = told["left"]
        if not told["rejects"]:
            return Found(NOT_DONE, "new sessions are let in")
        said = f"{letters} letters, {deliveries} deliveries and {mailboxes} mailboxes are open"
        return Found(NOT_DONE if letters or deliveries or mailboxes else DONE, said)


@dataclass(frozen=True)
class Stop(Services):
    def act(self) -> None:
        self.asked("stop", max(BEYOND, self.voyage.left))

    def judged(self, told: Head) -> Found:
        running = [name for name, state, processes in told["units"] if state not in ("inactive", "failed") or processes]
        left = [*running, *told["writers"]]
        return Found(NOT_DONE, f"{', '.join(left)} still runs") if left else Found(DONE, "nothing that writes is left")
