"""A failover's own way to the next epoch: the lease refused, the old active fenced, the epoch begun on that proof.

The old active may be dead, cut off, or only half alive. What it is asked for itself (to be quiet, and to stop its
services) is taken back by its own guard in time; it gives its epoch up for good only in the last moment, when the next
one begins. So everything before that can be undone, whoever else is alive by then.

Invariant: who doesn't answer proves nothing. What was proven once is proven again when the next epoch begins.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from orchestrator.errors import AgentFault, HostError, Refused, StillRunning, TryAgain
from orchestrator.failover.step import DONE, NOT_DONE, UNKNOWN, Found, Step, Voyage
from orchestrator.failover.steps.guards import Advance, fence_of, note_fence
from orchestrator.failover.steps.looks import Guarded, together
from orchestrator.failover.steps.services import Stop
from orchestrator.failover.steps.stores import Cut
from orchestrator.failover.verbs import JOURNEYS, Parameters
from orchestrator.failover.world import Head, World
from orchestrator.fencing.proof import OFF_FOR
from orchestrator.traffic.proof import ATTESTED, DEVICE, LEASE, SERVICES

QUIET = 40.0
"""Seconds for which an active that answers is kept quiet: what follows the fence, up to the next epoch, fits in. Where
its end can't be ordered after a way back, its users wait so long.
"""
SPARE = 5.0
"""Seconds of its quiet that have to be left where somebody relies on it."""
AGAIN = 0.3
"""Seconds between two looks whether it is fenced by now."""
ROUND = 5.0
"""Seconds of waiting in one act: then whoever ordered the journey may have another word."""
STOPS = 8.0
"""Seconds for an active that answers to stop its services; whatever becomes of it, the lease runs out beside."""


def refuse(voyage: Voyage[World], _: Parameters) -> Step:
    """The granters refuse the active's lease."""
    return Refuse(voyage)


def fence(voyage: Voyage[World], _: Parameters) -> Step:
    """It is proven that the active can't serve, in whichever way is the quickest."""
    return Fence(voyage)


def advance(voyage: Voyage[World], _: Parameters) -> Step:
    """The next epoch stands in the registers of the witness and of the new active."""
    return Begin(voyage) if JOURNEYS[voyage.journey].point == "advance" else Advance(voyage)


@dataclass(frozen=True)
class Refuse(Guarded):
    """A granter that may not refuse (its grant has no end) isn't waited for: then the lease proves nothing, and the
    fence has to be proven in another way.
    """

    def probe(self) -> Found:
        if not self.voyage.world.leased():
            return Found(DONE, "there is no lease to refuse")
        return together([self.look(place, partial(self._judged, place)) for place in self.granters])

    verify = probe

    def act(self) -> None:
        for place in self.granters:
            if self.look(place, partial(self._judged, place)).state is not DONE:
                self.order(place, "refuse", f"{self.name}.refuse.{place}", epoch=self.voyage.leaves)

    def undo(self) -> None:
        """The active's quiet ends with it, at once where that can be ordered, else by itself."""
        for place in self.granters if self.voyage.world.leased() else ():
            if self.told(place)["epoch"] == self.voyage.leaves:
                self.order(place, "relent", f"{self.name}.relent.{place}", epoch=self.voyage.leaves)
        with suppress(HostError, StillRunning):
            self.order(self.voyage.active, "resume", epoch=self.voyage.leaves)

    def _judged(self, place: str, told: Head) -> Found:
        if told["epoch"] != self.voyage.leaves:
            return Found(NOT_DONE, f"the {place} is in epoch {told['epoch']}")
        if told["granted"]["refuses"]:
            return Found(DONE, f"the {place} refuses")
        if told["granted"]["without_end"]:
            return Found(DONE, f"the {place} can't refuse, for its grant has no end: the lease will prove nothing")
        return Found(NOT_DONE, f"the {place} still grants")


class Proven(NamedTuple):
    """How it is known that the old active can't serve: `kind` as in `traffic.proof`; `given_up`: for good."""

    kind: str
    said: str
    given_up: bool = True


