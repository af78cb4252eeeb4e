"""Schedules that an adversary of the guard found: frozen, restarted and restored at the worst moment, told nonsense."""

from __future__ import annotations

import errno
import json
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent import datagram, gate, guard, guardpost, hands, homes, laying, lease, marker, posture, register
from orchestrator.agent.datagram import HELLO, Message, Standing
from orchestrator.agent.gate import Gate
from orchestrator.agent.guard import Rules
from orchestrator.agent.guardpost import Keeper, Post
from orchestrator.agent.hands import Hands, Wish
from orchestrator.agent.lease import ALWAYS, NEVER, Holder, Impossible, Terms
from orchestrator.agent.nft import Refused
from orchestrator.agent.register import Register
from orchestrator.agent.ruleset import Ports
from orchestrator.agent.settings import Settings
from tests.support.guards import PAIR, TTL, Guards

KEY = b"k" * 32


def free() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def told(place: str, **words: Any) -> Settings:
    others = {p: ("127.0.0.1", free()) for p in ("primary", "mirror", "witness") if p != place}
    base = Settings("p", place, others, free(), TTL, 0.01, 0.5, (), (), False, (), (), {}, "127.0.0.1")
    return base._replace(**words)


def post(tmp_path: Path, place: Any, known: Register, **words: Any) -> Post:
    register.keep(str(tmp_path), known)
    return Post(told(place, **words), KEY, state=str(tmp_path), run=str(tmp_path))


def test_granter_frozen_between_clock_and_recv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G2. A witness is stopped (or a slow fsync stalls it) between `now = boottime()` and `recv`."""
    clock = [gate.boottime()]
    monkeypatch.setattr(guardpost, "boottime", lambda: clock[0])
    witness = post(tmp_path, "witness", Register(1, "primary", kept=lease.Kept(1, without_end=False, longest=TTL)))
    clock[0] += 1
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    now = guardpost.boottime()  # run(), line 142
    clock[0] += 5.0  # frozen here
    _, asked = lease.ask(Holder("b", 1, 1, TTL), "witness", clock[0], 7)
    head = {**asked._asdict(), "stores": {}}
    said = Message(datagram.ASK, "primary", "witness", Standing(1, "primary", 0, 1), 7, head)
    out.sendto(datagram.sealed(said, "p", KEY), ("127.0.0.1", witness.settings.port))
    time.sleep(0.05)
    witness._receive(now)
    serves_until = clock[0] + TTL  # of the holder, by its request's sending
    assert witness.mind.register.seen["primary"] == 1 and not witness.mind.register.kept.without_end
    assert witness.mind.granter.run_out >= serves_until
    witness.close()


def test_a_guard_frozen_in_resume_prolongs_the_gate() -> None:
    clock = [1000.0]
    opened: list[tuple[float, str]] = []

    def run(text: str) -> str:
        if text.startswith("list set"):
            answer = json.dumps({"nftables": [{"set": {"elem": [{"elem": {"val": "tcp", "expires": 6}}]}}]})
            clock[0] += 20.0  # frozen after the kernel has answered; the gate was over 14 s ago when it thaws
            return answer
        if text.startswith("list table"):
            return '{"nftables": []}'
        if "elements = { tcp timeout" in text:
            opened.append((clock[0], text))
        return ""

    until = Gate(Ports((143,)), run, lambda: clock[0]).resume()
    assert not opened, "opened anew, 14 s after the deadline"
    assert until <= 1006.0


def test_lease_taken_out_of_the_inventory_and_installed_on_the_primary_first() -> None:
    trio = Guards()
    trio.run(2 * TTL)
    seat = trio.seats["primary"]
    seat.mind = replace(seat.mind, rules=Rules("primary", ("mirror",), 0.0))  # `agent install mail1`, new guard.json
    trio.starts("primary", boots=False)
    trio.run(5)
    trio.part("primary", "mirror", "witness")
    for place in ("mirror", "witness"):
        trio.order(place, "refuse")
    trio.run(Terms().run_out(TTL) + 1)
    trio.promote()
    trio.run(TTL)  # look(): two serve


def test_a_guard_installed_on_an_old_active_that_lost_its_register(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failover to the mirror; the old primary's system disk is made anew, its store still says active, epoch 1."""
    trio = Guards()
    trio.run(2 * TTL)
    trio.down("primary")
    for place in ("mirror", "witness"):
        trio.order(place, "refuse")
    trio.run(Terms().run_out(TTL) + 1)
    trio.promote()
    trio.run(TTL)
    assert trio.serving == ["mirror"]
    mark = marker.Marker("s", "p", "primary", "active", 1, 9, "n", "b")
    monkeypatch.setattr(homes, "STATE", str(tmp_path))
    monkeypatch.setattr(marker, "look", lambda _: mark)
    monkeypatch.setattr(marker, "boot_id", lambda: "primary 2")
    first = laying._first_register(homes.PLAIN, {"place": "primary", "stores": ["/var/vmail"]}, may_begin=False)
    trio.starts("primary", register=first or Register(0, ""))
    trio.look()


