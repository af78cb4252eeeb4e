"""Faults that a test can order: links that are cut or slow, disks that are full or read-only."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.lab import post
from tests.lab.host import CommandFailed, Host
from tests.lab.plan import QUEUE, STORE
from tests.lab.site import Site
from tests.lab.waiting import until

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]


def _hears(listener: Host, speaker: Host) -> bool:
    """Whether a UDP datagram gets from one host to the other."""
    place = "/root/heard"
    listener.run(f"rm -f {place}")
    with listener.start(["python3", "-c", _LISTEN, place], stderr=subprocess.DEVNULL) as listening:
        until(lambda: listener.path(place).exists(), what="it listens")
        speaker.run(["python3", "-c", _SPEAK, listener.address])
        return listening.wait() == 0


_LISTEN = """
import socket, sys
door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
door.bind(("", 5555))
door.settimeout(1.2)
open(sys.argv[1], "w").close()
door.recv(10)
"""
_SPEAK = """
import socket, sys, time
door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(12):  # the first ones may wait for an answer to an older question by ARP
    door.sendto(b"hello", (sys.argv[1], 5555))
    time.sleep(0.1)
"""


@pytest.mark.issue("3.2 cut a link both ways, heal it")
def test_a_cut_link_is_silent_both_ways_until_it_heals(fragile_site: Site) -> None:
    site = fragile_site
    site.cut(site.primary, site.mirror)
    assert not _hears(site.mirror, site.primary)
    assert not _hears(site.primary, site.mirror)
    assert _hears(site.witness, site.primary)
    assert "LOWER_UP" in site.primary.run("ip link show dev eth0")
    site.heal(site.primary, site.mirror)
    assert _hears(site.mirror, site.primary)


@pytest.mark.issue("3.2 cut a link one way")
def test_a_link_is_cut_one_way(fragile_site: Site) -> None:
    site = fragile_site
    assert _hears(site.mirror, site.primary) and _hears(site.primary, site.mirror)  # they know their addresses
    site.cut(site.primary, site.mirror, one_way=True)
    assert not _hears(site.mirror, site.primary)
    assert _hears(site.primary, site.mirror)


@pytest.mark.issue("3.2 cut one host from everybody, unplug its cable")
def test_a_host_is_cut_off(fragile_site: Site) -> None:
    site = fragile_site
    site.cut(site.mirror)
    assert not _hears(site.mirror, site.primary)
    assert not _hears(site.client, site.mirror)
    assert _hears(site.client, site.primary)
    site.mirror.power_cut()
    site.mirror.boot()
    assert not _hears(site.mirror, site.primary)  # a cut outlives a boot
    site.heal()
    assert _hears(site.mirror, site.primary)
    site.mirror.unplug()
    assert "NO-CARRIER" in site.mirror.run("ip link show dev eth0")
    site.mirror.plug()
    until(lambda: _hears(site.mirror, site.primary), what="the cable is in again")


@pytest.mark.issue("3.2 slow a link")
def test_a_slow_link_is_slow_both_ways(fragile_site: Site) -> None:
    site = fragile_site
    site.mirror.slow(8_000_000)  # a megabyte a second, less the headers
    for origin, target in ((site.primary, site.mirror), (site.mirror, site.primary)):
        assert 0.9 < _seconds_for(2_000_000, origin, target) < 6
    site.mirror.slow(None)
    assert _seconds_for(2_000_000, site.primary, site.mirror) < 0.9


def _seconds_for(size: int, origin: Host, target: Host) -> float:
    """The time that so many bytes take by TCP from one host to the other."""
    target.run("rm -f /root/listening")
    with target.start(["timeout", "30", "python3", "-c", _SINK]) as sink:
        until(lambda: target.path("/root/listening").exists(), what="it listens")
        began = time.monotonic()
        origin.run(["python3", "-c", _SOURCE, target.address, str(size)])
        assert sink.wait(30) == 0
        return time.monotonic() - began


_SINK = """
import socket
door = socket.create_server(("", 5556))
open("/root/listening", "w").close()
peer, _ = door.accept()
while peer.recv(1 << 16):
    pass
"""
_SOURCE = """
import socket, sys
door = socket.create_connection((sys.argv[1], 5556))
door.sendall(bytes(int(sys.argv[2])))
"""


@pytest.mark.issue("3.2 fill a disk")
def test_letters_wait_while_the_store_is_full(fragile_site: Site) -> None:
    site, user = fragile_site, fragile_site.users[6]
    site.primary.disks.fill(STORE)
    with pytest.raises(CommandFailed, match="No space left"):
        site.primary.run(["dd", "if=/dev/zero", f"of={STORE}/more", "bs=64k", "count=1"], user="vmail")
    post.send(site, user, "later", body="x" * 9000)
    until(lambda: "status=deferred" in site.primary.journal("postfix*"), what="the delivery waits")
    site.primary.disks.free(STORE)
    site.primary.run("postqueue -f")
    until(lambda: post.subjects(site, user) == ["later"], what="it is delivered")


@pytest.mark.issue("3.2 fill a disk: the queue's")
def test_a_full_queue_takes_no_letters(fragile_site: Site) -> None:
    site = fragile_site
    site.primary.disks.fill(QUEUE)
    refused = post.attempt(site, site.users[7], "refused")
    assert refused.returncode != 0 and "Insufficient system storage" in refused.stdout + refused.stderr


@pytest.mark.issue("3.2 make a file system read-only")
def test_a_read_only_store_is_read_only(fragile_site: Site) -> None:
    host = fragile_site.mirror
    host.disks.read_only(STORE)
    with pytest.raises(CommandFailed, match="Read-only file system"):
        host.run(f"touch {STORE}/x")
    host.run(f"touch {QUEUE}/x")
    host.disks.writable(STORE)
    host.run(f"touch {STORE}/x && rm {STORE}/x")
