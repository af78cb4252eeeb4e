"""A mail host looked at from another one: real Postfix and Dovecot, working, wedged, full and gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import post, product
from tests.lab.plan import DOMAIN, PORTS, STORE
from tests.lab.site import PAIR, Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]

SECONDS = 3.0
LOOK = """
import json, sys
from orchestrator.inventory.load import load
from orchestrator.remote.opening import open_conversation
place, heads = json.load(sys.stdin)
[pair] = load("/etc/mailmirror/inventory.yaml").pairs.values()
[host] = [host for host in pair.hosts.values() if host.place == place]
link = open_conversation(host)
print(json.dumps([link.request("observe", head, timeout=20).head for head in heads]))
link.close()
"""
"""Run where the controller is: it asks the agent of a place, over SSH or on its own host."""


@pytest.fixture(scope="module")
def observed() -> Iterator[Site]:
    require.hosts()
    with Site(PAIR, users=3) as site:
        site.boot()
        yield site


def want(site: Site, service: str, port: str, tls: str) -> dict[str, Any]:
    canary = site.users[0]
    address = {"host": "10.20.0.11", "port": PORTS[port]}
    words = {"user": canary.address, "password": canary.password, "recipient": canary.address}
    return {"service": service, "tls": tls, **address, **words}


def wants(site: Site) -> dict[str, dict[str, Any]]:
    return {
        "smtp": want(site, "smtp", "smtp", "starttls"),
        "submission": want(site, "submission", "submission", "starttls"),
        "lmtp": want(site, "lmtp", "lmtp", "none"),
        "imap": want(site, "imap", "imap", "starttls"),
        "imaps": want(site, "imap", "imaps", "implicit"),
        "pop3s": want(site, "pop3", "pop3s", "implicit"),
    }


def look(site: Site, place: str, *heads: dict[str, Any]) -> list[dict[str, Any]]:
    """What the agent on a place answers."""
    asked = [place, [{"seconds": SECONDS, **head} for head in heads]]
    found: list[dict[str, Any]] = json.loads(site.mirror.run([product.PYTHON, "-c", LOOK], stdin=json.dumps(asked)))
    return found


def vitals(site: Site) -> dict[str, Any]:
    """What the primary tells of itself."""
    return look(site, "primary", {"disks": [STORE], "queue": True})[0]


def readings(site: Site) -> dict[str, list[Any]]:
    """From the mirror: name -> [service, ok, how, why, seconds, expires]."""
    asked = wants(site)
    return dict(zip(asked, look(site, "mirror", {"probes": list(asked.values())})[0]["probes"], strict=True))


def canary(site: Site) -> list[Any]:
    asked = wants(site)
    letter = {"sender": "mirror", "send": asked["submission"], "read": asked["imaps"]}
    found: list[Any] = look(site, "mirror", {"canary": letter})[0]["canary"][0]
    return found


def how(found: dict[str, list[Any]]) -> dict[str, str]:
    return {name: reading[2] for name, reading in found.items()}


@pytest.mark.issue("4.1 SMTP banner EHLO STARTTLS RCPT; submission AUTH; IMAP LOGIN SELECT NOOP; LMTP; POP3; expiry")
def test_every_service_of_a_healthy_host_is_ok(observed: Site) -> None:
    found = readings(observed)
    assert how(found) == dict.fromkeys(wants(observed), ""), found
    assert all(reading[1] for reading in found.values())
    ends = {reading[5] for name, reading in found.items() if name != "lmtp"}
    said = observed.primary.run('date +%s -d "$(openssl x509 -noout -enddate -in /etc/ssl/lab.pem | cut -d= -f2)"')
    assert ends == {float(said)}
    assert "improper command pipelining" not in observed.primary.journal("postfix")


@pytest.mark.issue("4.1 a canary message sent, delivered, read and removed")
def test_a_canary_goes_through_the_whole_chain_and_leaves_nothing(observed: Site) -> None:
    user = observed.users[0]
    post.send(observed, user, "a person's letter")
    until(lambda: post.subjects(observed, user) == ["a person's letter"], what="the letter is there")
    for _ in range(2):
        found = canary(observed)
        assert found[1], found
    assert post.subjects(observed, user) == ["a person's letter"]


def test_another_observers_letter_is_left_alone(observed: Site) -> None:
    """Whose name has this one's in it."""
    user = observed.users[0]
    server, header = f"mail1.{DOMAIN}", "X-Mailmirror-Canary: <mirror2>"
    words = ["--server", server, "--to", user.address, "--header", "Subject: another's", "--add-header", header]
    observed.client.run(["swaks", "--silent", "2", "--from", "canary@elsewhere.test", *words])
    until(lambda: "another's" in post.subjects(observed, user), what="it is there")
    assert canary(observed)[1]
    assert "another's" in post.subjects(observed, user)


