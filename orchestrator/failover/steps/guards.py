"""Who may serve: the active made quiet, its epoch given up, the next epoch begun, the gate opened.

Every one of these is an order to guards, which keep it durably and refuse one that is late; what it came to is read
from what they say of themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator.errors import Refused
from orchestrator.failover.step import DONE, NOT_DONE, UNKNOWN, Found, Step, Voyage
from orchestrator.failover.steps.looks import Guarded, together
from orchestrator.failover.verbs import Parameters
from orchestrator.failover.world import Head, World
from orchestrator.traffic.proof import SERVICES


def quiesce(voyage: Voyage[World], parameters: Parameters) -> Step:
    """The active's guard is told that its services stop for a while; by itself it ends that in time."""
    return Quiesce(voyage, float(str(parameters["ends_after"])))


def tombstone(voyage: Voyage[World], _: Parameters) -> Step:
    """The active's guard gives its epoch up for good, unless its quiet has ended."""
    return Tombstone(voyage)


def serve(voyage: Voyage[World], _: Parameters) -> Step:
    """The new active's guard has opened its gate, and its hands have done all that follows."""
    return Serve(voyage)


@dataclass(frozen=True)
class Quiesce(Guarded):
    seconds: float

    def probe(self) -> Found:
        return self.look(self.voyage.active, self._judged)

    verify = probe

    def act(self) -> None:
        self.order(
            self.voyage.active, "quiesce", self.quiet, epoch=self.voyage.leaves, seconds=self.seconds,
            words=f"{self.voyage.journey} to the {self.voyage.passive}",
        )  # fmt: skip
        self.wait(self.probe)

    def undo(self) -> None:
        self.order(self.voyage.active, "resume", epoch=self.voyage.leaves)

    def _judged(self, told: Head) -> Found:
        quiet = told["quiet"]
        if quiet is None or quiet["operation"] != self.quiet:
            return Found(NOT_DONE, f"the {self.voyage.active} isn't quiet by this operation")
        done = bool(told["hands"]["done"])
        said = f"the {self.voyage.active} is quiet for another {quiet['left']:.0f} s"
        return Found(DONE if done else NOT_DONE, said if done else f"{said}, and its guard still starts something")


@dataclass(frozen=True)
class Tombstone(Guarded):
    """Noted as the fence whenever it is seen: a controller that came back may look and never act."""

    def probe(self) -> Found:
        found = self.look(self.voyage.active, self._judged)
        if found.state is DONE:
            note_fence(self.voyage, SERVICES, found.said)
        return found

    verify = probe

    def act(self) -> None:
        self.order(self.voyage.active, "tombstone", epoch=self.voyage.leads, quiet=self.quiet)

    def undo(self) -> None:
        """Without the quiet that it names, a tombstone that comes late is refused."""
        self.order(self.voyage.active, "resume", epoch=self.voyage.leaves)

    def _judged(self, told: Head) -> Found:
        if told["tombstone"] >= self.voyage.leads:
            return Found(DONE, f"the {self.voyage.active}'s guard gave epoch {self.voyage.leaves} up, durably")
        if told["epoch"] >= self.voyage.leads:
            # It gave nothing up, and may have taken letters after the last pass: its store mustn't become a copy.
            return Found(
                NOT_DONE, f"another controller began epoch {told['epoch']}: the {self.voyage.active} knows of it"
            )
        return Found(NOT_DONE, f"the {self.voyage.active}'s guard still holds epoch {told['epoch']}")


@dataclass(frozen=True)
class Advance(Guarded):
    def probe(self) -> Found:
        founds = [self._found(place) for place in self.granters]
        states = {found.state for found in founds}
        if len(states) == 1:
            return together(founds)
        return Found(UNKNOWN, "half done: " + "; ".join(found.said for found in founds))

    verify = probe

    def act(self) -> None:
        known = fence_of(self.voyage)
        if known is None:
            raise Refused("No fence is noted, so no epoch begins.", remedy="Begin the journey anew.")
        meant = {"epoch": self.voyage.leads, "active": self.voyage.passive, "proof": str(known["said"])}
        for place in self.granters:
            if self._found(place).state is not DONE:
                self.order(place, "advance", f"{self.name}.advance.{place}", **meant)

    def undo(self) -> None:
        raise Refused("An epoch that has begun doesn't end by an undo.", remedy="Switch over again.")

    def _found(self, place: str) -> Found:
        return self.look(place, partial(self._judged, place))

    def _judged(self, place: str, told: Head) -> Found:
        if told["epoch"] > self.voyage.leads or (
            told["epoch"] == self.voyage.leads and told["active"] != self.voyage.passive
        ):
            raise Refused(
                f"The {place} is in epoch {told['epoch']}, with the {told['active']} as the active.",
                remedy="Another controller was here: stop this one; see `mailmirror-guard status` on each host.",
            )
        if told["epoch"] == self.voyage.leads:
            return Found(DONE, f"the {place} is in epoch {self.voyage.leads}")
        return Found(NOT_DONE, f"the {place} is in epoch {told['epoch']}")


@dataclass(frozen=True)
class Serve(Guarded):
    def probe(self) -> Found:
        return self.look(self.voyage.passive, self._judged)

    verify = probe

    def act(self) -> None:
        """The guard does it by itself, as soon as it is granted: there is nothing to order."""
        self.wait(self.probe)

    def undo(self) -> None:
        raise Refused("A place that serves isn't stopped by an undo.", remedy="Switch over again.")

    def _judged(self, told: Head) -> Found:
        problems = "; ".join(f"{step}: {why}" for step, why in told["hands"]["problems"].items())
        if not told["serves"]:
            return Found(NOT_DONE, f"the {self.voyage.passive} serves nobody: {told['why']}")
        if not told["hands"]["done"]:
            return Found(NOT_DONE, f"the {self.voyage.passive} still starts: {problems or 'nothing failed'}")
        return Found(DONE, f"the {self.voyage.passive} serves: {told['why']}")


# ---- the fence, for later steps --------------------------------------------------------------------------------------


def note_fence(voyage: Voyage[World], kind: str, said: str) -> None:
    """Keep how it is known that the old active can't serve, and when that was read last (seconds since 1970)."""
    voyage.notes.put("fence", {"kind": kind, "said": said, "when": voyage.world.wall()})


def fence_of(voyage: Voyage[World]) -> dict[str, Any] | None:
    """What `note_fence` kept; None where nothing was."""
    known = voyage.notes.get("fence")
    return dict(known) if isinstance(known, dict) else None
