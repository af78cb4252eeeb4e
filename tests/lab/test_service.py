"""The daemon as `mailmirror service install` lays it down, under a real systemd: it is started anew, and moves no mail.

The units are the product's own; nothing of them is changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import product
from tests.lab.following import is_live
from tests.lab.generation import chosen
from tests.lab.guarded import INVENTORY, guarded_site, serves, status
from tests.lab.site import Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("service")]
WATCHDOG = 30.0
NOTED = f"""import json, pathlib
from orchestrator.records import history
print(json.dumps(history.told(pathlib.Path("/var/lib/mailmirror"), "{product.PAIR}", "sync")))
"""


def prepare(site: Site) -> None:
    """The daemon's user may run the tests' Python."""
    binds, files = product.for_everybody(chosen())
    site.mirror.binds += binds
    site.mirror.lay(files)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A pair with guards and a witness; the daemon runs on the mirror as its operator had it installed."""
    require.hosts()
    with guarded_site(prepare=prepare) as site:
        site.mirror.run("mailmirror service install", timeout=90)
        site.mirror.run("useradd --groups mailmirror ann; useradd bob")
        until(lambda: is_live(site), within=30, what="it follows live")
        yield site


def shown(site: Site, *names: str) -> dict[str, str]:
    """Properties of the daemon's unit."""
    told = site.mirror.systemctl("show", f"--property={','.join(names)}", product.UNIT)
    return dict(line.split("=", 1) for line in told.splitlines())


def daemon(site: Site) -> int:
    return int(shown(site, "MainPID")["MainPID"])


def answered(site: Site) -> dict[str, Any]:
    return dict(json.loads(site.mirror.run("mailmirror status --format json")))


def moved(site: Site) -> tuple[int, bool, str]:
    """The epoch that the witness knows, whether the primary serves, and what was begun."""
    history = site.mirror.attempt("mailmirror history --format json").stdout
    return status(site.witness)["epoch"], serves(site), history


@pytest.mark.issue("6.1 type=notify: it is ready when it answers, and says in a line how it stands")
@pytest.mark.issue("6.1 unprivileged and sandboxed; root's part by the agent's own unit and its socket")
def test_it_follows_as_an_ordinary_user_and_the_agent_beside_it_does_what_takes_root(site: Site) -> None:
    found = shown(site, "Type", "ActiveState", "User", "StatusText", "WatchdogUSec")
    assert (found["Type"], found["ActiveState"], found["User"]) == ("notify", "active", "mailmirror"), found
    assert found["WatchdogUSec"] == "30s"
    until(lambda: shown(site, "StatusText")["StatusText"] == f"{product.PAIR} live", what="its line says so")
    pid = daemon(site)
    words = dict(
        line.split(":\t", 1) for line in site.mirror.run(["cat", f"/proc/{pid}/status"]).splitlines() if ":\t" in line
    )
    own = site.mirror.run("id -u mailmirror").strip()
    assert words["Uid"].split() == [own] * 4 and int(words["CapEff"], 16) == int(words["CapBnd"], 16) == 0, words
    assert words["NoNewPrivs"] == "1" and words["Seccomp"] == "2"
    exposed = site.mirror.run(["systemd-analyze", "security", "--no-pager", product.UNIT])
    assert float(exposed.rpartition("Overall exposure level")[2].split(": ")[1].split()[0]) <= 1.5, exposed
    keys = site.mirror.run(["find", "/etc/mailmirror/id_ed25519", "-printf", "%u %m"])
    assert keys == "root 600", "it was handed to the daemon as a credential"
    agents = site.mirror.run("ps -o user= -p $(pgrep -d, -f 'orchestrator.agent.main.*--group mailmirror')").split()
    assert set(agents) == {"root"}
    letter = site.primary.run("doveadm -f flow mailbox status -u u01@example.test messages INBOX")
    site.primary.run("doveadm save -u u01@example.test", stdin="Subject: as it comes\n\nHello.\n")
    box = "/var/vmail/example.test/u01/Maildir"
    seek = ["grep", "-rl", "as it comes", box]
    until(lambda: site.mirror.attempt(seek).stdout, within=20, what=f"the letter is there ({letter.strip()} before)")


