"""Addresses that move from host to host on a real link: looked for, taken up, announced, let go, and never doubled."""

from __future__ import annotations

import itertools
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orchestrator.agent import address as moving
from orchestrator.agent import neighbours, netlink
from orchestrator.agent.crier import Crier
from orchestrator.agent.serve import Fault
from tests.lab import plan
from tests.lab.host import Host
from tests.lab.moving import lands_on, lay, move, on, serve
from tests.lab.site import Site
from tests.lab.switch import BRIDGE
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]

V4, V6 = f"{plan.SERVICE_ADDRESS}/24", f"{plan.SERVICE_ADDRESS6}/64"
BOTH = (V4, V6)
VIP = f'{{addresses: [{V4}, "{V6}"], interface: eth0}}'
EACH = pytest.mark.parametrize("moved", BOTH)


@pytest.fixture(scope="module")
def linked() -> Iterator[Site]:
    require.hosts()
    with Site(("primary", "mirror", "client"), users=1) as site:
        site.boot()
        on(site.primary, moving.remove, V4, "eth0")  # it gets it at its boot
        for host in (site.primary, site.mirror):
            serve(host)
        lay(site, VIP)
        site.mirror.run("mailmirror init")
        yield site


@pytest.fixture(autouse=True)
def nobody_has_them(linked: Site) -> Iterator[Site]:
    yield linked
    for host in linked.hosts.values():
        host.plug()
        for moved in BOTH:
            on(host, moving.remove, moved, "eth0")


@contextmanager
def fault(code: str) -> Iterator[pytest.ExceptionInfo[Fault]]:
    with pytest.raises(Fault) as raised:
        yield raised
    assert (raised.value.code, bool(raised.value.remedy)) == (code, True), raised.value


def both_on(host: Host) -> None:
    with host.network():
        assert moving.driven(moving.adding(list(BOTH), "eth0", True)) == list(BOTH)


def stands(host: Host, moved: str) -> list[list[str]]:
    with host.network():
        return [each.words for each in moving.held(moved, "eth0")]


def neighbour(site: Site, moved: str) -> str:
    """Whom the client believes to have the address; "" where it never asked."""
    said = site.client.run(f"ip neighbour show {moved.partition('/')[0]} dev eth0").split()
    return said[said.index("lladdr") + 1] if "lladdr" in said else ""


def told(site: Site, moved: str, host: Host) -> None:
    """Without a question of his, the client learns who has the address now."""
    until(lambda: neighbour(site, moved) == host.mac, within=10, what="the client knows")


@EACH
@pytest.mark.issue("4.4 VIP IPv4 IPv6: duplicate address detection before, desired against actual, read back")
def test_a_free_address_is_taken_up_after_a_look_and_let_go_again(linked: Site, moved: str) -> None:
    with linked.mirror.network():
        own = {(each.address, each.prefix) for each in moving.held()}
        for quick, least in ((True, 0.3), (False, 1.0)):
            began = time.monotonic()
            assert moving.add(moved, "eth0", quick)
            assert time.monotonic() - began >= least
            [found] = moving.held(moved)
            assert found.usable and f"{found.address}/{found.prefix}" == moved
            assert not moving.add(moved, "eth0", quick), "it stands already"
            assert moving.remove(moved, "eth0")
            assert not moving.remove(moved, "eth0"), "it is gone"
        assert moving.held(moved) == []
        assert {(each.address, each.prefix) for each in moving.held()} == own
    assert "deprecated" in found.words or moved == V4, "no source for what the host sends by itself"


@pytest.mark.issue("4.4 removed on loss of the lease: quick, without a conversation")
def test_letting_go_takes_milliseconds(linked: Site) -> None:
    took = []
    with linked.mirror.network():
        for _ in range(5):
            for moved in BOTH:
                moving.add(moved, "eth0", True)
            began = time.monotonic()
            gone = [moving.remove(moved, "eth0") for moved in BOTH]
            took.append(time.monotonic() - began)
            assert all(gone)
    assert min(took) < 0.02, took


@EACH
@pytest.mark.issue("4.P address already taken: refused, told with its MAC, nothing changed")
def test_an_address_that_somebody_has_is_refused_with_his_mac(linked: Site, moved: str) -> None:
    assert on(linked.client, moving.add, moved, "eth0", True)
    before = linked.mirror.run("ip address show dev eth0")
    for quick in (True, False):
        with fault("taken") as raised:
            on(linked.mirror, moving.add, moved, "eth0", quick)
        assert linked.client.mac in str(raised.value)
    claim = on(linked.mirror, moving.probe, moved, "eth0")
    assert claim == neighbours.Claim(linked.client.mac)
    assert linked.mirror.run("ip address show dev eth0") == before
    assert on(linked.client, moving.probe, moved, "eth0", True) is None, "its own holder hears nobody"