@pytest.mark.issue("4.1 disk space inodes read-only remount queue age")
def test_a_full_store_fails_the_canary_and_is_told_with_its_disk(observed: Site) -> None:
    primary = observed.primary
    primary.disks.fill(STORE)
    try:
        found = canary(observed)
        assert not found[1]
        assert found[2] in ("timeout", "temporary"), found  # it stays in the queue, or the INBOX can't even be opened
        assert how(readings(observed))["smtp"] == "", "who only asks for a recipient calls it healthy"
        told = vitals(observed)
        assert told["disks"][0][1] < 0.01
        assert (told["queue"][0][0], told["queue"][0][3]) == (1, "")
        assert 0 <= told["clock"][0] - told["queue"][0][1] < 60
    finally:
        primary.disks.free(STORE)
    primary.run("postqueue -f")
    until(lambda: vitals(observed)["queue"][0][0] == 0, what="the queue is empty")
    assert canary(observed)[1]
    assert not [line for line in post.subjects(observed, observed.users[0]) if "canary" in line], (
        "the late one goes too"
    )


@pytest.mark.issue("4.1 read-only remount")
def test_a_read_only_remount_is_told(observed: Site) -> None:
    observed.primary.run(f"mount -o remount,ro {STORE}")
    try:
        assert vitals(observed)["disks"][0][3] is True
    finally:
        observed.primary.run(f"mount -o remount,rw {STORE}")
    assert vitals(observed)["disks"][0][3] is False


@pytest.mark.issue("4.1 never a bare TCP connect; total deadlines everywhere")
def test_a_wedged_dovecot_is_late_though_it_still_accepts(observed: Site) -> None:
    observed.primary.kill("dovecot.service", "STOP")
    try:
        observed.client.run("bash -c '</dev/tcp/10.20.0.11/993'")
        found = readings(observed)
    finally:
        observed.primary.kill("dovecot.service", "CONT")
    late = {name for name, reading in found.items() if reading[2] == "timeout"}
    assert {"imap", "imaps", "pop3s"} <= late, found
    assert found["smtp"][1]
    assert max(reading[4] for reading in found.values()) < 2 * SECONDS
    until(lambda: not any(how(readings(observed)).values()), what="all is well again")


@pytest.mark.issue("4.1 every observer: a stopped service, a frozen host, a host that is gone")
def test_a_stopped_service_a_frozen_host_and_one_that_is_gone_are_three_things(observed: Site) -> None:
    primary = observed.primary
    primary.systemctl("stop", "dovecot.service", "dovecot.socket")
    assert {name: each for name, each in how(readings(observed)).items() if each == "refused"}.keys() == {
        "lmtp", "imap", "imaps", "pop3s",
    }  # fmt: skip
    primary.systemctl("start", "dovecot")
    until(lambda: not any(how(readings(observed)).values()), what="all is well again")
    primary.freeze()
    try:
        assert set(how(readings(observed)).values()) == {"timeout"}
    finally:
        primary.thaw()
    primary.unplug()
    try:
        assert set(how(readings(observed)).values()) <= {"timeout", "unreachable"}
    finally:
        primary.plug()
    until(lambda: not any(how(readings(observed)).values()), what="all is well again")
