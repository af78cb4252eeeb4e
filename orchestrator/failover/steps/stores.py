"""The stores: carried to the last change, proven equal, frozen as a cut, turned to their new roles, copied back.

Replication itself is the world's (`world.Copying`); a marker is turned by the agent that has it (`store.turn`).
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import HostError, Refused, StillRunning
from orchestrator.failover.step import DONE, NOT_DONE, UNKNOWN, Found, Step, Voyage
from orchestrator.failover.steps.looks import together
from orchestrator.failover.verbs import JOURNEYS, Parameters
from orchestrator.failover.world import World
from orchestrator.inventory.model import WITNESS

BEYOND = 5.0
AGAIN = (0.05, 0.2, 0.5)
"""Seconds before another pass where one didn't prove them equal: what was written last has to hold still first."""
KEEP = 1e9
"""Seconds of quarantine that the conversation which makes a cut leaves alone: it removes nothing."""


def presync(voyage: Voyage[World], parameters: Parameters) -> Step:
    """Passes of replication, until what the passive place lacks is no older than `lag`."""
    return Presync(voyage, float(str(parameters["lag"])))


def final_pass(voyage: Voyage[World], _: Parameters) -> Step:
    """The last pass finds nothing more to carry, and the index caches stand at the passive place."""
    return Final(voyage, "final pass")


def prove_equal(voyage: Voyage[World], _: Parameters) -> Step:
    """Both places' digests are the same, for every account."""
    return Carried(voyage, "equal")


def cut(voyage: Voyage[World], _: Parameters) -> Step:
    """What the passive place has is frozen: nothing of the old epoch is written there any more."""
    return Cut(voyage)


def turn_stores(voyage: Voyage[World], _: Parameters) -> Step:
    """The stores' markers name the new active and its epoch."""
    return Turn(voyage)


def follow_back(voyage: Voyage[World], _: Parameters) -> Step:
    """Replication runs the other way."""
    return Follow(voyage)


@dataclass(frozen=True)
class Presync:
    voyage: Voyage[World]
    lag: float

    def probe(self) -> Found:
        """Not done before this voyage's own session stands: connecting isn't for when the users wait."""
        seconds = self.voyage.world.copying.lag()
        if seconds is None:
            return Found(UNKNOWN, "how much the passive place lacks isn't known")
        ready = seconds <= self.lag and self.voyage.notes.get("presync")
        return Found(DONE if ready else NOT_DONE, f"the passive place lacks {seconds:.1f} s")

    verify = probe

    def act(self) -> None:
        self._meet()
        copying = self.voyage.world.copying
        said = copying.carry(self.voyage.left).said
        ahead = copying.carry_indexes(self.voyage.operation, self.voyage.left, stopped=False)
        self.voyage.notes.put("presync", f"{said}; {ahead}")

    def undo(self) -> None:
        """A copy that is newer harms nobody."""

    def _meet(self) -> None:
        """Each conversation is begun, and has answered what is asked in it later, while no user waits for that."""
        voyage, within = self.voyage, min(BEYOND, self.voyage.left)
        pair = (voyage.active, voyage.passive)
        for place in (*pair, *((WITNESS,) if voyage.world.has(WITNESS) else ())):
            voyage.world.ask(place, "guard", {"order": {"verb": "status"}}, within)
        look = {"do": "look", "operation": voyage.operation, "epoch": voyage.leaves}
        voyage.world.ask(voyage.active, "services", look, within)
        for place in pair:
            voyage.world.ask(place, "queue", {"do": "list", "instance": "", "after": ""}, within)


@dataclass(frozen=True)
class Carried:
    """Noted when it was proven: nothing that writes is left then, so it stays so until this voyage changes it."""

    voyage: Voyage[World]
    what: str

    def probe(self) -> Found:
        known = self.voyage.notes.get(self.what)
        return Found(DONE, str(known)) if known else Found(NOT_DONE, "not proven yet, with the services stopped")

    verify = probe

    def act(self) -> None:
        found = self.voyage.world.copying.carry(self.voyage.left)
        for pause in AGAIN:
            if found.equal:
                break
            self.voyage.clock.pause(pause)
            found = self.voyage.world.copying.carry(self.voyage.left)
        if not found.equal:
            raise Refused(f"The two places aren't equal: {found.said}.", remedy="See `mailmirror verify`.")
        self.voyage.notes.put(self.what, found.said + self.and_then())

    def and_then(self) -> str:
        """What else belongs to it, before it counts as done."""
        return ""

    def undo(self) -> None:
        """The proof of a voyage that turns back counts for no other."""


@dataclass(frozen=True)
class Final(Carried):
    """Index caches of a voyage that turns back are vouched for by it alone: no other begins with them."""

    def and_then(self) -> str:
        copying = self.voyage.world.copying
        return "; " + copying.carry_indexes(self.voyage.operation, self.voyage.left, stopped=True)


