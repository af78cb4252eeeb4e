"""An active that is made quiet: each way in and out of it, what it still promises, and what its guard's hands leave."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent import guard, hands, marker, refusal, register, services
from orchestrator.agent.guardpost import Post
from orchestrator.agent.guardtalk import ask, may_start, sentence
from orchestrator.agent.hands import Hands, Wish
from orchestrator.agent.lease import Impossible
from orchestrator.agent.orders import LONGEST_QUIET
from orchestrator.agent.register import Register
from orchestrator.agent.serve import Fault
from orchestrator.agent.settings import Settings
from orchestrator.agent.wire import Decoder, Frame, Kind, halves
from tests.support.guards import PAIR, TTL, Guards
from tests.support.image import CHECKOUT

QUIET = 60.0
ALONE = Settings(
    pair="org", place="primary", peers={"mirror": ("127.0.0.1", 9)}, port=0, ttl=0.0, drift=0.01, stop=0.5,
    served=(), units=(), postfix=False, addresses=(), stores=(), fixed={}, listen="127.0.0.1",
)  # fmt: skip


@pytest.fixture(params=["lease", "pair"])
def guards(request: pytest.FixtureRequest) -> Guards:
    """A primary that serves, by a lease or without one, and is quiet for a minute."""
    all_of_them = Guards() if request.param == "lease" else Guards(PAIR, 0.0)
    all_of_them.run(2 * TTL)
    assert all_of_them.serving == ["primary"]
    all_of_them.order("primary", "quiesce", "op 1", seconds=QUIET)
    return all_of_them


def quiet(guards: Guards) -> float:
    seat = guards.seats["primary"]
    return guard.quiet_left(seat.mind, seat.clock)


# --- the order --------------------------------------------------------------------------------------------------------


@pytest.mark.issue("5.2 guard quiesce holds renews its lease and ends by time")
def test_it_holds_its_lease_and_ends_by_its_own_clock(guards: Guards) -> None:
    guards.run(QUIET / 2)
    assert quiet(guards) == pytest.approx(QUIET / 2, abs=1)
    assert guards.serving == ["primary"], "the gate stays as it is"
    guards.run(QUIET / 2 + 1)
    assert quiet(guards) == 0 and guards.serving == ["primary"]


@pytest.mark.issue("5.2 guard quiesce ends by resume reboot or tombstone")
def test_it_ends_by_resume_by_a_reboot_and_by_a_tombstone(guards: Guards) -> None:
    guards.order("primary", "resume")
    guards.order("primary", "resume")
    assert quiet(guards) == 0
    guards.order("primary", "quiesce", "op 2", seconds=QUIET)
    guards.starts("primary", boots=False)
    assert quiet(guards) > 0, "a guard that was killed remembers it"
    guards.starts("primary")
    assert quiet(guards) == 0, "after a reboot it serves"
    guards.order("primary", "quiesce", "op 3", seconds=QUIET)
    guards.order("primary", "tombstone", epoch=2, quiet="op 3")
    assert quiet(guards) == 0 and guards.register("primary").tombstone == 2
    assert guard.posture(guards.seats["primary"].mind).role == "closed"


@pytest.mark.issue("5.2 guard quiesce compare-and-swap bounded and by the active alone")
def test_what_cannot_be_meant_is_refused_and_changes_nothing(guards: Guards) -> None:
    before = {place: guards.register(place) for place in guards.places}
    wrong: tuple[tuple[str, dict[str, float], str], ...] = (
        ("primary", {"epoch": 2, "seconds": 5.0}, "look at the state again"),
        ("primary", {"seconds": 0.0}, "up to"),
        ("primary", {"seconds": LONGEST_QUIET + 1}, "up to"),
        ("primary", {"seconds": float("nan")}, "up to"),
        ("primary", {"seconds": 5.0}, "op 1 has made it quiet already"),
        ("mirror", {"seconds": 5.0}, "only the active"),
    )
    for place, words, why in wrong:
        with pytest.raises(Impossible, match=why):
            guards.order(place, "quiesce", "", **words)
    with pytest.raises(Impossible, match="look at the state again"):
        guards.order("primary", "resume", epoch=2)
    with pytest.raises(Impossible, match="op 1 is the name of another order"):
        guards.order("primary", "tombstone", "op 1", epoch=2)
    assert {place: guards.register(place) for place in guards.places} == before
    assert guards.order("primary", "quiesce", "op 1", seconds=QUIET) == "quiesce in epoch 1", "it is done already"


@pytest.mark.issue("5.4 guard hush: a passive place's Postfix is kept down, for a while")
def test_a_passive_place_is_hushed_by_time_until_a_resume_or_its_promotion(guards: Guards) -> None:
    seat = guards.seats["mirror"]
    for place, words, why in (
        ("primary", {"seconds": 5.0}, "only a passive place"),
        ("witness", {"seconds": 5.0}, "only a passive place"),
        ("mirror", {"seconds": 0.0}, "up to"),
        ("mirror", {"seconds": 5.0, "epoch": 2}, "look at the state again"),
    ):
        if place in guards.places:
            with pytest.raises(Impossible, match=why):
                guards.order(place, "hush", "", **words)
    guards.order("mirror", "hush", "h 1", seconds=5.0)
    assert guard.quiet_left(seat.mind, seat.clock) > 0 and guards.serving == ["primary"]
    guards.run(6.0)
    assert guard.quiet_left(seat.mind, seat.clock) == 0
    guards.order("mirror", "hush", "h 2", seconds=QUIET)
    guards.order("mirror", "resume", "r 2")
    assert guard.quiet_left(seat.mind, seat.clock) == 0
    guards.order("mirror", "hush", "h 3", seconds=QUIET)
    guards.order("primary", "tombstone", "t 1", epoch=2, quiet="op 1")
    guards.order("mirror", "advance", "a 1", epoch=2, active="mirror", proof="the tombstone")
    assert guard.quiet_left(seat.mind, seat.clock) == 0, "what is promoted serves"


@pytest.mark.issue("5.2 guard tombstone refused when the quiet has ended")
def test_a_tombstone_that_relies_on_the_quiet_comes_too_late(guards: Guards) -> None:
    with pytest.raises(Impossible, match="isn't quiet by op 9"):
        guards.order("primary", "tombstone", epoch=2, quiet="op 9")
    guards.run(QUIET + 1)
    with pytest.raises(Impossible, match="may have taken letters since"):
        guards.order("primary", "tombstone", epoch=2, quiet="op 1")
    guards.order("primary", "quiesce", "op 2", seconds=QUIET)
    guards.order("primary", "resume")
    with pytest.raises(Impossible, match="may have taken letters since"):
        guards.order("primary", "tombstone", epoch=2, quiet="op 2")


@pytest.mark.issue("5.2 soft_bounce on a fresh active ended by timer and by a reboot")
def test_who_was_promoted_is_fresh_for_a_while(guards: Guards) -> None:
    guards.order("primary", "tombstone", epoch=2)
    proof = "the primary's guard has a tombstone for epoch 2"
    for place in guards.places[1:]:
        guards.order(place, "advance", epoch=2, active="mirror", proof=proof)
    seat = guards.seats["mirror"]
    assert guard.soft_left(seat.mind, seat.clock) == 600
    guards.starts("mirror", boots=False)
    assert guard.soft_left(seat.mind, seat.clock) == 600
    assert guard.soft_left(seat.mind, seat.clock + 601) == 0
    guards.starts("mirror")
    assert guard.soft_left(seat.mind, seat.clock) == 0
    assert guards.register("witness" if "witness" in guards.places else "primary").fresh == 0


# --- the guard's process ----------------------------------------------------------------------------------------------


@contextmanager
def at_work(directory: Path) -> Iterator[str]:
    """A guard of an active that an operator attested; the directory of its socket."""
    run = str(directory / "run")
    post = Post(ALONE, b"k" * 32, state=str(directory), run=run)
    running = threading.Thread(target=post.run)
    running.start()
    try:
        yield run
    finally:
        post.ending = True
        running.join(10)
        post.close()


@pytest.mark.issue("5.2 guard quiesce durable: a crash between the register and the act")
def test_a_guard_that_dies_after_writing_it_down_comes_back_quiet(tmp_path: Path) -> None:
    boot = marker.boot_id()
    register.keep(str(tmp_path), Register(3, "primary", boot=boot, attested="a word"))
    order = {"verb": "quiesce", "operation": "op 1", "epoch": 3, "seconds": 40}
    with at_work(tmp_path) as run:
        assert may_start("dovecot.service", run)
        told = ask(order, run)
        assert told["outcome"] == "quiesce in epoch 3" and told["serves"]
        assert not may_start("dovecot.service", run), "the boot gate keeps units down"
    kept = register.load(str(tmp_path))
    assert kept is not None and kept.quiet == "op 1"
    with at_work(tmp_path) as run:
        told = ask({"verb": "status"}, run)
        assert told["quiet"]["operation"] == "op 1" and 0 < told["quiet"]["left"] <= 40
        assert "kept quiet by op 1 for another" in sentence(told)
        assert not may_start("dovecot.service", run)
        assert ask({"verb": "resume", "epoch": 3}, run)["quiet"] is None
        assert may_start("dovecot.service", run)


@pytest.mark.issue("5.4 guard hush: the hands stop Postfix too, and nothing starts it")
def test_hands_of_a_hushed_place_stop_what_queues(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done: list[object] = []

    def noted(name: str, names: object, *_: object) -> _Done:
        done.append((name, names))
        return _Done()

    for name in ("start", "stop"):
        monkeypatch.setattr(getattr(hands, "units"), name, functools.partial(noted, name))  # noqa: B009
    units = ("postfix.service", "dovecot.service")
    working = Hands(ALONE._replace(units=units, postfix=True), str(tmp_path), print)
    try:
        working.want(Wish("passive", False, "192.0.2.1", False, quiet=True))
        deadline = time.monotonic() + 10
        while not working.told()["done"] and time.monotonic() < deadline:
            time.sleep(0.01)
        assert done == [("stop", units)] and not working.told()["queues"]
    finally:
        working.close()


@pytest.mark.issue("5.2 guard quiesce: the hands start nothing and touch no address, also at their next look")
def test_hands_leave_all_as_it_is_while_it_is_quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done: list[str] = []
    others = set(threading.enumerate())

    def noted(name: str, *_: object) -> _Done:
        if threading.current_thread() not in others:  # another test's hands may still be at their last step
            done.append(name)
        return _Done()

    for module, name in (("units", "start"), ("units", "stop"), ("quiesce", "lift"), ("address", "held")):
        monkeypatch.setattr(getattr(hands, module), name, functools.partial(noted, name))
    monkeypatch.setattr(hands, "LOOK", 0.02)
    settings = ALONE._replace(units=("dovecot.service",), addresses=(("192.0.2.1/24", "lo"),))
    working = Hands(settings, str(tmp_path), print)
    try:
        working.want(Wish("active", True, None, False, quiet=True))
        deadline = time.monotonic() + 10
        while not working.told()["done"] and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)  # ten looks
        assert working.told()["done"] and done == []
        working.want(Wish("active", True, None, False))
        while done.count("held") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sorted(done[:2]) == ["held", "start"] and done[2:4] == ["lift", "held"]
    finally:
        working.close()


class _Done:
    state, why, usable = "DONE", (), True

    def __iter__(self) -> Iterator[Any]:
        return iter((self,))


# --- the rules, and the verb ------------------------------------------------------------------------------------------


@pytest.mark.issue("5.2 SYN-only reject self-expiring in the kernel, loopback exempt")
def test_only_a_syn_from_outside_is_refused_and_each_port_ends_by_itself() -> None:
    text = refusal.laid((143, 25, 25), 2.5)
    assert "add element inet mailmirror_quiet refused { 25 timeout 2500ms, 143 timeout 2500ms }" in text
    rejects = [line for line in text.splitlines() if "reject" in line]
    assert len(rejects) == 3 and all("tcp flags & (syn | ack) == syn reject with tcp reset" in one for one in rejects)
    [arrives] = re.findall(r"chain arrives \{(.*?)\n  \}", text, re.DOTALL)
    assert arrives.splitlines()[2].strip() == "iif lo accept"
    assert refusal.timed("silenced", (), 0) == "flush set inet mailmirror_quiet silenced\n"


@pytest.mark.parametrize(
    "wrong", [{}, {"do": "shut"}, {"do": "reject"}, {"do": "open", "operation": "op", "epoch": "1"}]
)
def test_a_request_that_cannot_be_meant_is_a_bad_one(wrong: dict[str, Any]) -> None:
    with pytest.raises(Fault) as raised:
        for _ in services.done(wrong):
            time.sleep(0.01)
    assert raised.value.code in ("bad-request", "unguarded")


def test_the_agent_knows_the_verb_and_goes_on_talking() -> None:
    command = [sys.executable, "-m", "orchestrator.agent.main"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as talk:
        assert talk.stdin is not None and talk.stdout is not None
        for number, do in enumerate(("shut", "open"), 1):
            talk.stdin.write(b"".join(halves(Frame(Kind.REQUEST, number, {"verb": "services", "do": do}))))
        talk.stdin.flush()
        decoder, told = Decoder(), list[Frame]()
        while len(told) < 3:
            told += decoder.feed(os.read(talk.stdout.fileno(), 1 << 16))
        talk.stdin.close()
        assert talk.wait(10) == 0
    assert [(frame.kind, frame.head["code"]) for frame in told[1:]] == [(Kind.FAULT, "bad-request")] * 2
