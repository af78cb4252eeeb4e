"""In which order a guard's hands make a place serve, and what goes on beside what."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator.agent import address, posture, quiesce, units
from orchestrator.agent.hands import Hands, Wish
from orchestrator.agent.serve import Fault
from tests.unit.agent.test_quiesce import ALONE

VIP = "192.0.2.1/24"
SETTINGS = ALONE._replace(units=("postfix.service", "dovecot.service"), postfix=True, addresses=((VIP, "lo"),))
SERVE = Wish("active", True, None, False)


class Usable(NamedTuple):
    usable: bool = True


class Host:
    """What the hands did, in order; each act may be held up, or fail."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.holds: dict[str, threading.Event] = {}
        self.fails: set[str] = set()
        self.claimed: object = None
        self._turn = threading.Condition()

    def act(self, name: str) -> None:
        self.holds.get(name, _FREE).wait(10)
        if name in self.fails:
            raise Fault("no", f"{name} failed", "Mend it.")
        with self._turn:
            self.done.append(name)
            self._turn.notify_all()

    def until(self, *names: str) -> None:
        with self._turn:
            assert self._turn.wait_for(lambda: set(names) <= set(self.done), 10), self.done


_FREE = threading.Event()
_FREE.set()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host()

    def started(names: list[str]) -> units.Proof:
        found.act(f"start {' '.join(names)}")
        return units.Proof("DONE", [])

    def stopped(names: list[str]) -> units.Proof:
        found.act("stop")
        return units.Proof("DONE", [])

    def probed(each: str, interface: str) -> object:
        found.act("ask")
        return found.claimed

    def added(each: str, interface: str, quick: bool = False) -> bool:
        found.act("take, quickly" if quick else "take, patiently")
        return True

    monkeypatch.setattr(units, "start", started)
    monkeypatch.setattr(units, "stop", stopped)
    monkeypatch.setattr(posture, "release", lambda state: found.act("release"))
    monkeypatch.setattr(quiesce, "lift", lambda state: found.act("open"))
    monkeypatch.setattr(address, "held", lambda *_: [])
    monkeypatch.setattr(address, "probe", probed)
    monkeypatch.setattr(address, "add", added)
    monkeypatch.setattr(address, "remove", lambda *_: found.act("let go"))
    return found


@pytest.fixture
def working(host: Host, tmp_path: Path) -> Iterator[Hands]:
    made = Hands(SETTINGS, str(tmp_path), print)
    yield made
    for held in host.holds.values():
        held.set()
    made.close()


def held_up(host: Host, name: str) -> Callable[[], Any]:
    host.holds[name] = threading.Event()
    return host.holds[name].set


def test_mailboxes_start_while_postfix_is_told_and_postfix_never_starts_before(host: Host, working: Hands) -> None:
    go = held_up(host, "release")
    working.want(SERVE)
    host.until("start dovecot.service", "ask")
    assert "start postfix.service" not in host.done
    go()
    host.until("take, quickly")
    assert host.done[-4:] == ["release", "start postfix.service", "open", "take, quickly"]


def test_no_address_is_taken_before_the_services_run(host: Host, working: Hands) -> None:
    go = held_up(host, "start dovecot.service")
    working.want(SERVE)
    host.until("ask", "start postfix.service")
    assert "open" not in host.done and not working.told()["done"]
    go()
    host.until("take, quickly")


def test_an_address_that_somebody_claimed_is_asked_for_patiently_again(host: Host, working: Hands) -> None:
    host.claimed = object()
    working.want(SERVE)
    host.until("take, patiently")


def test_what_fails_beside_the_others_is_told(host: Host, working: Hands) -> None:
    host.fails |= {"start dovecot.service", "ask"}
    working.want(SERVE)
    host.until("open")
    while not (problems := working.told()["problems"]):
        pass
    assert set(problems) == {"start", f"take {VIP}"} and "take, quickly" not in host.done


def test_what_was_begun_has_ended_before_another_wish_begins(host: Host, working: Hands) -> None:
    go = held_up(host, "start dovecot.service")
    working.want(SERVE)
    host.until("ask")
    working.want(Wish("closed", False, None, False))
    assert "stop" not in host.done
    go()
    host.until("stop")
    assert host.done.index("start dovecot.service") < host.done.index("stop")
    assert "take, quickly" not in host.done