@dataclass(frozen=True)
class Cut:
    """Made by the passive host's agent alone: the other end isn't needed. A cut stands as long as nothing is applied
    after it, which `advance` looks at once more.
    """

    voyage: Voyage[World]

    def probe(self) -> Found:
        return together([self._stands(root) for root in self.voyage.world.stores(self.voyage.passive)])

    verify = probe

    def act(self) -> None:
        world, place = self.voyage.world, self.voyage.passive
        world.copying.let_go()
        for root in world.stores(place):
            within = max(BEYOND, self.voyage.left)
            world.ask(place, "store.open", {"store": root, "side": "sink", "undelete": KEEP}, within)
            try:
                head = {"store": root, "operation": self.voyage.operation, "epoch": self.voyage.leads}
                world.ask(place, "sink.cut", head, within)
            finally:
                world.ask(place, "store.close", {"store": root}, within)

    def undo(self) -> None:
        """It would go with the next offer anyway."""
        place, epoch = self.voyage.passive, self.voyage.leads
        for root in self.voyage.world.stores(place):
            if self._stands(root).state is DONE:
                head = {"store": root, "cut": [epoch, place], "operation": self.voyage.operation}
                self.voyage.world.ask(place, "store.drop_cut", head, max(BEYOND, self.voyage.left))

    def _stands(self, root: str) -> Found:
        place, operation = self.voyage.passive, self.voyage.operation
        try:
            told = self.voyage.world.ask(place, "store.cuts", {"store": root}, min(BEYOND, self.voyage.left)).head
        except (HostError, StillRunning) as error:
            return Found(UNKNOWN, str(error))
        ours = [each for each in told["cuts"] if (each["epoch"], each["operation"]) == (self.voyage.leads, operation)]
        if not ours:
            return Found(NOT_DONE, f"no cut of {root} for epoch {self.voyage.leads} stands at the {place}")
        return Found(DONE, f"{ours[0]['messages']} messages of {root} are frozen at the {place}")


@dataclass(frozen=True)
class Turn:
    """The new active's store first: it is the one that users see. Where that has all that the old one had, that is
    turned too; if it can't be asked any more it doesn't hold them up: with its older epoch it is no source, and
    `follow_back` turns it when it answers. Where something may be lost, the old store stays as it is: what only it has
    is for a rejoin to bring home, and a copy would sweep that away.
    """

    voyage: Voyage[World]

    @property
    def both(self) -> bool:
        return "prove_equal" in JOURNEYS[self.voyage.journey].order

    def probe(self) -> Found:
        new = turned(self.voyage, self.voyage.passive, "active")
        if new.state is not DONE:
            return new
        if not self.both:
            return Found(DONE, f"{new.said}; the {self.voyage.active}'s stays of epoch {self.voyage.leaves}")
        old = turned(self.voyage, self.voyage.active, "passive")
        if old.state is UNKNOWN:
            return Found(DONE, f"{new.said}; the {self.voyage.active} can't be asked, and is turned later: {old.said}")
        return together([new, old])

    verify = probe

    def act(self) -> None:
        self.voyage.world.copying.let_go()
        turn(self.voyage, self.voyage.passive, "active")
        if self.both:
            turn(self.voyage, self.voyage.active, "passive")

    def undo(self) -> None:
        raise Refused("Markers are turned after the point of no return.", remedy="Switch over again.")


def turned(voyage: Voyage[World], place: str, role: str) -> Found:
    """Whether each store's marker at a place says so, in the epoch that the voyage leads to."""
    return together([_marked(voyage, place, root, role) for root in voyage.world.stores(place)])


def _marked(voyage: Voyage[World], place: str, root: str, role: str) -> Found:
    try:
        marker = voyage.world.ask(place, "store.look", {"store": root}, min(BEYOND, voyage.left)).head["marker"]
    except (HostError, StillRunning) as error:
        return Found(UNKNOWN, str(error))
    if marker is None:
        return Found(UNKNOWN, f"{root} at the {place} has no marker: is its file system mounted?")
    said = f"{root} at the {place} is {marker['role']} in epoch {marker['epoch']}"
    return Found(DONE if (marker["role"], marker["epoch"]) == (role, voyage.leads) else NOT_DONE, said)


def turn(voyage: Voyage[World], place: str, role: str) -> None:
    """Turn them. Raises HostError; AgentFault where the agent there refuses."""
    for root in voyage.world.stores(place):
        head = {
            "store": root, "operation": voyage.operation, "epoch": voyage.leads, "role": role, "active": voyage.passive,
        }  # fmt: skip
        voyage.world.ask(place, "store.turn", head, max(BEYOND, voyage.left))


@dataclass(frozen=True)
class Follow:
    voyage: Voyage[World]

    def probe(self) -> Found:
        known = self.voyage.notes.get("follows")
        return Found(DONE, str(known)) if known else Found(NOT_DONE, "nothing is copied the other way yet")

    verify = probe

    def act(self) -> None:
        self.voyage.world.copying.let_go()
        turn(self.voyage, self.voyage.active, "passive")  # done long ago, unless that host couldn't be asked
        found = self.voyage.world.copying.follow(self.voyage.left)
        self.voyage.notes.put("follows", found.said)

    def undo(self) -> None:
        """A copy that is newer harms nobody."""
