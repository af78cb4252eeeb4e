"""A pair with a lease whose guards are laid down, brought up to date and taken away while clients are at work."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from tests.lab import plan, product
from tests.lab.host import Host
from tests.lab.site import PAIR, Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guards")]

TTL = 8.0
PAIR_OF_HOSTS = ("primary", "mirror")
PLACES = (*PAIR_OF_HOSTS, "witness")
CLIENT = """
import imaplib, json, ssl, sys, threading, time
host, user, password = sys.argv[1:]
loose = ssl._create_unverified_context()
ended, said = threading.Event(), {"count": 0, "slowest": 0.0, "error": ""}
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
try:
    session = imaplib.IMAP4_SSL(host, ssl_context=loose, timeout=10)
    session.login(user, password)
    print("ready", flush=True)
    while not ended.wait(0.02):
        began = time.monotonic()
        session.noop()
        if said["count"] % 5 == 0:
            other = imaplib.IMAP4_SSL(host, ssl_context=loose, timeout=10)
            other.login(user, password)
            other.logout()
        said["count"] += 1
        said["slowest"] = max(said["slowest"], time.monotonic() - began)
except Exception as error:
    said["error"] = repr(error)
print(json.dumps(said), flush=True)
"""
"""One session that never ends and a new one every now and then, until its input ends."""


@pytest.fixture(scope="module")
def leased() -> Iterator[Site]:
    require.hosts()
    with Site((*PAIR, "witness"), users=2) as site:
        lay_inventory(site, {})
        site.boot()
        site.mirror.run("mailmirror init --yes", timeout=60)
        with at_work(site) as told:
            for place in PAIR_OF_HOSTS:
                agent(site, "install", place, *(["--guard"] if place == "primary" else []))
            assert status(site.primary)["serves"] and not status(site.primary)["armed"]
            lay_inventory(site, {"mm_lease": {"ttl": f"{TTL:g}s"}})
            for place in PLACES:  # the active first: nobody can grant it anything yet
                agent(site, "install", place, *(["--guard"] if place == "primary" else []))
        assert not told["error"], told
        until(lambda: status(site.primary)["armed"], within=30, what="the lease is armed")
        yield site


def lay_inventory(site: Site, more: dict[str, Any]) -> None:
    inventory: dict[str, Any] = product.inventory(PLACES)
    address = {"addresses": [f"{plan.SERVICE_ADDRESS}/24"], "interface": "eth0"}
    inventory["mailmirror"]["vars"] |= {"mm_vip": address, **more}
    site.mirror.lay({"/etc/mailmirror/inventory.yaml": yaml.safe_dump(inventory, sort_keys=False)})


def agent(site: Site, verb: str, place: str, *words: str) -> Any:
    line = ["mailmirror", "agent", verb, site.hosts[place].name + ".example.test", "--yes", "--format", "json"]
    return json.loads(site.mirror.run([*line, *words], timeout=60))


def status(host: Host) -> Any:
    return json.loads(host.run("mailmirror-guard status --format json"))


@contextmanager
def at_work(site: Site) -> Iterator[dict[str, Any]]:
    """A client at work on the users' address meanwhile; afterwards, what it saw."""
    told: dict[str, Any] = {}
    user = site.users[0]
    words = [product.PYTHON, "-c", CLIENT, plan.SERVICE_ADDRESS, user.address, user.password]
    with site.client.start(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None and client.stdin is not None
        told["error"] = "it didn't begin"
        assert client.stdout.readline() == "ready\n"
        try:
            yield told
        finally:
            client.stdin.close()
            told |= json.loads(client.stdout.readline())
            print(f"the client: {told}")


@pytest.mark.issue("4.2 agent update: the guard is started anew, and the lease isn't lost")
@pytest.mark.parametrize("place", PLACES)
def test_clients_notice_nothing_of_an_update(leased: Site, place: str) -> None:
    host = leased.hosts[place]
    before = status(leased.primary)["epoch"]
    host.run("echo >> /etc/mailmirror/guard.json")
    with at_work(leased) as told:
        done = agent(leased, "update", place)["guard"]
    print(f"{place}: started anew in {done['restarted']:.2f} s")
    assert not told["error"] and told["count"] > 10, told
    until(lambda: status(leased.primary)["armed"], within=30, what="the lease is armed again")
    assert status(leased.primary)["epoch"] == before


@pytest.mark.issue("4.2 agent remove: an active host goes on serving, the witness first or last")
def test_clients_notice_nothing_when_all_is_taken_away(leased: Site) -> None:
    with at_work(leased) as told:
        for place in ("witness", "primary", "mirror"):
            typed = ["--active", "mail1.example.test"] if place == "primary" else []
            agent(leased, "remove", place, *typed)
    assert not told["error"] and told["count"] > 10, told
    assert leased.primary.run("nft list tables") == ""
    for place in PLACES:
        assert leased.hosts[place].attempt("systemctl cat mailmirror-guard.service").returncode != 0
