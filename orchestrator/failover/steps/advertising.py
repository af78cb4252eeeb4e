"""What the new active's Dovecot may advertise: no more than its modseqs can keep (DESIGN, G4).

In a failover they begin anew, so a rule of its own stands before the new active begins to serve: its guard starts
Dovecot as soon as the epoch does. Where nothing is lost they go along, and with them the rule that the old active has:
most often none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.errors import HostError, MailmirrorError, Refused, StillRunning
from orchestrator.failover.step import DONE, NOT_DONE, UNKNOWN, Found, Step, Voyage
from orchestrator.failover.verbs import JOURNEYS, Parameters
from orchestrator.failover.world import Head, World
from orchestrator.records.marks import Json

LOOK = 5.0
ROUND = 60.0
"""Seconds for one answer of a sweep, which takes less (`agent.modseqs`)."""
TOLD = 3
"""Users whom it failed for that are named."""
RESERVE = 1.0
"""Seconds of a sweep's time that are left for its last word."""


def withhold(voyage: Voyage[World], _: Parameters) -> Step:
    """The new active's IMAP server advertises no more than its modseqs can keep."""
    return Withhold(voyage)


def sweep(voyage: Voyage[World], _: Parameters) -> Step:
    """Each folder's modseqs go on above all that were before."""
    return Sweep(voyage)


@dataclass(frozen=True)
class Advertised:
    voyage: Voyage[World]

    def asked(self, place: str, do: str, within: float = LOOK, **more: Any) -> Head:
        within = max(0.1, min(within, self.voyage.left))
        return self.voyage.world.ask(place, "advertised", {"do": do, **more}, within).head

    def set(self, rule: Json) -> None:
        self.asked(self.voyage.passive, "set", epoch=self.voyage.leaves, rule=rule)


@dataclass(frozen=True)
class Withhold(Advertised):
    def probe(self) -> Found:
        place = self.voyage.passive
        try:
            told = self.asked(place, "look")
            if not told["dovecot"] or (self._loses and not self.voyage.world.qresync_after()):
                return Found(DONE, "mm_qresync_after is 0" if told["dovecot"] else f"no Dovecot is kept at the {place}")
            wanted = self._wanted()
        except (HostError, StillRunning) as error:
            return Found(UNKNOWN, str(error))
        said = " and ".join(told["withheld"])
        said = f"the {place} doesn't advertise {said}" if said else f"the {place} advertises all"
        known = self.voyage.notes.get("advertised") is not None or not self._loses
        stands = told["rule"] == wanted and bool(told["withheld"]) == bool(wanted)
        return Found(DONE if known and stands else NOT_DONE, said)

    verify = probe

    def act(self) -> None:
        """What stood before is noted first: it is put back where the journey turns back."""
        notes = self.voyage.notes
        if notes.get("advertised") is None:
            before = self.asked(self.voyage.passive, "look")["rule"]
            notes.put("advertised", {"before": before, "now": self._wanted() or self._fresh()})
        self.set(self._wanted())

    def undo(self) -> None:
        known = self.voyage.notes.get("advertised")
        if isinstance(known, dict):
            self.set(known["before"])

    @property
    def _loses(self) -> bool:
        return "prove_equal" not in JOURNEYS[self.voyage.journey].order

    def _wanted(self) -> Json:
        """The rule that has to stand; None: none, or not known yet."""
        if self._loses:
            known = self.voyage.notes.get("advertised")
            return known["now"] if isinstance(known, dict) else None
        rule = self.asked(self.voyage.active, "look")["rule"]
        return dict(rule) if rule and rule["until"] > self.voyage.world.wall() else None

    def _fresh(self) -> Json:
        world = self.voyage.world
        return {"epoch": self.voyage.leads, "until": world.wall() + world.qresync_after()}


@dataclass(frozen=True)
class Sweep(Advertised):
    """Nobody waits for it, so what fails is told, and holds nobody up."""

    def probe(self) -> Found:
        known = self.voyage.notes.get("swept")
        if known:
            return Found(DONE, str(known))
        try:
            told = self.asked(self.voyage.passive, "look")
        except (HostError, StillRunning) as error:
            return Found(UNKNOWN, str(error))
        if not told["rule"]:
            return Found(DONE, f"the {self.voyage.passive} has nothing to raise")
        return Found(NOT_DONE, f"the {self.voyage.passive}'s modseqs began anew")

    verify = probe

    def act(self) -> None:
        failed: list[str] = []
        raised = 0
        try:
            raised = self._raised(failed)
        except MailmirrorError as error:
            failed.append(str(error))
        said = f"HIGHESTMODSEQ of {raised} folders was raised"
        self.voyage.notes.put("swept", f"{said}; not all could be: {'; '.join(failed)}" if failed else said)

    def _raised(self, failed: list[str]) -> int:
        after, raised = "", 0
        while self.voyage.left > RESERVE:
            told = self.asked(self.voyage.passive, "sweep", ROUND, after=after)
            raised += int(told["raised"])
            failed += told["failed"][: max(0, TOLD - len(failed))]
            after = str(told["next"])
            if not after:
                return raised
        failed.append(f"its time was over at {after}")
        return raised

    def undo(self) -> None:
        raise Refused("Modseqs never go back.", remedy="Nothing has to be done about them.")
