"""The doctor on a whole guarded site: ready, then one thing broken after the other, and just that is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from tests.lab import names, plan, product
from tests.lab.disks import FILLER
from tests.lab.files import File
from tests.lab.following import is_live
from tests.lab.guarded import INVENTORY, guarded_site, status
from tests.lab.site import Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guards")]

KEY, CANARY = "/etc/mailmirror/tsig.key", "/etc/mailmirror/canary"
LONGEST = 45.0
"""Seconds within which the doctor has said something, whatever is dead."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    require.hosts()
    with guarded_site() as site:
        told: Any = yaml.safe_load(site.mirror.run(f"cat {INVENTORY}"))
        told["mailmirror"]["vars"] |= {
            "mm_probe": {"services": ["smtp", "submission", "imap"]},
            "mm_canary": {"address": site.users[-1].address, "password": {"file": CANARY}, "every": "5s"},
            "mm_dns": {
                "server": plan.SEATS["nameserver"].address, "zone": plan.DOMAIN, "names": [plan.SERVICE],
                "ttl": names.TTL, "tsig": {"file": KEY}, "mx": {"name": plan.DOMAIN},
            },
        }  # fmt: skip
        site.mirror.lay(
            {
                INVENTORY: yaml.safe_dump(told, sort_keys=False),
                CANARY: File(site.users[-1].password, 0o600),
                KEY: File(names.key_file(site.tsig), 0o600),
            }
        )
        site.mirror.systemctl("start", product.UNIT)
        until(lambda: is_live(site), within=20, what="it follows live")
        site.mirror.run("mailmirror verify", timeout=60)
        yield site


def doctor(site: Site) -> dict[str, Any]:
    """What it says of the pair; its exit code is held against that."""
    done = site.mirror.attempt("mailmirror doctor --format json", timeout=LONGEST)
    [told] = json.loads(done.stdout)
    assert done.returncode == (0 if told["ready"] else 1), done.stderr
    return dict(told)


def stops(site: Site) -> set[str]:
    """The checks that stop a failover."""
    return {each["name"] for each in doctor(site)["checks"] if each["needed"] and each["state"] in ("red", "unknown")}


def by_the_daemon(site: Site) -> dict[str, Any]:
    """The readiness that it found last."""
    [told] = json.loads(site.mirror.run("mailmirror status --format json"))["pairs"]
    return dict(told["readiness"])


@contextmanager
def mended(mend: Callable[[], object]) -> Iterator[None]:
    """Afterwards. That all is well again the next test finds out: it sees nothing but what it breaks itself."""
    try:
        yield
    finally:
        mend()


WORDS = "Automatic failover is READY"
LACKS = {"paused", "clock", "archive", "dns"}
"""What the lab lacks: NTP, an archive, short times to live, and it may stand on a virtual machine."""


@pytest.mark.issue("4.4 doctor: a healthy guarded site is ready apart from what the lab lacks")
def test_a_healthy_site_is_ready(site: Site) -> None:
    told = until(lambda: told if (told := doctor(site))["ready"] else None, within=30, what="it is ready")
    assert told is not None and told["active"] == "mail1.example.test" and not told["reasons"]
    assert {each["name"] for each in told["checks"] if each["state"] != "ok"} <= LACKS
    words = site.mirror.run("mailmirror doctor", timeout=LONGEST)
    until(lambda: by_the_daemon(site)["ready"], within=60, what="the daemon has found the same by itself")
    metrics = site.mirror.run(f"curl -s http://127.0.0.1:{plan.METRICS}/metrics")
    assert 'mailmirror_failover_ready{check="lease",pair="example_test"} 1.0' in metrics
    assert WORDS in words and "There is no archive host" in words and " do: Give a host mm_place: archive" in words


@pytest.mark.issue("4.4 doctor: a witness that has left: the lease isn't armed")
def test_a_witness_whose_guard_has_left_disarms_the_lease(site: Site) -> None:
    def back() -> None:
        site.witness.systemctl("start", "mailmirror-guard")
        places = (site.primary, site.mirror, site.witness)
        until(lambda: all(status(host)["armed"] for host in places), within=30, what="it is armed again, as all say")

    with mended(back):
        site.witness.systemctl("stop", "mailmirror-guard")
        until(lambda: stops(site) == {"guards", "lease"}, within=30, what="the lease isn't armed")


@pytest.mark.issue("4.4 doctor: disk: a mirror without room")
def test_a_mirror_without_room_is_no_place_to_go(site: Site) -> None:
    with mended(lambda: site.mirror.disks.free(plan.STORE)):
        room = int(site.mirror.run(f"df --output=avail -B1 {plan.STORE} | tail -1"))
        site.mirror.run(f"fallocate -l {room - 5_000_000} {plan.STORE}/{FILLER}")
        assert stops(site) == {"disk"}


@pytest.mark.issue("4.4 doctor: address free")
def test_an_address_that_a_stranger_has_is_not_free(site: Site) -> None:
    moving = f"{plan.SERVICE_ADDRESS}/24 dev eth0"
    with mended(lambda: site.client.run(f"ip address del {moving}")):
        site.client.run(f"ip address add {moving}")
        assert stops(site) == {"address"}
        [address] = [each for each in doctor(site)["checks"] if each["name"] == "address"]
        assert site.client.mac in address["found"]


@pytest.mark.issue("4.4 doctor: two observers, one of which is cut off")
def test_an_observer_that_is_cut_off_from_the_active_is_none(site: Site) -> None:
    with mended(site.heal):
        site.cut(site.witness, site.primary)
        assert stops(site) == {"observers"}


@pytest.mark.issue("4.4 doctor: DNS rights")
def test_a_key_that_the_name_server_does_not_take(site: Site) -> None:
    key = {KEY: File(names.key_file(site.tsig), 0o600)}
    with mended(lambda: site.mirror.lay(key)):
        site.mirror.lay({KEY: File(names.key_file(names.secret()), 0o600)})
        assert stops(site) == {"dns"}


@pytest.mark.issue("4.4 doctor: a host that doesn't answer is UNKNOWN, and nothing hangs")
def test_a_primary_that_is_unplugged_makes_its_own_facts_unknown_in_time(site: Site) -> None:
    with mended(site.primary.plug):
        site.primary.unplug()
        began = time.monotonic()
        told = doctor(site)
        assert time.monotonic() - began < LONGEST
        found = {each["name"]: each for each in told["checks"]}
        for name in ("guards", "clock", "address"):
            assert found[name]["state"] == "unknown" and "mail1" in found[name]["found"], found[name]
        assert not told["ready"] and found["queueing"]["state"] == found["mx"]["state"] == "ok"
