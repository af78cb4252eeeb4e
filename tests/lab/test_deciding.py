"""Who decides, on real hosts: the state follows what happens to the primary, and nothing moves that may not.

mm_mode is observe at first: what would be done is told, kept, and can be decided again. Then it is auto, and is done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import plan, product
from tests.lab.decided import become, decide, lay, pair, shell
from tests.lab.guarded import CONNECT, NAMES, guarded_site, serves, status
from tests.lab.site import Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guards")]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A pair with guards, a witness and a canary; the daemon on the mirror decides, and only tells."""
    require.hosts()
    with guarded_site() as site:
        decide(site, mm_mode="observe")
        yield site


def decisions(site: Site) -> list[dict[str, Any]]:
    return list(json.loads(site.mirror.run("mailmirror history --decisions --format json")))


def begun(site: Site) -> list[dict[str, Any]]:
    """The journeys so far, those of drills apart."""
    return [row for row in json.loads(shell(site, "history", "--format", "json")) if not row["part_of"]]


@pytest.mark.issue("5.1 the daemon decides: a healthy guarded site becomes PROTECTED, or says why not")
def test_a_healthy_site_becomes_protected_and_before_that_says_why_not(site: Site) -> None:
    shell(site, "verify")
    found = become(site, "PROTECTED", within=100)
    assert found["readiness"]["ready"] and "switchover" in found["may"]
    print(shell(site, "status"), shell(site, "explain"))
    assert f"Epoch {status(site.primary)['epoch']}, the primary is active." in shell(site, "explain")
    exposed = [each for each in decisions(site) if each["state"] == "EXPOSED"]
    assert any("Its readiness wasn't looked at lately." in each["why"] for each in exposed), exposed
    url = f"http://127.0.0.1:{plan.METRICS}/metrics"
    ask = f"import urllib.request as u; print(u.urlopen({url!r}).read().decode())"
    assert f'mailmirror_state{{pair="{product.PAIR}",state="PROTECTED"}} 1.0' in site.mirror.run(["python3", "-c", ask])


@pytest.mark.issue("5.5 drill in the lab: there and home, each with how long users waited")
def test_a_drill_moves_them_there_and_home_and_is_kept(site: Site) -> None:
    """Ordered of the daemon, by which the pair has to be PROTECTED, and is again."""
    become(site, "PROTECTED", within=60)
    before = status(site.primary)["epoch"]
    plan = shell(site, "drill", "--dry-run")
    assert "switchover from the primary" in plan and "failback from the mirror" in plan
    assert status(site.primary)["epoch"] == before and serves(site)
    words = ["mailmirror", "drill", "--yes", "--reason", "sunday", "--format", "json"]
    asked = site.mirror.attempt(words, timeout=150)
    print(asked.stderr, asked.stdout)
    told = json.loads(asked.stdout)
    parts = told["parts"]
    assert told["state"] == "done" and [each["state"] for each in parts] == ["done", "done"]
    assert all(0 < each["away"] < 30 for each in parts), parts
    assert serves(site) and not serves(site, site.mirror) and status(site.primary)["epoch"] == before + 2
    [drill] = json.loads(shell(site, "history", "--drills", "--format", "json"))
    assert (drill["state"], drill["reason"], drill["parts"]) == ("done", "sunday", parts)
    last = json.loads(shell(site, "history", "--format", "json"))
    assert [(each["journey"], each["part_of"]) for each in last] == [
        ("switchover", drill["id"]), ("failback", drill["id"]),
    ]  # fmt: skip
    shell(site, "verify")  # equality is proven anew in each direction
    become(site, "PROTECTED", within=120)


@pytest.mark.issue("5.5 mm_mode: observe only tells, confirm asks")
def test_a_primary_that_freezes_is_suspected_then_down_and_observe_moves_nobody(site: Site) -> None:
    become(site, "PROTECTED")
    epoch = status(site.witness)["epoch"]
    site.primary.freeze()
    try:
        suspected = become(site, "SUSPECT", within=20)
        assert suspected["may"] and "failover" in suspected["may"]
        become(site, "DOWN", within=30)
        until(lambda: pair(site)["decision"]["would"] == "failover", within=20, what="it would fail over")
        found = pair(site)
        print(shell(site, "status"), shell(site, "explain"))
        assert "mm_mode is observe." in found["decision"]["held_back"]
        assert "Would fail over." in shell(site, "explain")
        log = site.mirror.journal(product.UNIT)
        assert "Doesn't fail over unasked: mm_mode is observe." in log
        [last] = [each for each in decisions(site) if each["would"] == "failover"][-1:]
        assert last["does"] == "would fail over" and any("is DOWN" in each for each in last["evidence"])
        assert f"Decision {last['number']} " in shell(site, "replay", str(last["number"]))
        site.mirror.systemctl("restart", product.UNIT)
        become(site, "DOWN", within=40)
    finally:
        site.primary.thaw()
    become(site, "PROTECTED", within=120)
    assert status(site.witness)["epoch"] == epoch and serves(site), "nothing has moved"


