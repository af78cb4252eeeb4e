"""The outside client on a whole site, while mailmirror replicates and is hurt: what was promised holds at both ends."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import product
from tests.lab.following import become_equal, follow_live
from tests.lab.host import Host
from tests.lab.oracle import reading, witness
from tests.lab.oracle import site as outside
from tests.lab.oracle.caches import Cache, Listing, plain
from tests.lab.oracle.run import judged
from tests.lab.oracle.table import lines
from tests.lab.plan import STORE
from tests.lab.site import CA, PAIR, Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]
USERS, RATE, SEED = 50, 50, 3
SECONDS = float(os.environ.get("LAB_SECONDS", "120"))


@pytest.fixture(scope="module")
def pair() -> Iterator[Site]:
    """A site that replicates live, with fifty users."""
    require.hosts()
    with Site(PAIR, users=USERS) as site:
        site.boot()
        follow_live(site)
        yield site


def test_the_description_of_a_site_is_what_the_outside_client_reads(pair: Site) -> None:
    told = pair.describe()
    read = outside.parse(told.as_json())
    assert [(mx.preference, mx.host, mx.address) for mx in read.exchanges] == [
        (mx.preference, mx.host, mx.address) for mx in told.mx
    ]
    assert {place.name: (place.address, place.veth) for place in read.places} == {
        name: (place.address, place.veth) for name, place in told.places.items()
    }
    assert (read.domain, read.nameserver, read.service_address) == (told.domain, told.nameserver, told.service.address)
    assert [(user.address, user.password) for user in read.users] == [(u.address, u.password) for u in told.users]
    assert read.port("imaps") == told.ports["imaps"]


def _drained(host: Host) -> bool:
    host.run("postqueue -f")
    return "empty" in host.run("postqueue -p")


@pytest.mark.issue(
    "3.5 replication proven under load: agent killed, link cut, controller restarted, mirror power-cut; both are equal"
)
@pytest.mark.issue("3.5 a Dovecot on the mirror shows every account alike; the client's cache is valid there")
@pytest.mark.issue("3.3 the outside client on the lab's site: its verdict is sound")
def test_what_was_promised_under_load_holds_while_replication_is_hurt(pair: Site, tmp_path: Path) -> None:
    described = {**json.loads(pair.describe().as_json()), "ca": CA}
    pair.client.path("/root/site.json").write_text(json.dumps(described))
    site = outside.parse(json.dumps(described))
    words = ["--site", "/root/site.json", "--seed", str(SEED), "--seconds", str(SECONDS), "--rate", str(RATE)]
    command = [product.PYTHON, "-m", "tests.lab.oracle", *words, "--dir", "/root/oracle"]
    wire = tmp_path / "wire"
    with witness.Standing(site, wire, net=pair.describe().network):
        oracle = pair.client.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for hurt in (_kill_the_agent, _cut_the_link, _restart_the_controller, _cut_the_mirrors_power):
            time.sleep(SECONDS / 6)  # the load goes on by the clock
            hurt(pair)
        said = oracle.communicate(timeout=SECONDS + 90)[0]
    kept = pair.client.path("/root/oracle")
    until(lambda: _drained(pair.primary) and _drained(pair.mirror), within=30, what="the queues are empty")
    verdict = judged(kept, reading.load(kept / "reading.json"), wire, [], pair.primary.journal("postfix*"))
    table = said + "\n" + "\n".join(lines(verdict))
    assert verdict.sound, table
    assert verdict.counts["acknowledged"] > 100 and verdict.counts["answers on the wire"] > 1_000, table
    assert set(verdict.serving) == {"primary"}, table
    become_equal(pair)
    _the_mirror_shows_the_same(pair, site)


def _kill_the_agent(pair: Site) -> None:
    pair.primary.kill_command("--allow replication")


def _cut_the_link(pair: Site) -> None:
    pair.cut(pair.primary, pair.mirror)
    time.sleep(1.0)
    pair.heal()


def _restart_the_controller(pair: Site) -> None:
    pair.mirror.kill(product.UNIT)
    pair.mirror.systemctl("restart", product.UNIT)


def _cut_the_mirrors_power(pair: Site) -> None:
    pair.mirror.power_cut()
    pair.mirror.boot()
    pair.mirror.systemctl("start", product.UNIT)


def _the_mirror_shows_the_same(pair: Site, site: outside.Site) -> None:
    """The mirror's Dovecot, started by hand while nothing replicates, shows what the primary's shows: every account."""
    on_primary = _read(pair, site, pair.primary)
    become_equal(pair, deep=False)
    pair.mirror.systemctl("stop", product.UNIT)
    pair.mirror.systemctl("start", "dovecot")
    on_mirror = _read(pair, site, pair.mirror)
    assert len(on_primary) == USERS and sum(map(len, on_primary.values())) > 3 * USERS
    for user, folders in on_primary.items():
        assert on_mirror[user].keys() == folders.keys(), user
        for name, folder in folders.items():
            there = on_mirror[user][name]
            told = f"{user} {name}\n{_uidlists(pair, user)}"
            assert (there.validity, there.messages) == (folder.validity, folder.messages), told
            cache = Cache()
            cache.take(_listing(folder))
            assert cache.fresh(_listing(there)) == set(), told
            assert list(cache.faults(_listing(there))) == [], told
    assert "Error" not in pair.mirror.journal("dovecot")


def _read(pair: Site, site: outside.Site, host: Host) -> dict[str, dict[str, reading.Folder]]:
    with pair.client.network():
        return reading.read(site, host.address, None)


def _listing(folder: reading.Folder) -> Listing:
    """As the client's cache would be told. Modseqs are in Dovecot's indexes, which don't travel here."""
    flags = {message.uid: plain(message.flags) for message in folder.messages}
    return Listing(folder.validity, folder.uidnext, 0, flags, {message.uid: message.id for message in folder.messages})


def _uidlists(pair: Site, user: str) -> str:
    """Both places' uidlists of the inbox, and what stands in it: to see what went wrong."""
    name, _, domain = user.partition("@")
    line = f"cd {STORE}/{domain}/{name}/Maildir && head -50 dovecot-uidlist && ls new cur"
    return "\n".join(f"{host.name}: {host.attempt(line).stdout}" for host in (pair.primary, pair.mirror))
