"""docs/vip.md, followed: a server's own address becomes the one that moves, and the server's own again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.guide import Guide
from tests.lab.moving import INVENTORY, lands_on, lay, move, serve
from tests.lab.site import Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]

LAB = {
    "192.0.2.10": "10.20.0.11",  # today's, of the primary
    "192.0.2.11": "10.20.0.31",
    "192.0.2.1": "10.20.0.20",
    "192.0.2.0": "10.20.0.0",
    "192\\.0\\.2\\.10": "10\\.20\\.0\\.11",
    "2001:db8::10": "fd00:10:20::11",
    "2001:db8::11": "fd00:10:20::31",
}
"""The guide's addresses, and the lab's."""
GUIDE = Guide("docs/vip.md", LAB)
TODAY = (LAB["192.0.2.10"], LAB["2001:db8::10"])


@contextmanager
def always_reached(site: Site, name: str) -> Iterator[None]:
    """A client connects all the while, by both addresses, and always to that host."""
    over, wrong, count = threading.Event(), [], [0]

    def connect() -> None:
        while not over.wait(0.02):
            for address in TODAY:
                try:
                    found = lands_on(site, address, 2.0)
                except OSError as error:
                    found = str(error)
                count[0] += 1
                if found != name:
                    wrong.append((address, found))

    client = threading.Thread(target=connect)
    client.start()
    try:
        yield
    finally:
        seen = count[0]
        until(lambda: count[0] >= seen + 4, what="it connected afterwards, too")
        over.set()
        client.join(30)
    assert not wrong


@pytest.fixture
def site() -> Iterator[Site]:
    require.hosts()
    with Site(("primary", "mirror", "client"), users=1) as built:
        built.boot()
        built.primary.run("ip address del 10.20.0.100/24 dev eth0; ip route add default via 10.20.0.20")
        for host in (built.primary, built.mirror):
            serve(host)
        built.mirror.run("mailmirror init")
        yield built


@pytest.mark.issue("4.4 VIP: a guide and a test for turning a server's own address into the VIP")
def test_the_guide_turns_a_servers_address_into_one_that_moves_and_back(site: Site) -> None:
    primary, mirror = site.primary, site.mirror
    before = mirror.run(f"cat {INVENTORY}")
    fixed, source = GUIDE.blocks("on mail1")
    pins, see = GUIDE.blocks("on the controller")
    with always_reached(site, "mail1"):
        primary.run(f"set -e\n{fixed}")
        primary.run(f"set -e\n{source}")
        mirror.run(f"set -e\n{pins}")
        mirror.run(f"sed -i 's/ansible_host: {TODAY[0]}/ansible_host: {LAB['192.0.2.11']}/' {INVENTORY}")
        lay(site, f'{{addresses: [{TODAY[0]}/24, "{TODAY[1]}/64"], interface: eth0}}')
        said = mirror.run(f"set -e\n{see}")
    assert "2 addresses could move" in said
    for to, own in (("10.20.0.12", LAB["192.0.2.11"]), ("198.51.100.1", LAB["192.0.2.11"]),
                    ("fd00:10:20::12", LAB["2001:db8::11"])):  # fmt: skip
        assert f"src {own} " in primary.run(f"ip route get {to}"), "what it sends by itself"

    assert move(site, ("mirror", 2, "released")) == ["['mail2.example.test']"]
    with always_reached(site, "mail2"):
        assert "default via 10.20.0.20" in primary.run("ip route")
        assert f"src {LAB['192.0.2.11']} " in primary.run("ip route get 10.20.0.12")
    assert move(site, ("primary", 3, "released")) == ["['mail1.example.test']"]

    mirror.lay({INVENTORY: before})
    [back] = GUIDE.blocks("back on mail1")
    with always_reached(site, "mail1"):
        primary.run(f"set -e\n{back}")
    assert LAB["192.0.2.11"] not in primary.run("ip address")
    assert f"src {TODAY[0]} " in primary.run("ip route get 198.51.100.1")
    assert mirror.attempt("mailmirror status").returncode in (0, 1)
    assert mirror.run("mailmirror sync")
