"""Who may serve: the active made quiet, its epoch given up, the lease refused, the next epoch begun, the gate opened.

Every one of these is an order to guards, which keep it durably and refuse one that is late; what it came to is read
from what they say of themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator.errors import HostError, Refused
from orchestrator.failover.step import DONE, NOT_DONE, UNKNOWN, Found, Step, Voyage
from orchestrator.failover.steps.looks import Guarded, together
from orchestrator.failover.verbs import Parameters
from orchestrator.failover.world import Head, World
from orchestrator.traffic.proof import ATTESTED, DEVICE, LEASE, SERVICES

SPARE = 5.0
"""Seconds of its quiet that have to be left where a switchover relies on it."""


def quiesce(voyage: Voyage[World], parameters: Parameters) -> Step:
    """The active's guard is told that its services stop for a while; by itself it ends that in time."""
    return Quiesce(voyage, float(str(parameters["ends_after"])))


def tombstone(voyage: Voyage[World], _: Parameters) -> Step:
    """The active's guard gives its epoch up for good, unless its quiet has ended."""
    return Tombstone(voyage)


def refuse(voyage: Voyage[World], _: Parameters) -> Step:
    """The granters refuse the active's lease."""
    return Refuse(voyage)


def fence(voyage: Voyage[World], _: Parameters) -> Step:
    """It is proven that the active can't serve, in whichever way is the quickest."""
    return Fence(voyage)


def advance(voyage: Voyage[World], _: Parameters) -> Step:
    """The next epoch stands in the registers of the witness and of the new active."""
    return Advance(voyage)


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
        if told["tombstone"] >= self.voyage.leads or told["epoch"] >= self.voyage.leads:
            return Found(DONE, f"the {self.voyage.active}'s guard gave epoch {self.voyage.leaves} up, durably")
        return Found(NOT_DONE, f"the {self.voyage.active}'s guard still holds epoch {told['epoch']}")


@dataclass(frozen=True)
class Refuse(Guarded):
    def probe(self) -> Found:
        if not self.voyage.world.leased():
            return Found(DONE, "there is no lease to refuse")
        return together([self.look(place, partial(self._judged, place)) for place in self.granters])

    verify = probe

    def act(self) -> None:
        for place in self.granters:
            self.order(place, "refuse", f"{self.name}.refuse.{place}", epoch=self.voyage.leaves)

    def undo(self) -> None:
        if self.voyage.world.leased():
            for place in self.granters:
                self.order(place, "relent", f"{self.name}.relent.{place}", epoch=self.voyage.leaves)

    def _judged(self, place: str, told: Head) -> Found:
        if told["granted"]["refuses"] or told["epoch"] >= self.voyage.leads:
            return Found(DONE, f"the {place} refuses")
        return Found(NOT_DONE, f"the {place} still grants")


@dataclass(frozen=True)
class Fence(Guarded):
    """Tried in this order: the guard of a host that answers gives up, an operator's word, the lease that runs out, the
    devices. The lease costs only time; power is cut where nothing else is left.
    """

    def probe(self) -> Found:
        for kind, said in (
            (SERVICES, self._gave_up()),
            (LEASE, self._run_out()),
            (ATTESTED, self.voyage.world.attested(self.voyage.active, self.voyage.leaves)),
        ):
            if said:
                note_fence(self.voyage, kind, said)
                return Found(DONE, said)
        known = fence_of(self.voyage)
        if known and known["kind"] == DEVICE:
            return Found(DONE, str(known["said"]))
        return Found(NOT_DONE, f"nothing proves yet that the {self.voyage.active} can't serve")

    verify = probe

    def act(self) -> None:
        try:
            self.order(self.voyage.active, "tombstone", epoch=self.voyage.leads)
        except HostError as error:  # that proves nothing, and others are asked
            self.voyage.notes.put("not given up", str(error))
        if self.voyage.world.leased():
            self.wait(self.probe)
        if self.probe().state is not DONE:
            said = self.voyage.world.cut_off(self.voyage.active, self.voyage.leaves, self.voyage.left)
            if said:
                note_fence(self.voyage, DEVICE, said)

    def undo(self) -> None:
        raise Refused("A fence isn't undone: who gave up, or is off, stays so.", remedy="Bring it home by a rejoin.")

    def _gave_up(self) -> str:
        found = self.look(self.voyage.active, Tombstone(self.voyage)._judged)
        return found.said if found.state is DONE else ""

    def _run_out(self) -> str:
        """Each granter's own word that what it granted has run out, while it grants no more."""
        if not self.voyage.world.leased():
            return ""
        for place in self.granters:
            found = self.look(place, _has_run_out)
            if found.state is not DONE:
                return ""
        return "the lease has run out, by the words of " + " and ".join(self.granters)


def _has_run_out(told: Head) -> Found:
    granted = told["granted"]
    over = granted["refuses"] and not granted["without_end"] and told["run_out"] == 0
    return Found(DONE if over else NOT_DONE, f"it may serve for another {told['run_out']} s")


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
        words = {"proof": str(known["said"])} if known["kind"] != LEASE else {}
        for place in self.granters:
            if self._found(place).state is not DONE:
                active = self.voyage.passive
                self.order(
                    place, "advance", f"{self.name}.advance.{place}", epoch=self.voyage.leads, active=active, **words
                )

    def undo(self) -> None:
        """An advance that comes late finds a granter that grants again, and is refused."""
        for place in self.granters:
            self.order(place, "relent", f"{self.name}.relent.{place}", epoch=self.voyage.leaves)

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