@pytest.mark.issue("5.5 a lease with pause gives the holder an open-ended grant first")
def test_a_pause_lets_the_active_serve_without_an_end_and_its_end_takes_that_back(site: Site) -> None:
    shell(site, "pause", "--for", "10m", "--reason", "new switch")
    until(lambda: status(site.primary)["left"] is None, within=20, what="a grant without an end")
    assert "mailmirror pause: by root, new switch" in status(site.witness)["granted"]["leaving"]
    assert "Paused until" in shell(site, "status")
    shell(site, "resume")
    until(lambda: status(site.primary)["armed"] and status(site.witness)["armed"], within=40, what="armed again")
    assert site.mirror.attempt(["mailmirror", "resume"]).returncode == 3


MAIN_PID = "systemctl show --value --property=MainPID dovecot.service"


def by_address(site: Site) -> bool:
    """Whether IMAP greets the client at the address that moves."""
    words = ["python3", "-c", CONNECT, plan.SERVICE_ADDRESS, str(plan.PORTS["imap"])]
    return site.client.attempt(words).returncode == 0


@pytest.mark.issue("5.1 services that fail are restarted first, by the agent, where mm_restart says so")
def test_a_service_that_hangs_is_restarted_and_nobody_is_moved(site: Site) -> None:
    """SIGSTOP, not an end: its guard would start one that ended."""
    lay(site, mm_mode="auto", mm_restart={"services": ["imap"]})
    become(site, "PROTECTED", within=60)
    epoch, first = status(site.witness)["epoch"], site.primary.run(MAIN_PID)
    site.primary.run("systemctl kill --signal=STOP dovecot.service")
    until(lambda: not serves(site), within=10, what="it doesn't answer")
    try:
        until(lambda: "The restart is " in site.mirror.journal(product.UNIT), within=60, what="it is restarted")
        until(lambda: serves(site), within=10, what="it serves again")
        become(site, "PROTECTED", within=60)
    finally:
        print(shell(site, "history", "--decisions"), site.mirror.journal(product.UNIT)[-3000:])
    assert "The restart is done" in site.mirror.journal(product.UNIT)
    assert site.primary.run(MAIN_PID) != first
    assert any(each["restart"] and each["by"] == "automatic" for each in decisions(site))
    assert status(site.witness)["epoch"] == epoch and not begun(site)


@pytest.mark.issue("5.1 a power cut leads to a failover without any order")
def test_a_power_cut_moves_the_users_without_any_order(site: Site) -> None:
    become(site, "PROTECTED", within=60)
    assert by_address(site)
    cut = time.monotonic()
    site.primary.power_cut()
    until(lambda: not by_address(site), within=5, every=0.2, what="nobody answers")
    try:
        until(lambda: by_address(site), within=40, every=0.2, what="the mirror answers")
    finally:
        print(site.mirror.run("mailmirror status; mailmirror explain; mailmirror history --decisions"))
        print(site.mirror.journal(product.UNIT)[-6000:])
    took = time.monotonic() - cut
    [operation] = begun(site)
    print(f"from the cut to service {took:.1f} s\n", shell(site, "explain", operation["operation"]))
    assert status(site.mirror)["role"] == "active" and (operation["journey"], operation["by"]) == (
        "failover", "automatic"
    )  # fmt: skip
    assert "comes out the same" in shell(site, "replay", operation["operation"])


@pytest.mark.issue("5.4 a flapping host doesn't ping-pong (cooldown); failback is never automatic")
def test_the_primary_that_returns_isnt_failed_back_to(site: Site) -> None:
    alone = become(site, "ALONE", within=60)
    assert alone["decision"]["cooldown_until"] and alone["active"] == NAMES["mirror"]
    site.primary.boot()
    until(lambda: status(site.primary)["role"] == "passive", within=40, what="it knows that it isn't active")
    until(lambda: "rejoin" in pair(site)["may"], within=30, what="it is seen as the older one")
    found = become(site, "ALONE")
    assert "failover" not in found["may"] and by_address(site) and serves(site, site.mirror)
    assert len(begun(site)) == 1
    assert site.mirror.attempt(["mailmirror", "ack", product.PAIR, "cooldown", "--yes"]).returncode == 0
    until(lambda: not pair(site)["decision"]["cooldown_until"], within=10, what="the cooldown has ended")
