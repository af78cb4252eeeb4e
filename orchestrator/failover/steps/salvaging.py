"""What an old active that stopped in good order still hands over: the last changes, and its queue.

It is worth having and nothing is proven by it, so what fails here is told, and holds nobody up: what stays on the old
active's disk is for a rejoin to bring home.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import MailmirrorError
from orchestrator.failover.step import DONE, NOT_DONE, Found, Step, Voyage
from orchestrator.failover.steps.guards import fence_of
from orchestrator.failover.steps.queue import Carry
from orchestrator.failover.verbs import Parameters
from orchestrator.failover.world import World
from orchestrator.traffic.proof import SERVICES


def salvage(voyage: Voyage[World], _: Parameters) -> Step:
    """What the fenced active still hands over, where it answers: changes and queue."""
    return Salvage(voyage)


@dataclass(frozen=True)
class Salvage:
    voyage: Voyage[World]

    def probe(self) -> Found:
        known, said = fence_of(self.voyage), self.voyage.notes.get("salvaged")
        if said is None and (known is None or known["kind"] != SERVICES):
            return Found(DONE, f"the {self.voyage.active} isn't asked: it didn't stop by itself")
        return Found(DONE, str(said)) if said else Found(NOT_DONE, "its last changes and queue aren't asked for yet")

    verify = probe

    def act(self) -> None:
        self.voyage.notes.put("salvaged", f"{self._changes()}; {self._queue()}")

    def undo(self) -> None:
        """Letters that were held for it are let go again where they were. Raises HostError where that isn't known."""
        self._carry.undo()
        self.voyage.notes.put("salvaged", "")

    @property
    def _carry(self) -> Carry:
        return Carry(self.voyage, self.voyage.active, self.voyage.passive)

    def _changes(self) -> str:
        try:
            found = self.voyage.world.copying.carry(self.voyage.left)
        except MailmirrorError as error:
            return f"not all changes were handed over: {error}"
        return found.said if found.equal else f"not all changes were handed over: {found.said}"

    def _queue(self) -> str:
        try:
            self._carry.act()
        except MailmirrorError as error:
            return f"its queue wasn't handed over whole: {error}"
        return "its queue was handed over"
