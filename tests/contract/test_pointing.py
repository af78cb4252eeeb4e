"""Whatever sends users elsewhere keeps one contract: plan, refuse when unsafe, apply, prove. Held for each way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.demo.nameserver import Zone as Served
from orchestrator.demo.nameserver import serving
from orchestrator.errors import MailmirrorError, Refused, StillRunning
from orchestrator.traffic.dns import Key, Zone
from orchestrator.traffic.exec import Commands
from orchestrator.traffic.switch import OLD, SHOWS, UNKNOWN, Pointer, Target, is_proven, point_at
from tests.support.proofs import Fenced

pytestmark = pytest.mark.issue("4.4 Plan refuse when unsafe apply prove")

HOME = Target(1, "mail1.example.test", "primary", ("192.0.2.10",))
AWAY = Target(2, "mail2.example.test", "mirror", ("192.0.2.20",))
KEY = Key("mailmirror", "hmac-sha256", b"0123456789abcdef")
LINES = ("@ 60 SOA ns postmaster 1 60 20 3600 5", "@ 60 NS ns", "ns 60 A 127.0.0.1", "mail 60 A 192.0.2.10")
SHOW = "test ! -e {0}/away || exit 1; cat {0}/state"
POINT = """test ! -e {0}/refuses || exit 1
test -e {0}/deaf || printf '{{"place": "%s", "epoch": %s}}' "$MAILMIRROR_PLACE" "$MAILMIRROR_EPOCH" > {0}/state
test ! -e {0}/mute"""


class Way:
    """A pointer, and what can be wrong with those whom it speaks to."""

    def __init__(self, pointer: Pointer[Any], be: Callable[[str], None], where: Callable[[], str]) -> None:
        self.pointer = pointer
        self.be = be
        """away: doesn't answer. refuses: takes no change, and says so. deaf: says that it took one, and shows none.
        mute: takes one, and doesn't say so.
        """
        self.where = where
        """Where users are sent, told by nothing of ours; it may change only with this."""


class Fickle(Served):
    """A name server that has bad days."""

    mood = "well"

    def answer(self, wire: bytes) -> bytes:
        if self.mood == "away":
            raise OSError("gone")
        before = self._held
        answer = super().answer(wire)
        if self.mood == "deaf":
            self._held = before
        if self.mood == "mute" and self._held is not before:
            raise OSError("cut off")
        return answer

    def be(self, mood: str) -> None:
        self.mood = mood
        self.grant([] if mood == "refuses" else ["mail"], [])


@contextmanager
def by_update(directory: Path) -> Iterator[Way]:
    zone = Fickle("example.test", LINES, KEY.ring, ["mail"])
    with serving(zone) as server:
        at = Zone("127.0.0.1", "example.test", ["mail"], KEY, port=server.port, seconds=2.0)
        yield Way(at, zone.be, lambda: repr(sorted(map(str, zone._held.values()))))


@contextmanager
def by_command(directory: Path) -> Iterator[Way]:
    (directory / "state").write_text('{"place": "primary", "epoch": null}')
    show, point = (["sh", "-c", script.format(directory)] for script in (SHOW, POINT))
    at = Commands(show, point, {"primary": HOME.host, "mirror": AWAY.host}, seconds=20.0)

    def be(mood: str) -> None:
        for known in ("away", "refuses", "deaf", "mute"):
            (directory / known).unlink(missing_ok=True)
        (directory / mood).touch()

    yield Way(at, be, (directory / "state").read_text)


@pytest.fixture(params=[by_update, by_command], ids=["rfc2136", "exec"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    with request.param(tmp_path) as made:
        yield made


@pytest.fixture
def home(way: Way) -> Way:
    """Users are sent to the primary in epoch 1."""
    point_at(way.pointer, HOME, Fenced(AWAY.host, 1), 10.0)
    return way


def test_users_are_sent_there_and_it_is_proven(home: Way) -> None:
    before = home.where()
    arrivals = point_at(home.pointer, AWAY, Fenced(HOME.host, 2), 10.0)
    assert is_proven(arrivals) and home.where() != before
    assert all(arrival.state == SHOWS and arrival.seconds is not None for arrival in arrivals)


def test_a_plan_alone_changes_nothing(home: Way) -> None:
    before = home.where()
    plan = home.pointer.plan(AWAY)
    assert (plan.is_move, plan.is_done, home.where()) == (True, False, before)


def test_once_more_is_nothing_more_and_needs_no_proof(home: Way) -> None:
    before = home.where()
    assert home.pointer.plan(HOME).is_done
    assert is_proven(point_at(home.pointer, HOME, None, 10.0))
    assert home.where() == before


PROOFS: dict[str, Callable[[], Fenced | None]] = {
    "none": lambda: None,
    "of the new place": lambda: Fenced(AWAY.host, 2),
    "of an older epoch": lambda: Fenced(HOME.host, 1),
    "of a later epoch": lambda: Fenced(HOME.host, 3),
    "of a third host": lambda: Fenced("mail3.example.test", 2),
    "that is no fence": lambda: Fenced(HOME.host, 2, "released"),
    "an old one": lambda: Fenced(HOME.host, 2, when=time.time() - 600),
    "one to come": lambda: Fenced(HOME.host, 2, when=time.time() + 600),
}


@pytest.mark.issue("4.4 nothing is applied without a proof object")
@pytest.mark.parametrize("proof", PROOFS.values(), ids=PROOFS)
def test_without_a_proof_of_this_move_nothing_is_applied(home: Way, proof: Callable[[], Fenced | None]) -> None:
    before = home.where()
    with pytest.raises(Refused, match="Users aren't sent to mail2"):
        point_at(home.pointer, AWAY, proof(), 1.0)
    assert home.where() == before


@pytest.mark.issue("4.P an old epoch, a second controller with a stale state: refused, told, nothing changed")
def test_an_epoch_that_has_gone_by_is_refused(home: Way) -> None:
    stale = home.pointer.plan(Target(2, AWAY.host, "mirror", AWAY.addresses))
    point_at(home.pointer, Target(3, AWAY.host, "mirror", AWAY.addresses), Fenced(HOME.host, 3), 10.0)
    before = home.where()
    with pytest.raises(Refused):
        home.pointer.apply(stale, Fenced(HOME.host, 2))
    for epoch in (1, 2, 3):
        with pytest.raises(Refused, match="epoch 3"):
            home.pointer.plan(Target(epoch, HOME.host, "primary", HOME.addresses))
    assert home.where() == before


@pytest.mark.issue("4.P DNS server refusing: no flip")
def test_a_change_that_is_refused_is_told_and_changes_nothing(home: Way) -> None:
    before = home.where()
    home.be("refuses")
    with pytest.raises(MailmirrorError):
        point_at(home.pointer, AWAY, Fenced(HOME.host, 2), 1.0)
    assert home.where() == before


@pytest.mark.issue("4.P DNS server away: no flip")
def test_where_nobody_answers_nothing_is_planned(home: Way) -> None:
    before = home.where()
    home.be("away")
    with pytest.raises(MailmirrorError):
        home.pointer.plan(AWAY)
    assert home.where() == before


@pytest.mark.issue("4.P DNS server stale: no flip without proof")
def test_a_change_that_is_said_to_be_taken_and_isnt_shown_isnt_proven(home: Way) -> None:
    home.be("deaf")
    plan = home.pointer.plan(AWAY)
    home.pointer.apply(plan, Fenced(HOME.host, 2))
    arrivals = home.pointer.prove(plan, 0.3)
    assert {arrival.state for arrival in arrivals} == {OLD} and not is_proven(arrivals)
    with pytest.raises(StillRunning, match="isn't proven"):
        point_at(home.pointer, AWAY, Fenced(HOME.host, 2), 0.3)


def test_a_change_that_arrived_and_whose_answer_was_lost_is_proven_by_looking(home: Way) -> None:
    before = home.where()
    home.be("mute")
    assert is_proven(point_at(home.pointer, AWAY, Fenced(HOME.host, 2), 10.0))
    assert home.where() != before


def test_whom_nobody_can_ask_afterwards_is_unknown_or_told(home: Way) -> None:
    plan = home.pointer.plan(AWAY)
    home.pointer.apply(plan, Fenced(HOME.host, 2))
    home.be("away")
    arrivals = home.pointer.prove(plan, 0.3)
    assert {arrival.state for arrival in arrivals} == {UNKNOWN} and not is_proven(arrivals)
