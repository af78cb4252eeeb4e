"""The desk: requests are checked before anything is done."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import MailmirrorError, Refused, TryAgain, UsageError
from orchestrator.replication.report import PairStatus, Progress, Waiting
from orchestrator.web import desk as desks
from orchestrator.web.desk import EVENTS_KEPT, Caller, Desk, Events, Outlet, Throttle
from orchestrator.web.replicates import Replicates
from tests.unit.daemon.memory import MemorySession, World, pair

T = TypeVar("T")
ROOT = Caller(1, 0, 0)


class Attended:
    """A pair whose thread is this one."""

    def __init__(self, name: str, world: World) -> None:
        self.session = MemorySession(pair(name, Path("/nowhere")), world)
        self.pokes = 0

    def status(self) -> PairStatus:
        return self.session.status()

    def call(self, work: Callable[[Replicates], T], timeout: float | None = None) -> T:
        return work(self.session)

    def poke(self) -> None:
        self.pokes += 1


class Heard:
    """An outlet that keeps what it is told."""

    def __init__(self, listens: int = 1000) -> None:
        self.told: list[Any] = []
        self._listens = listens

    def offer(self, told: Any) -> None:
        self.told.append(told)

    def tell(self, told: Any) -> None:
        self.told.append(told)
        if len(self.told) >= self._listens:
            raise BrokenPipeError


@pytest.fixture
def world() -> World:
    return World(active={"a/1": b"one", "a/2": b"two"}, waiting=[Waiting("w1", "a", 3, "over budget", 1.0)])


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk({"org": Attended("org", world)}, Events())


def ask(desk: Desk, **request: Any) -> Any:
    return desk.answer(request, ROOT, Heard())


def test_each_verb_answers_with_what_its_command_prints_as_json(desk: Desk, world: World) -> None:
    assert ask(desk, verb="status")["pairs"][0]["passives"][0]["pending"] == 2
    assert ask(desk, verb="sync", dry_run=True)[0]["planned"] is True
    assert world.passive == {}
    assert ask(desk, verb="sync", pair="org")[0]["tally"]["messages"] == 2
    assert ask(desk, verb="verify", deep=True)[0]["equal"] is True
    del world.active["a/2"]
    assert ask(desk, verb="sync", deletes=False)[0]["tally"]["deleted"] == 0
    assert ask(desk, verb="sync")[0]["tally"]["deleted"] == 1
    assert ask(desk, verb="undelete", account="b", dry_run=True)[0]["chosen"] == 0
    assert ask(desk, verb="undelete", account="a", since=1.0, until=2.0)[0]["restored"] == 1
    assert ask(desk, verb="release", id="w1") == {"id": "w1", "released": 3}
    assert ask(desk, verb="retire", account="b", dry_run=True) == {"account": "b", "messages": 0, "planned": True}
    assert ask(desk, verb="retry") == {"retrying": True}


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"verb": 1},
        {"verb": "rm -rf"},
        {"verb": "sync", "pair": "net"},
        {"verb": "sync", "pair": ["org"]},
        {"verb": "sync", "dry_run": "yes"},
        {"verb": "sync", "timeout": -1},
        {"verb": "sync", "timeout": True},
        {"verb": "verify", "deep": 1},
        {"verb": "release"},
        {"verb": "undelete", "since": "yesterday"},
    ],
)
def test_what_it_can_t_understand_is_a_usage_error_and_does_nothing(
    desk: Desk, world: World, request_: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        ask(desk, **request_)
    assert (world.passive, len(world.waiting)) == ({}, 1)


class Travelled:
    """Journeys that are over at once; `orders` are those that came through."""

    def __init__(self) -> None:
        self.orders: list[tuple[Any, ...]] = []

    def plan(self, pair: str, journey: str, survey: str = "") -> Any:
        self.orders.append(("plan", pair, journey, survey))
        return {}

    def go(
        self, pair: str, journey: str, by: str, reason: str, outlet: Outlet, said: Mapping[str, Any] | None = None
    ) -> Any:
        self.orders.append((pair, journey, reason, *(said or {}).items()))
        return {}

    def order(self, pair: str, what: str, operation: str, by: str, reason: str, outlet: Outlet) -> Any:
        self.orders.append((pair, what, operation))
        return {}


def test_what_an_order_of_a_journey_says_beside_its_reason_is_one_of_the_known_words(world: World) -> None:
    travels = Travelled()
    desk = Desk({"org": Attended("org", world)}, Events(), travels=travels)
    for wrong in (
        {"verb": "journey", "journey": "rejoin", "ctimes": "perhaps"},
        {"verb": "journey", "journey": "rejoin", "ctimes": 1},
        {"verb": "plan", "journey": "rejoin", "survey": "perhaps"},
    ):
        with pytest.raises(UsageError, match=r"trust, void|has to be a string"):
            ask(desk, **wrong)
    assert travels.orders == []
    ask(desk, verb="plan", journey="rejoin", survey="count")
    ask(desk, verb="journey", journey="rejoin", reason="back", ctimes="void")
    ask(desk, verb="journey", journey="failback", reason="home")
    assert travels.orders == [
        ("plan", "org", "rejoin", "count"),
        ("org", "rejoin", "back", ("ctimes", "void")),
        ("org", "failback", "home"),
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["pair", "dry_run", "deep", "id", "account", "since", "timeout"]), json_values),
    st.sampled_from(["status", "sync", "verify", "undelete", "release", "retire", "retry"]) | st.text(max_size=5),
)
def test_any_request_is_answered_or_refused(fields: dict[str, Any], verb: str) -> None:
    it = Desk({"org": Attended("org", World())}, Events())
    try:
        ask(it, **{**fields, "verb": verb})
    except MailmirrorError as error:
        assert isinstance(error, (UsageError, Refused))


def test_changing_verbs_need_to_know_the_pair_and_reading_ones_show_all(world: World) -> None:
    both = Desk({"org": Attended("org", world), "net": Attended("net", World())}, Events())
    assert [told["pair"] for told in ask(both, verb="status")["pairs"]] == ["org", "net"]
    assert [told["pair"] for told in ask(both, verb="status", pair="net")["pairs"]] == ["net"]
    with pytest.raises(UsageError, match="org, net"):
        ask(both, verb="sync")


def test_a_quick_pass_tells_nothing_on_its_way_and_a_slow_one_little(monkeypatch: pytest.MonkeyPatch) -> None:
    heard, throttle = Heard(), None
    monkeypatch.setattr(desks, "PROGRESS_AFTER", 1e6)
    throttle = Throttle(heard)
    throttle(Progress("messages"))
    assert heard.told == []
    monkeypatch.setattr(desks, "PROGRESS_AFTER", 0.0)
    throttle = Throttle(heard)
    for number in range(1000):
        throttle(Progress("messages", number))
    assert heard.told == [asdict(Progress("messages", 0))]


def test_a_slow_listener_loses_the_oldest_events_and_holds_nobody_up() -> None:
    events = Events()
    listener = events.listen()
    for number in range(EVENTS_KEPT + 10):
        events.publish("org", "live", str(number))
    assert listener.get_nowait()["text"] == "10"
    events.leave(listener)
    events.publish("org", "live", "unheard")
    assert listener.qsize() == EVENTS_KEPT - 1


def test_a_subscriber_that_goes_away_is_forgotten() -> None:
    events = Events()
    it, heard = Desk({}, events), Heard(listens=2)
    original = events.listen

    def listen_and_fill() -> queue.Queue[dict[str, Any]]:
        listener = original()
        for name in ("org", "net", "org"):
            events.publish(name, "live", "x")
        return listener

    events.listen = listen_and_fill  # type: ignore[method-assign]
    with pytest.raises(BrokenPipeError):
        it.answer({"verb": "subscribe", "pair": "org"}, ROOT, heard)
    assert [event["pair"] for event in heard.told] == ["org", "org"]
    assert events._listeners == []


def test_subscribers_are_let_go_when_the_daemon_stops() -> None:
    it = Desk({}, Events())
    it.stopping.set()
    with pytest.raises(TryAgain, match="stopping"):
        it.answer({"verb": "subscribe"}, ROOT, Heard())
