"""Three guards under every schedule that hypothesis can think of: what `test_lease_model` does for the lease's
arithmetic, for all that guards say and are ordered. Clocks drift and begin anew, messages are lost, late, doubled and
replayed, hosts and guards start anew with what is durable, the kernel's gate outlives its guard.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestrator.agent.datagram import Message
from orchestrator.agent.lease import Impossible, Terms
from tests.support.guards import PAIR, TRIO, TTL, Guards

SPEEDS = st.sampled_from([0.9951, 0.998, 1.0, 1.002, 1.0049])
ROUND = TTL / 4 + 0.2
SECONDS = st.sampled_from([0.01, 0.5, TTL / 4, TTL / 2, TTL - 0.1, TTL, TTL * 1.02, TTL + 0.6])
GRANTERS = ("mirror", "witness")


class Trio(RuleBasedStateMachine):
    """A promotion, by the lease or by a tombstone, may be tried at any time; so may a reboot of anybody."""

    places: tuple[str, ...] = TRIO
    ttl = TTL

    @initialize(speeds=st.tuples(SPEEDS, SPEEDS, SPEEDS), armed=st.booleans())
    def begin(self, speeds: tuple[float, float, float], armed: bool) -> None:
        self.guards = Guards(self.places, self.ttl)
        for place, speed in zip(self.places, speeds, strict=False):
            self.guards.seats[place].speed = speed
        self.under_way: list[Message] = []
        if armed:
            self.guards.run(TTL)

    # --- time and hosts -------------------------------------------------------------------

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        for seat in self.guards.seats.values():
            seat.clock += seconds * seat.speed

    @rule(place=st.sampled_from(TRIO), boots=st.booleans())
    def starts_anew(self, place: str, boots: bool) -> None:
        if place in self.places:
            self.guards.starts(place, boots=boots)

    @rule(place=st.sampled_from(TRIO), frozen=st.booleans())
    def is_frozen(self, place: str, frozen: bool) -> None:
        if place in self.places:
            self.guards.seats[place].frozen = frozen

    @rule(data=st.data(), one_way=st.booleans())
    def is_cut_off(self, data: st.DataObject, one_way: bool) -> None:
        one = data.draw(st.sampled_from(self.places))
        others = data.draw(st.sets(st.sampled_from([place for place in self.places if place != one]), min_size=1))
        self.guards.part(one, *sorted(others), one_way=one_way)

    @rule()
    def all_links_are_whole(self) -> None:
        self.guards.heal()

    # --- messages -------------------------------------------------------------------------

    @rule(place=st.sampled_from(TRIO))
    def says_what_is_due(self, place: str) -> None:
        if place in self.places:
            self.guards.tick(place)
            self._gather()

    def _gather(self) -> None:
        self.under_way += self.guards.sent
        self.guards.sent.clear()

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), again=st.booleans())
    def a_message_arrives(self, data: st.DataObject, again: bool) -> None:
        """Any that was sent, in any order, perhaps again and again."""
        at = data.draw(st.integers(max(0, len(self.under_way) - 8), len(self.under_way) - 1))
        self.guards.receive(self.under_way[at] if again else self.under_way.pop(at))
        self._gather()

    @rule(seconds=st.sampled_from([0.3, TTL / 4, TTL]))
    def all_goes_well_for_a_moment(self, seconds: float) -> None:
        self.guards.run(seconds)

    # --- orders ---------------------------------------------------------------------------

    def _order(self, place: str, verb: str, **words: Any) -> bool:
        try:
            self.guards.order(place, verb, **words)
        except Impossible:
            return False
        return True

    @rule(place=st.sampled_from(GRANTERS), verb=st.sampled_from(["refuse", "relent", "leave", "withdraw"]))
    def a_granter_is_told(self, place: str, verb: str) -> None:
        if place in self.places:
            self._order(place, verb)

    @rule(place=st.sampled_from(GRANTERS))
    def advances_by_the_lease(self, place: str) -> None:
        if place in self.places:
            epoch = self.guards.register(place).epoch + 1
            self._order(place, "advance", epoch=epoch, active="mirror")

    @rule(cut=st.booleans())
    def is_promoted_in_one_go(self, cut: bool) -> None:
        if cut:
            self.guards.part("primary", *self.places[1:])
        if all(self._order(place, "refuse") for place in GRANTERS if place in self.places):
            self.guards.run(Terms().run_out(TTL) * 1.02)
            for place in ("witness", "mirror"):
                if place in self.places:
                    self._order(place, "advance", epoch=self.guards.register(place).epoch + 1, active="mirror")
                self.guards.run(ROUND)

    @rule(place=st.sampled_from(GRANTERS))
    def is_promoted_without_a_word(self, place: str) -> None:
        """What an overhasty controller would do: nothing may come of it unless all has run out."""
        for each in (place, "mirror"):
            if each in self.places:
                self._order(each, "advance", epoch=self.guards.register(each).epoch + 1, active="mirror")
                self.guards.run(ROUND)

    @rule(seconds=st.sampled_from([0.3, TTL, 100.0]), resumes=st.booleans())
    def the_active_is_made_quiet(self, seconds: float, resumes: bool) -> None:
        """It holds its lease all the same: nothing that is promised changes."""
        for place in PAIR:
            if self._order(place, "quiesce", seconds=seconds) and resumes:
                self._order(place, "resume")

    @rule(cut=st.booleans())
    def is_promoted_by_a_tombstone(self, cut: bool) -> None:
        """Of whoever is active, for the other mail host; the old one's guard has to be there for it."""
        if cut:
            self.guards.part("primary", *self.places[1:])
        actives = [place for place in PAIR if self.guards.register(place).active == place]
        for old in actives:
            seat = self.guards.seats[old]
            new = next(place for place in PAIR if place != old)
            epoch = seat.mind.register.epoch + 1
            if not seat.frozen and self._order(old, "tombstone", epoch=epoch):
                self._order(new, "advance", epoch=epoch, active=new, proof=f"{old} has a tombstone for {epoch}")
                self.guards.run(ROUND)

    @rule(told=st.booleans(), gap=st.sampled_from([0.0, ROUND, TTL]))
    def is_fenced_by_a_device_and_comes_back(self, told: bool, gap: float) -> None:
        """Off, as its device says, and on again; whether the witness is told, or hears of it when it can."""
        actives = [place for place in PAIR if self.guards.register(place).active == place]
        if not actives:
            return
        old = max(actives, key=lambda place: self.guards.register(place).epoch)
        new = next(place for place in PAIR if place != old)
        epoch = self.guards.register(old).epoch + 1
        self.guards.down(old)
        for place in (new, "witness") if told else (new,):
            if place in self.places and not self.guards.seats[place].frozen:
                self._order(place, "advance", epoch=epoch, active=new, proof=f"{old} is off")
        self.guards.run(gap)
        self.guards.starts(old)
        self.guards.run(ROUND)

    @rule(later=st.sampled_from([0.0, TTL]), boots=st.booleans())
    def a_reboot_is_announced_and_withdrawn(self, later: float, boots: bool) -> None:
        """And the other place is promoted with a proof, if it may be: the old active is off meanwhile."""
        active = next((place for place in PAIR if self.guards.register(place).active == place), "primary")
        other = next(place for place in PAIR if place != active)
        self._order(other, "leave")
        self.guards.run(ROUND)
        self._order(other, "withdraw")
        self.guards.run(later)
        self.guards.down(active)
        self._order(other, "advance", epoch=self.guards.register(other).epoch + 1, active=other, proof="it is off")
        self.guards.run(ROUND)
        self.guards.starts(active)
        self.guards.run(0.1)

    # --- what must hold -------------------------------------------------------------------

    @invariant()
    def nobody_serves_beside_another(self) -> None:
        if hasattr(self, "guards"):
            self.guards.look()


