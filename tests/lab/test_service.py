"""The daemon as the unit that `mailmirror service install` lays down, under a real systemd: watched and sandboxed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import post, product
from tests.lab.following import become_equal, is_live
from tests.lab.generation import chosen
from tests.lab.host import Host
from tests.lab.plan import STORE
from tests.lab.site import PAIR, Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("service")]

WATCHDOG = 4  # seconds; the unit's own would make the test wait
DROP_IN = f"[Service]\nWatchdogSec={WATCHDOG}s\nRestartSec=200ms\n"
INVENTORY = "/etc/mailmirror/inventory.yaml"
EXPOSURE = {product.UNIT: 1.5, "mailmirror-agent@x.service": 5.3}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Follows live, as a service; everybody has a letter."""
    require.hosts()
    with Site(PAIR, users=3) as built:
        mirror = built.mirror
        binds, files = product.for_everybody(chosen())
        mirror.binds += binds
        mirror.lay(files)
        built.boot()
        mirror.lay({f"/etc/systemd/system/{product.UNIT}.d/test.conf": DROP_IN})
        mirror.run("mailmirror init && mailmirror sync && mailmirror service install", timeout=60)
        until(lambda: is_live(built), within=20, what="it follows live")
        for user in built.users:
            post.send(built, user, "one")
        yield built


def shown(host: Host, *names: str, unit: str = product.UNIT) -> list[str]:
    """The unit's properties."""
    told = host.run(["systemctl", "show", unit, *(f"--property={name}" for name in names)])
    known = dict(line.split("=", 1) for line in told.splitlines())
    return [known[name] for name in names]


def standing(site: Site) -> tuple[Any, ...]:
    """All that a stop or a restart must leave alone: markers, and what serves where."""
    markers = [host.run(f"cat {STORE}/.mailmirror/store.json") for host in (site.primary, site.mirror)]
    roles = [{key: json.loads(text)[key] for key in ("role", "epoch", "place")} for text in markers]
    serving = [host.attempt("systemctl is-active postfix dovecot").stdout for host in (site.primary, site.mirror)]
    addresses = [host.run("ip -brief address show dev eth0") for host in (site.primary, site.mirror)]
    return roles, serving, addresses


@pytest.mark.issue("6.1 type notify: it is ready when the desk answers")
@pytest.mark.issue("6.1 unprivileged and sandboxed, what needs root goes through the agent's own unit and its socket")
def test_it_boots_to_ready_as_a_user_of_its_own_and_the_roots_agent_does_the_stores_work(site: Site) -> None:
    mirror = site.mirror
    state, kind, user, pid, text = shown(mirror, "ActiveState", "Type", "User", "MainPID", "StatusText")
    assert (state, kind, user) == ("active", "notify", "mailmirror")
    assert text == f"{product.PAIR} live"
    assert mirror.run(f"ps -o user= -p {pid}").split() == ["mailmir+"] or "mailmirror" in mirror.run(
        f"ps -o user:20= -p {pid}"
    )
    assert re.search(r"CapEff:\s*0+\n", mirror.run(f"cat /proc/{pid}/status"))
    assert mirror.run("stat -c '%a %U %G' /run/mailmirror/control.sock").split() == ["660", "mailmirror", "mailmirror"]
    assert mirror.run("stat -c '%a %U %G' /run/mailmirror-agent/agent.sock").split() == ["660", "root", "mailmirror"]
    agents = mirror.run("systemctl list-units --plain --no-legend 'mailmirror-agent@*'")
    assert agents.count("running") >= 2, "one conversation replicates, another looks at the services"
    assert not mirror.attempt(f"ps --ppid {pid} -o args= | grep agent").stdout, "no agent is the daemon's own child"
    assert "watching by fanotify" in mirror.run("mailmirror status")
    assert "is equal" in become_equal(site)


@pytest.mark.issue("6.2 control socket: its group may ask, nobody else")
def test_who_is_in_the_group_may_ask_and_who_isnt_may_not(site: Site) -> None:
    mirror = site.mirror
    mirror.run("useradd --groups mailmirror insider; useradd outsider")
    told = json.loads(mirror.run("mailmirror status --format json", user="insider"))
    assert not told["stale"] and told["pairs"][0]["link"] == "live"
    for path in ("/run/mailmirror/control.sock", "/run/mailmirror-agent/agent.sock"):
        connect = f"import socket; socket.socket(socket.AF_UNIX).connect('{path}')"
        assert mirror.attempt(["python3", "-c", connect], user="insider").returncode == 0, path
        assert "Permission denied" in mirror.attempt(["python3", "-c", connect], user="outsider").stderr, path


