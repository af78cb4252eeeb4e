"""What a simulated host answers while a lost place comes home is what a real agent over real directories answers.

Each test is asked of both, through `replication.homecoming`, which checks the shape of every answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, Protocol, cast

import pytest

from orchestrator.agent.marker import ACTIVE
from orchestrator.agent.serve import Fault
from orchestrator.agent.wire import Frame, inflate
from orchestrator.demo.mailbox import INBOX
from orchestrator.errors import AgentFault
from orchestrator.remote.host import Conversation
from orchestrator.replication import homecoming, reclaim
from orchestrator.replication.homecoming import Cut, Outcome, Store
from orchestrator.simulate.agents import Later
from orchestrator.simulate.clockwork import Clockwork
from orchestrator.simulate.returning import frame
from orchestrator.simulate.site import Site
from tests.support import pairs
from tests.support.outage import OPERATION, Outage, bodies

pytestmark = pytest.mark.issue("5.P simulator: its simulated hosts pass the agent's contract suite")


class Lost(Protocol):
    """A pair with some messages, all of them copied; `lost` and `active` can be changed by their users."""

    def store(self, host: str) -> Store: ...
    def deliver(self) -> str: ...
    def names(self) -> list[str]: ...
    def flag(self, host: str, base: str) -> None: ...
    def expunge(self, host: str, base: str) -> None: ...
    def promote(self) -> None: ...
    def standing(self) -> int: ...


class Real:
    def __init__(self, outage: Outage) -> None:
        self.outage = outage

    def store(self, host: str) -> Store:
        return self.outage.store(host)

    def deliver(self) -> str:
        return self.outage.box.folder(INBOX).deliver(b"Message-ID: <own@ex>\n\nown\n").base.decode()

    def names(self) -> list[str]:
        return sorted(each.decode() for each in self.outage.box.folder(INBOX).messages())

    def _inbox(self, host: str) -> Any:
        return (self.outage.box if host == "p" else self.outage.mirror).folder(INBOX)

    def flag(self, host: str, base: str) -> None:
        self._inbox(host).flag(base.encode(), "S")

    def expunge(self, host: str, base: str) -> None:
        self._inbox(host).expunge([base.encode()])

    def promote(self) -> None:
        self.outage.promote()

    def standing(self) -> int:
        return len(bodies(self.outage.laid.mirror))


class Line:
    """A conversation with a simulated host, at once."""

    def __init__(self, site: Site, place: str) -> None:
        self.name, self._site, self._place = place, site, place

    def request(
        self, verb: str, head: Mapping[str, Any], blob: bytes = b"", *, deflated: bool = False, timeout: float = 0.0
    ) -> Frame:
        self._site.clockwork.now += 1.0
        try:
            found = self._site.agents[self._place].answer(verb, head, bytes(inflate(frame({}, blob, deflated))))
        except Fault as fault:
            raise AgentFault(str(fault), code=fault.code) from fault
        assert not isinstance(found, Later)
        return frame(*found)


class Simulated:
    def __init__(self) -> None:
        self.site = Site(Random(1), Clockwork(), lambda _: None)
        self.places = {"p": "primary", "m": "mirror"}
        for number in range(11):
            self._of("p").deliver(f"letter {number}")
        self._of("m").copy(self._of("p").offered(), deletes=True)
        self._of("m").sync()

    def _of(self, host: str) -> Any:
        self.site.clockwork.now += 1.0
        return self.site.hosts[self.places[host]].store

    def store(self, host: str) -> Store:
        link = cast(Conversation, Line(self.site, self.places[host]))
        return Store(link, "/store", self._of(host).marker.store, None, True)

    def deliver(self) -> str:
        store = self._of("p")
        store.deliver("own")
        return str(store.letters[max(store.letters)].base)

    def names(self) -> list[str]:
        return sorted(each.base for each in self._of("p").letters.values())

    def _uid(self, host: str, base: str) -> int:
        return next(int(uid) for uid, each in self._of(host).letters.items() if each.base == base)

    def flag(self, host: str, base: str) -> None:
        self._of(host).flag(self._uid(host, base))

    def expunge(self, host: str, base: str) -> None:
        self._of(host).expunge(self._uid(host, base))

    def promote(self) -> None:
        store = self._of("m")
        store.frozen(2, "op-6")
        store.turned(store.marker._replace(role=ACTIVE, epoch=2))

    def standing(self) -> int:
        return len(self._of("m").letters)


@pytest.fixture(params=["real", "simulated"])
def lost(request: pytest.FixtureRequest) -> Lost:
    if request.param == "simulated":
        return Simulated()
    laid: pairs.Laid = request.getfixturevalue("laid")
    return Real(Outage(laid))


def looked(lost: Lost) -> tuple[homecoming.Found, reclaim.Plan, Cut]:
    (cut,) = homecoming.cuts(lost.store("m"))
    found = homecoming.look(lost.store("p"), cut)
    return found, homecoming.plan(found, lost.store("m"), reclaim.COUNT), cut


def carried(lost: Lost, found: homecoming.Found, plan: reclaim.Plan) -> Outcome:
    assert homecoming.set_aside(lost.store("p"), plan, found, OPERATION, 2) == []
    return homecoming.carry_out(lost.store("p"), lost.store("m"), plan, found, OPERATION, 2)


def test_nothing_of_its_own(lost: Lost) -> None:
    lost.promote()
    found, plan, _ = looked(lost)
    assert (found.compared, plan.acts, plan.lines) == ((), (), ())


def test_what_is_its_own_comes_home_once(lost: Lost) -> None:
    names = lost.names()
    own = lost.deliver()
    lost.flag("p", names[0])
    lost.expunge("p", names[1])
    lost.promote()
    found, plan, cut = looked(lost)
    assert plan.counts == {"message": 1, "flags": 1, "expunge": 1}
    before = lost.standing()
    outcome = carried(lost, found, plan)
    assert (len(outcome.delivered), outcome.again, outcome.outrun, outcome.missing) == (1, 0, [], [])
    assert [act.base for act in outcome.applied] == [names[0]]
    again = carried(lost, found, plan)
    assert (len(again.delivered), again.again, again.outrun) == (1, 1, [])
    assert lost.standing() == before + 1
    assert [base for _, _, base in outcome.delivered] == [own]
    assert homecoming.let_go(lost.store("p"), outcome, OPERATION, 2) == 0
    homecoming.forget(cut, OPERATION)
    homecoming.forget(cut, OPERATION)
    assert homecoming.cuts(lost.store("m")) == []


def test_the_active_wins_where_it_changed_the_same(lost: Lost) -> None:
    names = lost.names()
    lost.flag("p", names[0])
    lost.flag("p", names[1])
    lost.promote()
    found, plan, _ = looked(lost)
    assert plan.counts == {"flags": 2}
    lost.expunge("m", names[0])
    outcome = carried(lost, found, plan)
    assert [act.base for act in outcome.outrun] == [names[0]]
    assert [act.base for act in outcome.applied] == [names[1]]
    assert looked(lost)[1].counts == {"outrun": 2}, "and nothing of it is done again"


def test_what_was_removed_after_the_look_is_told(lost: Lost) -> None:
    own = lost.deliver()
    lost.promote()
    found, plan, _ = looked(lost)
    lost.expunge("p", own)
    missing = homecoming.set_aside(lost.store("p"), plan, found, OPERATION, 2)
    assert [base for _, _, base in missing] == [own]
    outcome = homecoming.carry_out(lost.store("p"), lost.store("m"), plan, found, OPERATION, 2)
    assert ([base for _, _, base in outcome.missing], outcome.delivered) == ([own], {})


def test_nothing_leaves_the_area_under_another_digest(lost: Lost) -> None:
    lost.deliver()
    lost.promote()
    found, plan, _ = looked(lost)
    outcome = carried(lost, found, plan)
    other = Outcome(delivered=dict.fromkeys(outcome.delivered, "0" * 64))
    assert homecoming.let_go(lost.store("p"), other, OPERATION, 2) == 1
    assert homecoming.let_go(lost.store("p"), outcome, OPERATION, 2) == 0
    assert homecoming.let_go(lost.store("p"), outcome, OPERATION, 2) == 0


def test_an_earlier_epoch_puts_nothing_into_the_active_store(lost: Lost) -> None:
    lost.deliver()
    lost.promote()
    found, plan, _ = looked(lost)
    before = lost.standing()
    assert homecoming.set_aside(lost.store("p"), plan, found, OPERATION, 2) == []
    with pytest.raises(AgentFault) as caught:
        homecoming.carry_out(lost.store("p"), lost.store("m"), plan, found, OPERATION, 1)
    assert (caught.value.code, lost.standing()) == ("older-epoch", before)


def test_a_passive_store_takes_nothing(lost: Lost) -> None:
    before, spot = lost.standing(), reclaim.Spot("someone", 0, "")
    act = reclaim.Act("move", "someone", "some", spot, spot)
    plan = reclaim.Plan((act,), (), {}, 0.0, False)
    found = homecoming.Found((), 0, frozenset(), {})
    with pytest.raises(AgentFault) as caught:
        homecoming.carry_out(lost.store("p"), lost.store("m"), plan, found, OPERATION, 2)
    assert (caught.value.code, lost.standing()) == ("wrong-role", before)


def test_a_cut_that_is_not_there_is_refused(lost: Lost) -> None:
    lost.promote()
    with pytest.raises(AgentFault) as caught:
        homecoming.look(lost.store("p"), Cut(lost.store("m"), 7, "mirror", 0, OPERATION))
    assert caught.value.code == "no-cut"