class Proof:
    state, why = "DONE", ()


def hands_of(monkeypatch: pytest.MonkeyPatch, hold: Any, state="/tmp/h/none"):
    monkeypatch.setattr(posture, "hold", hold)
    monkeypatch.setattr(posture, "release", lambda state: None)
    for name in ("stop", "start"):
        monkeypatch.setattr(hands.units, name, lambda names: Proof)
    return Hands(told("primary", units=("postfix.service", "dovecot.service"), postfix=True), state, print)


def settle(h: Any, seconds=3.0):
    end = time.monotonic() + seconds
    while not h.told()["done"] and time.monotonic() < end:
        time.sleep(0.01)


def test_port_25_of_a_former_active_is_open_before_postfix_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go = threading.Event(), threading.Event()

    def hold(active, state):
        begun.set()
        go.wait(5)
        return Proof

    h = hands_of(monkeypatch, hold)
    h.want(Wish("passive", False, "10.0.0.2", False))
    assert begun.wait(5)  # `posture.hold` is on: at the start, and every 30 s
    h.want(Wish("active", True, None, False))  # promoted meanwhile
    go.set()
    settle(h)  # Postfix is released, it is active
    begun.clear()
    go.clear()
    h.want(Wish("passive", False, "10.0.0.2", False))  # demoted
    assert begun.wait(5)
    assert not h.queues, "port 25 is opened by guardpost._act now, with final transports not held"


def test_a_posture_that_fails_to_hold_keeps_port_25_open(monkeypatch: pytest.MonkeyPatch) -> None:
    fails: list[bool] = []

    def hold(active, state):
        if fails:
            raise hands.Fault("overridden", "master.cf: smtp/inet/virtual_transport")
        return Proof

    monkeypatch.setattr(hands, "LOOK", 0.2)
    h = hands_of(monkeypatch, hold)
    h.want(Wish("passive", False, "10.0.0.2", False))
    settle(h)
    assert h.queues
    fails.append(True)
    time.sleep(1.0)
    assert h.told()["problems"]
    assert not h.queues


def test_hands_survive_what_nobody_expected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """posture.hold raises KeyError('boot'): main.cf already only queues, posture.json is gone, Postfix runs."""
    calls = []
    values = dict.fromkeys(posture.holding.NAMES, "")
    values = {**posture.holding.wanted({}, "10.0.0.2"), **{}}
    monkeypatch.setattr(posture, "instances", lambda: ["/etc/postfix"])
    monkeypatch.setattr(posture, "_refuse_to_hold", lambda d: None)
    monkeypatch.setattr(posture, "_values", lambda d: dict(values))
    monkeypatch.setattr(posture, "_explicit", lambda d: dict(values))
    monkeypatch.setattr(posture, "_overrides", lambda d: {})
    monkeypatch.setattr(posture, "_main_cf", lambda d: "/etc/hostname")
    monkeypatch.setattr(posture, "first_process", lambda d: 1)
    monkeypatch.setattr(posture, "_processes", lambda: [])
    real = posture.hold

    def hold(active, state):
        calls.append(1)
        return real(active, state)

    h = hands_of(monkeypatch, hold, str(tmp_path))
    h.want(Wish("passive", False, "10.0.0.2", False))
    time.sleep(1)
    assert calls
    assert h._thread.is_alive(), "no address is ever let go or taken, nothing released, no unit started any more"


def test_a_full_var_does_not_end_the_guard_of_a_healthy_active(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boss = post(tmp_path, "primary", Register(1, "primary"))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(register, "keep", full)
    boss._aged = NEVER  # a minute later
    boss._due(gate.boottime())


@pytest.mark.parametrize("stores", [1, 12, 16, 24])
def test_a_pair_with_many_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: Any) -> None:
    boss = post(tmp_path, "primary", Register(1, "primary"), stores=tuple(f"/srv/{n}" for n in range(stores)))
    monkeypatch.setattr(
        marker, "look", lambda p: marker.Marker(p.rjust(32, "0"), "p", "primary", "active", 1, 500000, "n", "b")
    )
    boss._due(gate.boottime())
    boss.close()


