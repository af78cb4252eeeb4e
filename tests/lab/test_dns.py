"""The moving names on a real BIND: what it takes, what it refuses, and that nothing moves without a proof."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import names, plan, product
from tests.lab.files import File
from tests.lab.site import Site
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]

KEY = "/etc/mailmirror/tsig.key"
INVENTORY = "/etc/mailmirror/inventory.yaml"
FLIP = """
import sys
from orchestrator.inventory import secret
from orchestrator.inventory.load import load
from orchestrator.traffic import tsig
from orchestrator.traffic.dns import Zone
from orchestrator.traffic.pointing import Mark, planned
[pair] = load("/etc/mailmirror/inventory.yaml").pairs.values()
epoch, active, address = sys.argv[1:]
zone = Zone(pair.dns.server, pair.dns.zone, pair.dns.names, tsig.parse(secret.read(pair.dns.tsig), "key"))
plan = planned(zone.seen(), Mark(int(epoch), active), [address], pair.dns.ttl)
if plan is not None:
    zone.point(plan, 10)
"""
"""What the journeys do: seen, planned, changed, proven."""


@pytest.fixture(scope="module")
def named() -> Iterator[Site]:
    require.hosts()
    with Site(("nameserver", "primary", "mirror", "client"), users=1) as site:
        site.boot()
        lay(site, names.key_file(site.tsig), [plan.SERVICE])
        yield site


def lay(site: Site, key: str, moving: list[str]) -> None:
    """The key and the names, as an operator would write them down."""
    server = plan.SEATS["nameserver"].address
    said = f"{{server: {server}, zone: {plan.DOMAIN}, names: [{', '.join(moving)}], ttl: 5, tsig: {{file: {KEY}}}}}"
    site.mirror.lay({KEY: File(key, 0o600)})
    site.mirror.run(f"sed -i '/mm_dns/d; s|^    mm_state_dir|    mm_dns: {said}\\n&|' {INVENTORY}")


def points_at(site: Site) -> str:
    """What a client is told."""
    return site.client.run(
        ["dig", "+short", f"@{plan.SEATS['nameserver'].address}", f"{plan.SERVICE}.{plan.DOMAIN}"]
    ).strip()


def flip(site: Site, epoch: int, place: str) -> str:
    """Move the names there; what was said where that failed, "" else."""
    seat = plan.SEATS[place]
    done = site.mirror.attempt([product.PYTHON, "-c", FLIP, str(epoch), seat.full_name, seat.address])
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


@pytest.mark.issue("4.4 dns test: rights dry-run by the false-prerequisite flip")
@pytest.mark.issue("4.4 dns show")
def test_the_key_is_tried_without_effect(named: Site) -> None:
    before = points_at(named)
    said = named.mirror.run("mailmirror dns test")
    assert (
        "the key mailmirror may change the names (tried; nothing was changed); 1 name server of example.test agree"
        in said
    )
    shown = named.mirror.run("mailmirror dns show").splitlines()
    assert shown[1].split() == ["SERVER", "SERIAL", "NAME", "ADDRESSES", "TTL", "EPOCH"]
    assert shown[2].split()[2:5] == [plan.SERVICE, before, "5"]
    assert points_at(named) == before


@pytest.mark.issue("4.4 compare-and-swap epoch TXT in the same update, read back from every authoritative server")
@pytest.mark.issue("4.P an old epoch, a second controller with a stale state: refused, told, nothing changed")
def test_the_name_moves_once_per_epoch(named: Site) -> None:
    assert flip(named, 1, "primary") == ""
    assert points_at(named) == plan.SEATS["primary"].address
    assert flip(named, 2, "mirror") == ""
    assert points_at(named) == plan.SEATS["mirror"].address
    assert "The zone is at epoch 2 with mail2.example.test active, this change is of 2" in flip(named, 2, "primary")
    assert "this change is of 1" in flip(named, 1, "primary")
    assert points_at(named) == plan.SEATS["mirror"].address
    assert "2, mail2.example.test" in named.mirror.run("mailmirror dns show")


@pytest.mark.issue("4.P DNS server refusing: no flip")
def test_a_key_that_may_not_and_one_that_is_wrong_are_told(named: Site) -> None:
    before = points_at(named)
    lay(named, names.key_file(named.tsig), ["ns"])
    done = named.mirror.attempt("mailmirror dns test")
    assert (done.returncode, "refuses the key mailmirror: REFUSED" in done.stderr) == (77, True), done.stderr
    lay(named, names.key_file(names.secret()), [plan.SERVICE])
    done = named.mirror.attempt("mailmirror dns test")
    assert (done.returncode, "doesn't take the TSIG key" in done.stderr) == (77, True), done.stderr
    lay(named, "nonsense", [plan.SERVICE])
    done = named.mirror.attempt("mailmirror dns test")
    assert (done.returncode, "holds no TSIG key" in done.stderr) == (78, True), done.stderr
    lay(named, names.key_file(named.tsig), [plan.SERVICE])
    assert points_at(named) == before


@pytest.mark.issue("4.P DNS server away: no flip without proof")
def test_a_name_server_that_is_away_or_hangs_moves_nothing(named: Site) -> None:
    before = points_at(named)
    server = named.hosts["nameserver"]
    server.freeze()
    try:
        assert "doesn't answer" in flip(named, 9, "primary")
    finally:
        server.thaw()
    server.systemctl("stop", "named")
    done = named.mirror.attempt("mailmirror dns test")
    assert (done.returncode, "doesn't answer" in done.stderr) == (69, True)
    server.systemctl("start", "named")
    assert points_at(named) == before