@pytest.mark.issue("4.P address already taken: refused, all or none")
def test_of_two_addresses_of_which_one_is_taken_none_is_taken_up(linked: Site) -> None:
    assert on(linked.client, moving.add, V6, "eth0", True)
    with fault("taken"):
        on(linked.mirror, lambda: moving.driven(moving.adding([V4, V6], "eth0", True)))
    assert (stands(linked.mirror, V4), stands(linked.mirror, V6)) == ([], [])


@EACH
def test_of_two_who_look_for_it_at_once_not_both_take_it(linked: Site, moved: str) -> None:
    done: dict[str, object] = {}

    def take(host: Host) -> None:
        try:
            done[host.name] = on(host, moving.add, moved, "eth0", False)
        except Fault as error:
            done[host.name] = error.code

    threads = [threading.Thread(target=take, args=(host,)) for host in (linked.primary, linked.mirror)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert "taken" in done.values(), done
    assert len(stands(linked.primary, moved) + stands(linked.mirror, moved)) <= 1


@EACH
@pytest.mark.issue("4.4 gratuitous ARP and unsolicited NA: the client's neighbour table changes at once")
def test_a_client_follows_the_address_at_once(linked: Site, moved: str) -> None:
    holder, other = linked.primary, linked.mirror
    assert on(holder, moving.add, moved, "eth0", True)
    for _ in range(2):
        assert lands_on(linked, moved) == holder.name
        assert neighbour(linked, moved) == holder.mac
        assert on(holder, moving.remove, moved, "eth0")
        assert on(other, moving.add, moved, "eth0", True)
        told(linked, moved, other)
        assert lands_on(linked, moved) == other.name
        holder, other = other, holder


@EACH
@pytest.mark.issue("4.P link flapping: no address without proof; announced again after")
def test_a_cable_that_comes_and_goes_proves_nothing_and_is_announced_after(linked: Site, moved: str) -> None:
    mirror = linked.mirror
    with fault("no-carrier"):
        mirror.unplug()
        on(mirror, moving.add, moved, "eth0", True)
    mirror.plug()
    with mirror.network():
        until(lambda: moving.link("eth0").carrier, what="the carrier is back")
        adding = moving.adding([moved], "eth0", True)
        next(adding)
        mirror.unplug()
        mirror.plug()
        until(lambda: moving.link("eth0").carrier, what="the carrier is back")
        with fault("flapped"):
            moving.driven(adding)
        assert moving.held(moved) == []
        assert moving.add(moved, "eth0", True)
        crier = Crier()
        assert [crier.tick(now, [(moved, "eth0")]) for now in (0.0, 0.5)] == [1, 0]
    linked.client.run(f"ip neighbour replace {moved.partition('/')[0]} dev eth0 lladdr {linked.primary.mac} nud stale")
    mirror.unplug()
    mirror.plug()
    with mirror.network():
        until(lambda: crier.tick(0.6, [(moved, "eth0")]), what="the carrier is back, and it is due anew")
    seconds = itertools.count(1)

    def known() -> bool:
        with mirror.network():
            crier.tick(0.6 + next(seconds), [(moved, "eth0")])  # it says it again and again: one word may get lost
        return neighbour(linked, moved) == mirror.mac

    until(known, within=10, every=0.3, what="the client knows")


@EACH
@pytest.mark.issue("4.4 VIP: a frozen host whose kernel still answers for the address")
def test_clients_follow_a_holder_that_takes_it_from_a_frozen_host(linked: Site, moved: str) -> None:
    """Whose kernel goes on answering; a client that asks anew believes it for no longer than a second."""
    assert on(linked.primary, moving.add, moved, "eth0", True)
    assert lands_on(linked, moved) == "mail1"
    linked.primary.freeze()
    try:
        with fault("taken"):
            on(linked.mirror, moving.add, moved, "eth0", True, [linked.client.mac])
        assert on(linked.mirror, moving.add, moved, "eth0", True, [linked.primary.mac])
        told(linked, moved, linked.mirror)
        assert lands_on(linked, moved) == "mail2"
        linked.client.run("ip neighbour flush dev eth0")
        linked.client.attempt(f"ping -c 1 -W 1 {moved.partition('/')[0]}")
        on(linked.mirror, moving.announce, moved, "eth0")
        told(linked, moved, linked.mirror)
    finally:
        linked.primary.thaw()


def test_a_second_link_of_its_own_to_the_same_switch_is_nobody_else(linked: Site) -> None:
    """Linux answers there as well for what stands on the first."""
    client = linked.client
    heard: list[neighbours.Claim] = []
    bridge = ["nsenter", f"--net={linked.switch.path}", "--"]
    subprocess.run([*bridge, *f"ip link add second type veth peer name second netns {client.net}".split()], check=True)
    try:
        subprocess.run([*bridge, *f"ip link set second master {BRIDGE} up".split()], check=True)
        client.run("ip link set second up")
        with client.network():
            until(lambda: moving.link("second").carrier, what="it has a carrier")
            assert moving.add(V4, "eth0", True)
            assert moving.probe(V4, "eth0", True) is None
            found = moving.link("eth0")
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(neighbours.ARP)) as listening:
                listening.bind(("eth0", neighbours.ARP))
                listening.settimeout(5)
                listening.send(neighbours.probe(found.mac, plan.SERVICE_ADDRESS))
                while not heard:
                    heard += (
                        [claim]
                        if (claim := neighbours.claim(listening.recv(2048), [found.mac], plan.SERVICE_ADDRESS))
                        else []
                    )
        assert heard[0].holds, "it does answer, and that is no claim"
    finally:
        subprocess.run([*bridge, "ip", "link", "del", "second"], check=True)