def test_a_store_that_was_taken_out_on_purpose_can_be_forgotten() -> None:
    trio = Guards()
    seat = trio.seats["primary"]

    def run(stores, seconds):
        for _ in range(round(seconds / 0.1)):
            for each in trio.seats.values():
                each.clock += 0.1
            mind, messages = guard.tick(seat.mind, seat.clock, stores, trio.numbers)
            trio._became(seat, mind, messages)
            trio.tick("mirror")
            trio.tick("witness")
            trio.deliver()

    run({"a": (1, 5), "b": (1, 5)}, 3 * TTL)
    assert trio.serving == ["primary"] and not trio.without_end("primary")
    run({"a": (1, 6)}, 10 * TTL)  # mm_stores: b was taken out; `agent update` on all
    assert trio.serving == [] and "mailmirror-guard forget" in seat.mind.denied["witness"]
    for place in ("mirror", "witness"):
        trio.order(place, "forget")
    run({"a": (1, 7)}, 2 * TTL)
    assert trio.serving == ["primary"], seat.mind.denied


def test_one_moment_in_which_nft_refuses_costs_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel:
        broken = False
        renewed = 0.0

        def __init__(self):
            pass

        def run(self, text):
            if self.broken:
                raise Refused("Could not process rule: Cannot allocate memory")
            if "add element inet mailmirror_gate open" in text or "elements = { tcp timeout" in text:
                Kernel.renewed = clock[0]
            return '{"nftables": []}'

        def close(self):
            pass

    clock = [gate.boottime() + 1000]
    monkeypatch.setattr(guardpost, "Nft", Kernel)
    monkeypatch.setattr(gate.Gate.__init__, "__defaults__", (lambda: clock[0],))
    keeper = Keeper(told("primary", served=(143,)), guard.Posture("active", NEVER, ""))
    for step in range(200):  # 20 s, ten looks a second
        clock[0] += 0.1
        Kernel.broken = 50 <= step < 52  # 0.2 s
        keeper._nft.broken = Kernel.broken
        keeper.follow(guard.Posture("active", clock[0] + TTL, ""), None, False, clock[0])
    assert clock[0] - Kernel.renewed < TTL, f"not renewed for {clock[0] - Kernel.renewed:.1f} s"


def test_a_restored_mirror_forgets_an_announced_reboot() -> None:
    pair = Guards(PAIR, ttl=0.0)
    pair.run(5)
    old = pair.register("mirror")
    pair.order("mirror", "leave", words="kernel")
    pair.run(5)
    assert pair.register("primary").announced
    for _ in range(3):
        pair.seats["mirror"].mind = guard.aged(pair.seats["mirror"].mind)
    pair.run(5)
    pair.down("mirror")
    pair.starts("mirror", register=old)  # its system disk is put back
    pair.run(60)  # they talk for a minute: it could learn it
    pair.down("primary")
    try:
        pair.order("mirror", "advance", epoch=2, active="mirror", proof="its plug is out")
    except Impossible:
        return  # "the active announced its reboot": as it ought to be
    pair.order("mirror", "attest", words="the primary's plug is out")
    pair.part("primary", "mirror")
    pair.starts("primary")
    pair.look()


def test_after_that_the_announcement_can_never_be_withdrawn() -> None:
    pair = Guards(PAIR, ttl=0.0)
    pair.run(5)
    old = pair.register("mirror")
    pair.order("mirror", "leave", words="kernel")
    pair.order("mirror", "withdraw")
    pair.order("mirror", "leave", words="kernel")
    pair.run(5)
    pair.starts("mirror", register=old)
    pair.run(5)
    pair.order("mirror", "withdraw")
    pair.run(60)
    assert not pair.register("primary").announced


def test_a_greeting_from_an_earlier_life_of_the_pair_stops_the_new_one() -> None:
    """The key stays in the controller's mm_state_dir through `agent remove --markers` and `init`: same key, epoch 1."""
    trio = Guards()
    trio.run(2 * TTL)
    recorded = Message(HELLO, "mirror", "primary", Standing(4, "mirror", 0, 90000), 12345, {"seen": 0})
    trio.receive(recorded)  # anybody without the key may send it again
    assert trio.serving == ["primary"]
    trio.run(10 * TTL)
    assert trio.serving == ["primary"]