@dataclass(frozen=True)
class Fenced(Guarded):
    """What can be known of the old active, read now."""

    def proven(self, *, asking: bool = True) -> Proven | None:
        """The first that holds of: the lease has run out, an operator's word, a device's word that is still fresh, its
        own guard's word. `asking`: whether the old active is asked too.
        """
        ways: list[Callable[[], Proven | None]] = [self._run_out, self._attested, self._off]
        for way in [*ways, self._stopped] if asking else ways:
            found = way()
            if found is not None:
                return found
        return None

    def _run_out(self) -> Proven | None:
        """Each granter's own word that what it granted has run out, while it grants no more."""
        if not self.voyage.world.leased():
            return None
        founds = [self.look(place, self._has_run_out) for place in self.granters]
        if any(found.state is not DONE for found in founds):
            return None
        return Proven(LEASE, "the lease has run out, by the words of " + " and ".join(self.granters))

    def _has_run_out(self, told: Head) -> Found:
        """One that is in the next epoch went there by a proof of its own."""
        over = _ends(told).state is DONE and told["run_out"] == 0
        gone_on = told["epoch"] == self.voyage.leads and told["active"] == self.voyage.passive
        state = DONE if gone_on or (over and told["epoch"] == self.voyage.leaves) else NOT_DONE
        return Found(state, f"it may serve for another {told['run_out']} s")

    def _attested(self) -> Proven | None:
        said = self.voyage.world.attested(self.voyage.active, self.voyage.leaves)
        return Proven(ATTESTED, said) if said else None

    def _off(self) -> Proven | None:
        known = fence_of(self.voyage)
        if not known or known["kind"] != DEVICE:
            return None
        age = self.voyage.world.wall() - float(known["when"])
        return Proven(DEVICE, str(known["said"])) if 0 <= age <= OFF_FOR else None

    def _stopped(self) -> Proven | None:
        """Its guard has given up, or keeps it quiet for us, and nothing that writes is left, as its host says now."""
        try:
            told = self.told(self.voyage.active)
        except (HostError, StillRunning):
            return None
        passive = self._is_passive(told)
        if passive.state is DONE:
            return Proven(SERVICES, passive.said)
        yields = self._yields(told)
        if yields.state is not DONE:
            return None
        stopped = Stop(self.voyage).probe()
        if stopped.state is not DONE:
            return None
        return Proven(SERVICES, f"{yields.said}, and {stopped.said}", self._gave_up(told).state is DONE)

    def _gave_up(self, told: Head) -> Found:
        ours = told["active"] == self.voyage.active
        if (told["tombstone"] >= self.voyage.leads and ours) or (told["epoch"] >= self.voyage.leads and not ours):
            return Found(DONE, f"the {self.voyage.active}'s guard gave epoch {self.voyage.leaves} up, durably")
        return Found(NOT_DONE, f"the {self.voyage.active}'s guard still holds epoch {told['epoch']}")

    def _is_passive(self, told: Head) -> Found:
        """It has heard of the next epoch: its mailboxes are stopped, and its Postfix delivers nothing by itself."""
        knows = (told["epoch"], told["active"], told["role"]) == (self.voyage.leads, self.voyage.passive, "passive")
        done = knows and told["hands"]["done"]
        return Found(DONE if done else NOT_DONE, f"the {self.voyage.active} is passive in epoch {told['epoch']}")

    def _is_quiet(self, told: Head) -> Found:
        quiet = told["quiet"]
        ours = quiet is not None and quiet["operation"] == self.quiet and quiet["left"] >= SPARE
        return Found(DONE if ours and told["hands"]["done"] else NOT_DONE, f"the {self.voyage.active} is kept quiet")

    def _yields(self, told: Head) -> Found:
        """Whether the old active, by its guard's word, gave up or is quiet for this operation."""
        gave_up = self._gave_up(told)
        return gave_up if gave_up.state is DONE else self._is_quiet(told)

    def note(self, proven: Proven) -> None:
        """Keep it for the steps that follow. A device's word keeps the time at which it was read."""
        if proven.kind != DEVICE:
            note_fence(self.voyage, proven.kind, proven.said)

    def cut_off(self) -> Proven | None:
        """Have the devices switch it off."""
        said = self.voyage.world.cut_off(self.voyage.active, self.voyage.leaves, self.voyage.left)
        if not said:
            return None
        note_fence(self.voyage, DEVICE, said)
        return Proven(DEVICE, said)


@dataclass(frozen=True)
class Fence(Fenced):
    """Tried together: an active that answers is made quiet and its services are stopped; the lease runs out. Power is
    cut where neither gets on, or half of the time is gone: that can't be undone.
    """

    def probe(self) -> Found:
        found = self.proven(asking=not self._away)
        if found is None:
            return Found(NOT_DONE, f"nothing proves yet that the {self.voyage.active} can't serve")
        self.note(found)
        return Found(DONE, found.said)

    verify = probe

    def act(self) -> None:
        half = self._half()
        self.voyage.world.copying.let_go()
        answers = not self._away and self._silence()
        ends = self.voyage.clock.now() + ROUND
        while self.proven(asking=answers) is None:
            hope = self._runs_out() or (answers and self.look(self.voyage.active, self._yields).state is DONE)
            if self.voyage.clock.now() >= ends:
                return
            if not hope or self.voyage.left < half:
                self.cut_off()
                return
            self.voyage.clock.pause(min(AGAIN, self.voyage.left))

    def undo(self) -> None:
        raise Refused("A fence isn't undone: who gave up, or is off, stays so.", remedy="Bring it home by a rejoin.")

    def _half(self) -> float:
        """Seconds that are left when half of the step's time is gone."""
        known = self.voyage.notes.get("half")
        if not isinstance(known, float):
            self.voyage.notes.put("half", known := self.voyage.left / 2)
        return known

    @property
    def _away(self) -> bool:
        """Whether the old active was asked in vain, and there is a lease to wait for instead."""
        return self.voyage.world.leased() and bool(self.voyage.notes.get("away"))

    def _silence(self) -> bool:
        """Have the active stop by itself, where it answers; whether it did. What it doesn't do proves nothing."""
        try:
            self.order(
                self.voyage.active, "quiesce", self.quiet, epoch=self.voyage.leaves, seconds=QUIET,
                words=f"{self.voyage.journey} to the {self.voyage.passive}",
            )  # fmt: skip
        except AgentFault as error:  # it answers; it may have given up before
            self.voyage.notes.put("not quiet", str(error))
            return True
        except (HostError, StillRunning) as error:
            self.voyage.notes.put("away", str(error))
            return False
        try:
            Stop(self.voyage).asked("stop", min(STOPS, self.voyage.left))
        except (HostError, StillRunning) as error:
            self.voyage.notes.put("not stopped", str(error))
        return True

    def _runs_out(self) -> bool:
        """Whether the lease may yet run out: nobody who answers says that it won't."""
        return self.voyage.world.leased() and all(
            self.look(place, _ends).state is not NOT_DONE for place in self.granters
        )