def test_who_does_not_hold_an_address_does_not_announce_it(linked: Site) -> None:
    with fault("not-held"):
        on(linked.mirror, moving.announce, V4, "eth0")
    assert on(linked.mirror, Crier().tick, 0.0, [(V4, "eth0")]) == 0


@pytest.mark.issue("4.4 VIP: a primary address with secondaries")
def test_letting_a_networks_first_address_go_keeps_its_others_and_the_routes(linked: Site) -> None:
    mirror = linked.mirror
    mirror.run("ip address add 10.31.0.1/24 dev eth0; ip address add 10.31.0.2/24 dev eth0")
    mirror.run("ip address del 10.31.0.1/24 dev eth0")
    assert "10.31.0.2" not in mirror.run("ip address"), "what the kernel does by itself"
    mirror.run("ip address add 10.30.0.1/24 dev eth0; ip address add 10.30.0.2/24 dev eth0")
    mirror.run("ip address add 10.30.0.3/24 dev eth0; ip route add default via 10.30.0.254")
    with mirror.network():
        assert moving.remove("10.30.0.1/24", "eth0")
        assert {each.address: each.words for each in moving.held() if each.address.startswith("10.30.")} == {
            "10.30.0.2": ["permanent"],
            "10.30.0.3": ["secondary", "permanent"],
        }
        assert not netlink.link("eth0").promotes, "as it was before"
        assert moving.remove("10.30.0.3", "eth0"), "a secondary one"
        assert [each.address for each in moving.held("10.30.0.2")] == ["10.30.0.2"]
    assert "default via 10.30.0.254" in mirror.run("ip route")
    mirror.run("ip address del 10.30.0.2/24 dev eth0")


@pytest.mark.issue("4.4 VIP: an interface that is missing or down is told with a remedy")
def test_what_is_wrong_with_an_interface_is_told(linked: Site) -> None:
    linked.client.run("ip link add lame type veth peer name lame2")
    try:
        with linked.client.network():
            for interface, code in (("eth9", "no-interface"), ("lo", "not-ethernet"), ("lame", "down")):
                with fault(code):
                    moving.add(V4, interface)
            assert not moving.remove(V4, "eth9"), "what stands nowhere is gone"
            assert moving.add(V4, "eth0", True)
            linked.client.run("ip link set lame2 up; ip link set lame up")
            until(lambda: moving.link("lame").carrier, what="it has a carrier")
            with fault("elsewhere"):
                moving.add(V4, "lame")
    finally:
        linked.client.run("ip link del lame")
    with fault("still-held"):
        on(linked.client, moving.remove, V4, "eth9")
    linked.client.run("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1")
    try:
        with fault("not-allowed-there"):
            on(linked.client, moving.add, V6, "eth0", True)
    finally:
        linked.client.run("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0")
        linked.client.run(f"ip address replace {linked.client.address6}/64 dev eth0 nodad")


def test_an_address_that_the_kernel_gave_up_on_is_not_held_and_taken_up_anew(linked: Site) -> None:
    """Somebody had it when the kernel looked; now he doesn't."""
    assert on(linked.client, moving.add, V6, "eth0", True)
    linked.mirror.run(f"ip address add {V6} dev eth0")
    until(lambda: "dadfailed" in str(stands(linked.mirror, V6)), what="the kernel gave up")
    with fault("not-held"):
        on(linked.mirror, moving.announce, V6, "eth0")
    assert on(linked.client, moving.remove, V6, "eth0")
    assert on(linked.mirror, moving.add, V6, "eth0", True)
    assert "dadfailed" not in str(stands(linked.mirror, V6))