def test_a_tombstone_is_confirmed_only_when_the_gate_is_shut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel:
        broken = False

        def run(self, text):
            if self.broken:
                raise Refused("Operation not permitted")
            if text.startswith("list set"):
                return json.dumps({"nftables": [{"set": {"elem": ["tcp"]}}]})
            return '{"nftables": []}'

        def close(self):
            pass

    monkeypatch.setattr(guardpost, "Nft", Kernel)
    known = Register(1, "primary", boot=marker.boot_id(), attested="installed")
    boss = post(tmp_path, "primary", known, served=(143,))
    boss._act(gate.boottime())
    assert boss.keeper.until == ALWAYS
    boss.keeper._nft.broken = True
    said = boss.answer(b'{"verb": "tombstone", "operation": "x", "epoch": 2}', gate.boottime())
    assert "outcome" not in said or boss.keeper.until == NEVER, said
    boss.close()


def test_a_controller_that_died_after_two_refusals_leaves_an_operator_a_way_out() -> None:
    trio = Guards()
    trio.run(2 * TTL)
    for place in ("mirror", "witness"):
        trio.order(place, "refuse")
    trio.run(2 * TTL)  # the controller is gone for good; all three hosts are well
    for place in trio.places:
        trio.starts(place)
    for place in ("mirror", "witness"):  # all that `mailmirror-guard` offers there
        trio.order(place, "leave", words="let it serve")
        trio.run(TTL)
        trio.order(place, "withdraw")
    trio.run(3 * TTL)
    assert trio.serving == ["primary"], trio.seats["primary"].mind.denied


def test_begin_and_a_peer_that_names_another_active_in_the_same_epoch() -> None:
    """A pair without a witness: the returned primary's register was lost, the operator types begin with the peer's
    epoch; the mirror's word that epoch 2 is the MIRROR's is taken for a confirmation.
    """
    pair = Guards(PAIR, ttl=0.0)
    pair.run(5)
    pair.order("primary", "tombstone", epoch=2)
    pair.order("mirror", "advance", epoch=2, active="mirror", proof="tombstone")
    pair.run(5)
    assert pair.serving == ["mirror"]
    pair.down("primary")
    pair.starts("primary", register=Register(0, ""))
    pair.order("primary", "begin", epoch=2, active="primary")
    pair.run(5)


def test_a_mirror_without_a_witness_serves_once_it_is_promoted_with_a_proven_fence() -> None:
    pair = Guards(PAIR, ttl=0.0)
    pair.run(5)
    pair.down("primary")
    pair.order("mirror", "advance", epoch=2, active="mirror", proof="fence device: off")
    pair.run(60)
    assert pair.serving == ["mirror"], guard.posture(pair.seats["mirror"].mind).why


def test_lease_taken_away_and_introduced_again_with_the_mirror_first() -> None:
    """What the mirror promised under the first lease counts again, though the primary has served without one since."""
    trio = Guards()
    trio.run(2 * TTL)

    def runs_by(place, ttl):
        peers = tuple(p for p in (trio.places if ttl else PAIR) if p != place)
        seat = trio.seats[place]
        seat.mind = replace(seat.mind, rules=Rules(place, peers, ttl))
        trio.starts(place, boots=False)

    trio.dies("witness")  # taken out of the inventory
    for place in ("mirror", "primary"):
        runs_by(place, 0.0)
    trio.run(60)
    assert trio.without_end("primary")
    for place in ("mirror", "witness"):  # the lease again; the primary isn't installed yet
        runs_by(place, TTL)
    trio.run(2 * TTL)
    trio.part("primary", "mirror", "witness")
    try:
        for place in ("mirror", "witness"):
            trio.order(place, "refuse")
    except Impossible:
        return  # as it ought to be
    trio.run(Terms().run_out(TTL) + 1)
    trio.promote()
    trio.run(TTL)


def test_a_long_reason_ends_the_guard(tmp_path: Path) -> None:
    witness = post(tmp_path, "witness", Register(1, "primary"))
    order = {"verb": "leave", "words": "x" * 40000}
    try:
        assert "error" in witness.answer(json.dumps(order).encode(), gate.boottime())
    finally:
        witness.close()