@pytest.mark.issue("6.1 systemd-analyze security")
def test_its_exposure_is_small(site: Site) -> None:
    for unit, most in EXPOSURE.items():
        told = site.mirror.attempt(["systemd-analyze", "security", "--no-pager", unit]).stdout
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told)
        assert found and float(found[1]) <= most, told


@pytest.mark.issue("6.1 kill -9: it comes back and follows")
@pytest.mark.issue("6.1 stop and restart never move mail")
def test_killed_it_comes_back_and_follows(site: Site) -> None:
    before, [pid] = standing(site), shown(site.mirror, "MainPID")
    site.mirror.kill(product.UNIT)
    until(lambda: shown(site.mirror, "MainPID")[0] not in (pid, "0"), what="systemd starts another")
    post.send(site, site.users[0], "after it was killed")
    until(lambda: is_live(site), within=20, what="it follows live")
    become_equal(site)
    assert standing(site) == before


@pytest.mark.issue("6.1 a hang: the watchdog kills it, and it follows again")
@pytest.mark.issue("6.2 reading verbs answer though the daemon hangs")
def test_stopped_in_the_middle_it_is_killed_and_started_anew_and_status_answers_meanwhile(site: Site) -> None:
    before, [pid] = standing(site), shown(site.mirror, "MainPID")
    site.mirror.run(["kill", "-STOP", pid])
    began = time.monotonic()
    told = json.loads(site.mirror.run("mailmirror status --format json"))
    assert told["stale"] and "doesn't answer" in told["daemon"] and time.monotonic() - began < WATCHDOG + 2
    until(lambda: shown(site.mirror, "MainPID")[0] not in (pid, "0"), within=20, what="systemd starts another")
    assert "Watchdog timeout" in site.mirror.journal(product.UNIT)
    until(lambda: is_live(site), within=20, what="it follows live")
    assert standing(site) == before


@pytest.mark.issue("6.1 a reload validates first and keeps the old configuration on error")
def test_a_reload_with_a_broken_inventory_keeps_the_old_one_and_says_so(site: Site) -> None:
    mirror = site.mirror
    [pid] = shown(mirror, "MainPID")
    good = mirror.run(f"cat {INVENTORY}")
    mirror.run(f"printf 'nonsense: [\\n' >> {INVENTORY}")
    try:
        refused = mirror.attempt("systemctl reload mailmirror")
        assert refused.returncode != 0
        assert f"{INVENTORY}:" in mirror.journal(product.UNIT)
        mirror.run(["kill", "-HUP", pid])  # as somebody might who doesn't ask systemd
        until(lambda: "the daemon goes on with the old one" in mirror.journal(product.UNIT), what="it says so")
    finally:
        mirror.run(["tee", INVENTORY], stdin=good)
    assert mirror.run("systemctl is-active mailmirror").strip() == "active" and is_live(site)
    mirror.run("systemctl reload mailmirror")
    until(lambda: "says what the daemon does already" in mirror.journal(product.UNIT), what="the good one is read")
    assert shown(mirror, "MainPID", "ActiveState") == [pid, "active"]


@pytest.mark.issue("6.1 stop and restart never move mail")
@pytest.mark.issue("6.2 from the last snapshot, marked stale, when the daemon is down")
def test_stopped_and_taken_away_it_leaves_mail_as_it_was(site: Site) -> None:
    mirror, before = site.mirror, standing(site)
    mirror.run("systemctl restart mailmirror")
    until(lambda: is_live(site), within=20, what="it follows live")
    mirror.run("systemctl stop mailmirror")
    post.send(site, site.users[1], "while it was stopped")
    assert standing(site) == before
    told = json.loads(mirror.run("mailmirror status --format json", user="insider"))
    assert told["stale"] and told["pairs"][0]["link"] == "stopped"
    assert mirror.attempt("ls /run/mailmirror").returncode != 0
    mirror.run("mailmirror sync")  # root's own, between two runs of the service: what it makes is the service's
    mirror.run("systemctl start mailmirror")
    until(lambda: is_live(site), within=20, what="it follows live")
    mirror.run("mailmirror service remove")
    assert mirror.attempt("mailmirror service remove").returncode == 3
    assert standing(site) == before
    assert not mirror.attempt("ls /etc/systemd/system/mailmirror*.socket").stdout
    assert "is equal" in become_equal(site)