# ---- by the controller -------------------------------------------------------------------------------------------


def holders(site: Site) -> list[str]:
    return [host.name for host in site.hosts.values() if stands(host, V4) or stands(host, V6)]


@pytest.mark.issue("4.4 VIP: apply, prove; nothing is applied without a proof object")
def test_the_addresses_move_under_a_proof_and_only_so(linked: Site) -> None:
    first, refused, second = move(linked, ("primary", 2, "released"), ("mirror", 3, "none"), ("mirror", 3, "released"))
    assert first == "['mail1.example.test']"
    assert refused.startswith("mail1.example.test holds 10.20.0.100.")
    assert second == "['mail2.example.test']"
    assert holders(linked) == ["mail2"]
    assert (lands_on(linked, V4), lands_on(linked, V6)) == ("mail2", "mail2")
    assert "is of epoch 1, this change of 4" in move(linked, ("primary", 4, "old"))[0]
    assert holders(linked) == [], "let go, and not taken up"
    assert on(linked.client, moving.add, V6, "eth0", True)
    assert (
        f"is taken: {linked.client.mac}, of no host of this pair, answers"
        in move(linked, ("primary", 4, "released"))[0]
    )
    assert holders(linked) == ["client"]


@pytest.mark.issue("4.4 vip show: desired against actual")
def test_show_says_who_has_them_and_who_ought_to(linked: Site) -> None:
    done = linked.mirror.attempt("mailmirror vip show")
    assert done.returncode == 1, done.stderr
    assert "example_test: mail1.example.test is active and doesn't hold 10.20.0.100\n" in done.stdout
    both_on(linked.primary)
    shown = linked.mirror.run("mailmirror vip show").splitlines()
    assert shown[1].split() == ["HOST", "PLACE", "ROLE", "INTERFACE", "MAC", "ADDRESS", "STANDS"]
    first = f"mail1.example.test  primary  active eth0 {linked.primary.mac} {V4} yes (/24, eth0, secondary, permanent)"
    assert shown[2].split() == first.split()
    assert shown[-1].split() == f"mail2.example.test mirror passive eth0 {linked.mirror.mac} {V6} no".split()
    linked.mirror.run(f"ip address add {V6} dev eth0 nodad")
    done = linked.mirror.attempt("mailmirror vip show")
    assert (done.returncode, "mail2.example.test is passive and has fd00:10:20::100 on eth0" in done.stdout) == (
        1,
        True,
    )


@pytest.mark.issue("4.4 vip test: everything without applying")
def test_a_move_is_tried_without_effect(linked: Site) -> None:
    before = [linked.hosts[place].run("ip address show dev eth0") for place in ("primary", "mirror")]
    said = linked.mirror.run("mailmirror vip test")
    assert "example_test: 2 addresses could move (tried; nothing was changed).\n" in said
    assert said.count("nobody else answers") == 4
    both_on(linked.primary)
    said = linked.mirror.run("mailmirror vip test")
    assert f"asked from mail2.example.test, mail1.example.test ({linked.primary.mac}) answers for 10.20.0.100." in said
    for moved in BOTH:
        on(linked.primary, moving.remove, moved, "eth0")
    assert [linked.hosts[place].run("ip address show dev eth0") for place in ("primary", "mirror")] == before
    assert on(linked.client, moving.add, V4, "eth0", True)
    done = linked.mirror.attempt("mailmirror vip test")
    assert (done.returncode, f"10.20.0.100 is taken, {linked.client.mac}, of no host" in done.stdout) == (1, True)


@pytest.mark.issue("4.4 vip show: a host that is away is UNKNOWN")
def test_a_host_that_cannot_be_asked_and_a_wrong_interface_are_told(linked: Site) -> None:
    linked.primary.systemctl("stop", "ssh.service")
    try:
        lay(linked, VIP.replace("eth0", "eth7"))
        done = linked.mirror.attempt("mailmirror vip test")
    finally:
        linked.primary.systemctl("start", "ssh.service")
        lay(linked, VIP)
    assert done.returncode == 1
    assert "who ought to have them isn't known" in done.stdout
    assert "example_test: mail1.example.test: " in done.stdout, "why it couldn't be asked"
    assert "mail2.example.test: this host has no interface 'eth7'" in done.stdout