def _ends(told: Head) -> Found:
    """Whether what was granted ends in time: nothing more is granted, and the active's kernel enforces it."""
    granted = told["granted"]
    endless = granted["without_end"] or granted.get("weak", False)
    return Found(DONE if granted["refuses"] and not endless else NOT_DONE, "it ends")


@dataclass(frozen=True)
class Begin(Fenced, Advance):
    """The next epoch begun without the old active's help, or with its last word: see the module."""

    def probe(self) -> Found:
        """An old active that was told to give up, and may have, leaves no way back."""
        found = Advance.probe(self)
        if found.state is not NOT_DONE or not self.voyage.notes.get("gives up"):
            return found
        last = self.look(self.voyage.active, self._gave_up)
        if last.state is NOT_DONE:
            return found
        return Found(UNKNOWN, f"{found.said}, but the {self.voyage.active} gave up, or may have: {last.said}")

    verify = probe

    def act(self) -> None:
        self._still_refused()
        if self._found(self.voyage.passive).state is not DONE:
            self._cut_stands()
        known = fence_of(self.voyage)
        found = self.proven() or (self.cut_off() if known and known["kind"] == DEVICE else None)
        if found is None:
            raise TryAgain(f"Nothing proves at this moment that the {self.voyage.active} can't serve.")
        if not found.given_up:
            self.voyage.notes.put("gives up", True)
            self.order(self.voyage.active, "tombstone", epoch=self.voyage.leads, quiet=self.quiet)
            found = Proven(SERVICES, f"the {self.voyage.active}'s guard gave epoch {self.voyage.leaves} up, durably")
        self.note(found)
        words = {} if found.kind == LEASE else {"proof": found.said}
        for place in self.granters:
            if self._found(place).state is not DONE:
                if place == self.voyage.passive:
                    self._cut_stands()  # to the last: others may have had time while the witness was waited for
                name = self._name(place, self._withdrawn())
                self.order(place, "advance", name, epoch=self.voyage.leads, active=self.voyage.passive, **words)

    def undo(self) -> None:
        """No order of this step succeeds after it: the quiet that a tombstone needs is ended, and the names under which
        an advance was ordered are given to another order, so that a late one is refused.
        """
        number = self._withdrawn()
        self.voyage.notes.put("withdrawn", number + 1)
        verb = "relent" if self.voyage.world.leased() else "forget"
        for place in self.granters:
            for each in range(number + 1):
                self.order(place, verb, self._name(place, each), epoch=self.voyage.leaves)
        if self.voyage.notes.get("gives up"):
            self.order(self.voyage.active, "resume", f"{self.name}.resume", epoch=self.voyage.leaves)

    def _still_refused(self) -> None:
        """A granter that grants again, by another controller's order, say, is told once more. Raises HostError."""
        for place in self.granters if self.voyage.world.leased() else ():
            if self.look(place, partial(self._grants, place)).state is DONE:
                name = f"{self.name}.refuse.{self.voyage.world.wall():.3f}.{place}"
                self.order(place, "refuse", name, epoch=self.voyage.leaves)

    def _grants(self, place: str, told: Head) -> Found:
        granted = told["granted"]
        grants = told["epoch"] == self.voyage.leaves and not granted["refuses"] and not granted["without_end"]
        return Found(DONE if grants else NOT_DONE, f"the {place} grants")

    def _cut_stands(self) -> None:
        """It may have gone while this step waited for an operator: whoever followed has written since. Raises
        HostError, TryAgain.
        """
        cut = Cut(self.voyage)
        if cut.probe().state is NOT_DONE:
            cut.act()
        found = cut.probe()
        if found.state is not DONE:
            raise TryAgain(f"The cut doesn't stand: {found.said}.")

    def _withdrawn(self) -> int:
        """How often it was taken back: each time the orders get names of their own."""
        return int(str(self.voyage.notes.get("withdrawn") or 0))

    def _name(self, place: str, number: int) -> str:
        return f"{self.name}.advance{number or ''}.{place}"