class Pair(Trio):
    """Without a witness: no lease, so a promotion takes a tombstone."""

    places: tuple[str, ...] = PAIR
    ttl = 0.0


@pytest.mark.issue("4.2 model-checked: no schedule has two holders, messages, restarts, orders and the kernel's gate")
@pytest.mark.parametrize("machine", [Trio, Pair])
def test_no_schedule_has_two_places_that_serve(machine: type[Trio]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=200, stateful_step_count=50, deadline=None))


EVENTS = st.sampled_from(
    [
        *(("power", place) for place in GRANTERS),
        *(("guard", place) for place in TRIO),
        *(("link", pair) for pair in itertools.combinations(TRIO, 2)),
        *(("leave", place) for place in GRANTERS),
    ]
)
"""What goes away and comes back: a host, a guard alone, a link; or a granter is told to leave, and to stay."""


class Healthy:
    """A primary that stays well while things happen around it, one after the other."""

    def __init__(self) -> None:
        self.guards = Guards()
        self.guards.run(2 * TTL)
        self.away: set[tuple[str, Any]] = set()

    def happens(self, event: tuple[str, Any]) -> None:
        kind, what = event
        back = event in self.away
        self.away ^= {event} if kind != "guard" else set()
        if kind == "power":
            self.guards.starts(what) if back else self.guards.down(what)
        elif kind == "guard":
            if self.guards.seats[what].up:
                self.guards.starts(what, boots=False)
        elif kind == "leave":
            self.guards.order(what, "withdraw" if back else "leave")
        else:
            self.guards.cut = {link for link in self.guards.cut if set(link) != set(what)}
            if not back:
                self.guards.part(*what)

    def answering(self) -> set[str]:
        """The granters that the primary can ask."""
        return {
            place for place in GRANTERS if self.guards.seats[place].up and ("primary", place) not in self.guards.cut
        }


@pytest.mark.issue("4.2 model-checked: none stops a healthy holder that section 8 lets serve")
@settings(max_examples=100)
@given(st.lists(EVENTS, min_size=1, max_size=10))
def test_a_healthy_primary_serves_whenever_a_granter_answers_or_it_was_left_alone(events: list[Any]) -> None:
    world = Healthy()
    for event in events:
        alone = world.guards.without_end("primary")
        world.happens(event)
        world.guards.run(2 * TTL)
        must = bool(world.answering()) or alone
        assert not must or world.guards.serving == ["primary"], f"stopped by {event}"
        if len(world.answering()) == 1 and not world.guards.seats[min(set(GRANTERS) - world.answering())].up:
            assert world.guards.without_end("primary"), "the other granter is gone: it may be alone from now on"