@pytest.mark.issue("6.2 a member of the group may ask; nobody else")
def test_who_is_in_the_group_may_ask_and_nobody_else(site: Site) -> None:
    told = json.loads(site.mirror.run("mailmirror status --format json", user="ann"))
    assert not told["stale"] and told["pairs"][0]["link"] == "live"
    for verb in ("status", "sync"):  # the one has the last snapshot to fall back on, which isn't for everybody either
        refused = site.mirror.attempt(["mailmirror", verb], user="bob")
        assert refused.returncode == 77 and not refused.stdout, refused.stdout + refused.stderr
        assert "sudo" in refused.stderr, refused.stderr
    site.mirror.run("SUDO_USER=carl mailmirror sync --reason looking", user="ann")
    [noted] = json.loads(site.mirror.run([product.PYTHON, "-c", NOTED]))
    own = int(site.mirror.run("id -u ann"))
    assert (noted["reason"], noted["uid"], noted["claimed_user"]) == ("looking", own, "carl"), noted


@pytest.mark.issue("6.1 kill -9: it comes back and follows, and nothing has moved")
def test_killed_it_comes_back_and_follows(site: Site) -> None:
    before, first = moved(site), daemon(site)
    site.mirror.kill(product.UNIT)
    until(lambda: daemon(site) not in (0, first), within=20, what="systemd has started it anew")
    until(lambda: is_live(site), within=30, what="it follows again")
    assert moved(site) == before


@pytest.mark.issue("6.1 a hang: the watchdog kills it, and it is started anew")
def test_hanging_it_is_killed_by_the_watchdog_and_comes_back(site: Site) -> None:
    before, first = moved(site), daemon(site)
    site.mirror.kill(product.UNIT, "STOP")
    old = json.loads(site.mirror.run("mailmirror status --format json", timeout=20))
    assert old["stale"] and old["daemon"], "what it saw last is shown, and marked"
    until(lambda: daemon(site) not in (0, first), within=WATCHDOG + 30, every=0.5, what="it was started anew")
    until(lambda: is_live(site), within=30, what="it follows again")
    assert "Watchdog timeout" in site.mirror.journal(product.UNIT)
    assert moved(site) == before


@pytest.mark.issue("6.1 a reload validates first, and keeps the old configuration on an error")
def test_a_reload_refuses_a_broken_inventory_with_its_place_and_goes_on(site: Site) -> None:
    pid, good = daemon(site), site.mirror.path(INVENTORY).read_text()

    def logged(words: str) -> None:
        until(lambda: re.search(words, site.mirror.journal(product.UNIT)), what=f"the journal has {words}")

    try:
        site.mirror.lay({INVENTORY: good.replace("mm_services", "mm_servises")})
        assert site.mirror.attempt(["systemctl", "reload", product.UNIT]).returncode != 0
        logged(rf"{INVENTORY}:\d+:\d+: .*unknown key mm_servises")
        logged("did you mean mm_services")
        assert "the daemon goes on with the old one" not in site.mirror.journal(product.UNIT), "it wasn't even asked"
        site.mirror.kill(product.UNIT, "HUP")  # past the check
        logged("the daemon goes on with the old one")
        assert daemon(site) == pid
        site.mirror.lay({INVENTORY: good + "# a word more\n"})
        site.mirror.systemctl("reload", product.UNIT)
        logged("The inventory is valid")
        site.mirror.lay({INVENTORY: good.replace("ttl: 4s", "ttl: 5s")})
        site.mirror.systemctl("reload", product.UNIT)
        logged(f"restart the daemon for: {product.PAIR} was changed")
    finally:
        site.mirror.lay({INVENTORY: good})
    site.mirror.systemctl("reload", product.UNIT)
    until(lambda: not answered(site)["stale"] and is_live(site), what="it follows on")
    assert daemon(site) == pid


@pytest.mark.issue("6.1 stop and restart never move mail")
@pytest.mark.issue("6.2 the last snapshot, marked stale, while the daemon is down")
def test_stopped_and_started_again_nothing_has_moved(site: Site) -> None:
    before = moved(site)
    site.mirror.systemctl("restart", product.UNIT)
    assert not answered(site)["stale"], "ready said that it answers, and systemctl had waited for that"
    until(lambda: is_live(site), within=30, what="it follows again")
    site.mirror.systemctl("stop", product.UNIT)
    told = answered(site)
    assert told["stale"] and told["pairs"][0]["stale"] and told["pairs"][0]["link"] == "stopped", told
    as_ann = site.mirror.run("mailmirror status", user="ann")
    assert "mail1.example.test" in as_ann and "saw it last" in as_ann, as_ann
    assert moved(site) == before and shown(site, "Result")["Result"] == "success"
    site.mirror.systemctl("start", product.UNIT)
    until(lambda: is_live(site), within=30, what="it follows again")


@pytest.mark.issue("6.1 taken away, it leaves mail and state as they are")
def test_taken_away_the_guards_go_on(site: Site) -> None:
    before = moved(site)
    site.mirror.run("mailmirror service remove", timeout=60)
    assert site.mirror.attempt(["systemctl", "cat", product.UNIT]).returncode != 0
    assert moved(site) == before
