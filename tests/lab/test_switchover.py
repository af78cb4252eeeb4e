"""A switchover on real hosts, typed as an operator types it: the users move, and nothing is lost on the way.

The outside client sends, reads, flags and moves all the while, and judges alone by what it was answered.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.failover.playbook import SHIPPED, load
from tests.lab import post, product
from tests.lab.clients import Mbsync, Mutt
from tests.lab.following import is_live
from tests.lab.guarded import NAMES, answers, guarded_site, serves, status
from tests.lab.plan import User
from tests.lab.site import Site
from tests.lab.underload import Load, moved_under_load, typed
from tests.lab.waiting import until
from tests.support import require, seeds

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guards")]
USERS = 12
STEPS = [line.verb for line in load("switchover", SHIPPED).lines]
ALL = bool(os.environ.get("ALL_JOURNEYS"))
BEFORE, BEHIND = "before the point of no return", "from the point on"
SLOW = STEPS[: STEPS.index("final_pass")]
"""After these the point is far enough away for a kill to come before it."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A pair with guards and a witness; the daemon runs on the mirror and follows live."""
    require.hosts()
    with guarded_site(USERS) as site:
        site.mirror.systemctl("start", product.UNIT)
        until(lambda: is_live(site), within=30, what="it follows live")
        yield site


@pytest.mark.issue("5.2 a switchover loses and doubles nothing, under load, and no instant has two writers")
def test_users_move_under_load_and_nothing_is_lost_or_doubled(site: Site, tmp_path: Path) -> None:
    judged = moved_under_load(site, tmp_path, ("switchover",), "primary", Load())
    verdict, table = judged.verdict, judged.table
    print(judged.typed.told, table)
    assert judged.typed.answer["state"] == "done"
    assert list(verdict.findings) == [], table  # CONDSTORE and QRESYNC included: Dovecot's indexes went along
    can = set(post.fetch(site, site.users[0], "", command="CAPABILITY").split())
    assert {"CONDSTORE", "QRESYNC"} <= can, "nothing was lost, so both are advertised"
    assert verdict.counts["acknowledged"] > 100 and set(verdict.serving) == {"primary", "mirror"}, table


@pytest.mark.issue("5.3 failback is a switchover home, ordered by an operator")
def test_they_come_home_by_a_failback(site: Site) -> None:
    assert status(site.mirror)["role"] == "active" and status(site.primary)["role"] == "passive"
    assert serves(site, site.mirror) and not answers(site, site.primary)
    until(lambda: is_live(site), within=60, what="it follows the other way")
    assert typed(site, "failback").answer["state"] == "done"
    assert serves(site) and not answers(site, site.mirror)
    assert NAMES["primary"] in site.mirror.run("mailmirror status")


@pytest.mark.issue("6.6 windows for real in the lab")
def test_a_window_moves_them_and_brings_them_home(site: Site) -> None:
    until(lambda: is_live(site), within=60, what="it follows the primary")
    added = json.loads(site.mirror.run("mailmirror window add patching --for 1m --failback --format json"))
    until(lambda: serves(site, site.mirror), within=40, what="the mirror serves in the window")
    assert not answers(site, site.primary)

    def over() -> bool:
        [window] = json.loads(site.mirror.run("mailmirror window list --format json"))
        last = json.loads(site.mirror.run("mailmirror history --format json"))[-1]
        at_home = last["journey"] == "failback" and last["state"] == "done" and serves(site)
        return bool(window["key"] == added["key"] and window["said"].startswith("patching is over") and at_home)

    until(over, within=90, every=1, what="the window is over, and the primary serves")
    ended = json.loads(site.mirror.run("mailmirror history --format json"))[-2:]
    assert [(each["journey"], each["state"], each["by"]) for each in ended] == [
        ("switchover", "done", "window patching"), ("failback", "done", "window patching"),
    ]  # fmt: skip


@pytest.mark.issue(
    "3.4 mbsync, mutt before, during and after a switchover and a failback: nothing twice, nothing again"
)
def test_what_mail_programs_have_stays_true_while_the_users_move(site: Site) -> None:
    """One syncs all the while, so that it meets the servers at every step; the other has its caches from before."""
    anna, ben = site.users[0], site.users[1]
    mbsync, mutt = Mbsync(site.client, anna), Mutt(site.client, ben)
    for number in range(8):
        post.send(site, anna, f"letter {number}", server="mail1")
    until(lambda: _has(site, anna, "letter 7"), what="the letters are there")
    mbsync.sync()
    mutt.keys("<first-entry><display-message><exit>")
    before = mbsync.messages()
    assert sum("./INBOX/" in line for line in before) >= 8 and mbsync.sync() == 0
    tries: list[tuple[bool, int]] = []
    for journey in ("switchover", "failback"):
        until(lambda: is_live(site), within=60, what="it follows live")
        over = threading.Event()
        syncing = threading.Thread(target=lambda: tries.extend(_synced_until(over, mbsync)), daemon=True)  # noqa: B023
        syncing.start()
        try:
            assert typed(site, journey)[0]["state"] == "done"
        finally:
            over.set()
            syncing.join(90)
        assert mbsync.sync() == 0, "nothing is downloaded again"
        assert mbsync.messages() == before, "and nothing came twice, or went"
        assert mutt.keys("<first-entry><display-message><exit>") == (0, 0), "its caches are true there"
    print(f"{len(tries)} times meanwhile, {sum(not well for well, _ in tries)} of them in vain")
    assert len(tries) > 4 and sum(asked for _, asked in tries) == 0, tries
    post.send(site, anna, "at home", server="mail1")
    until(lambda: _has(site, anna, "at home"), what="it is there")
    assert mbsync.sync() == 1


def _synced_until(over: threading.Event, mbsync: Mbsync) -> Iterator[tuple[bool, int]]:
    while not over.is_set():
        yield mbsync.attempt()


def _has(site: Site, user: User, subject: str) -> bool:
    return subject in post.subjects(site, user)


@pytest.mark.journeys
@pytest.mark.issue("5.3 a controller killed before the point of no return rolls back, after it goes forward")
@pytest.mark.parametrize("moment", STEPS if ALL else (BEFORE, BEHIND))
def test_a_controller_that_is_killed_on_the_way_ends_it_when_it_is_back(site: Site, moment: str) -> None:
    step, point = _step(moment), STEPS.index("tombstone")
    until(lambda: is_live(site), within=60, what="it follows live")
    until(lambda: "switchover" in _pair(site)["may"], within=60, every=0.5, what="all is well, also for the daemon")
    old, new = ("primary", "mirror") if status(site.primary)["role"] == "active" else ("mirror", "primary")
    epoch = status(site.hosts[old])["epoch"]
    asked = site.mirror.start(["mailmirror", "switchover", "--yes"], stderr=subprocess.PIPE, text=True)
    assert asked.stderr is not None
    seen: list[str] = []
    for line in asked.stderr:
        seen.append(line)
        if f"{step}: done" in line:
            break
    assert f"{step}: done" in seen[-1], "".join(seen)
    site.mirror.kill(product.UNIT)
    asked.communicate(timeout=60)
    site.mirror.systemctl("restart", product.UNIT)
    until(lambda: _state(site) not in ("open", "stuck"), within=60, every=0.5, what="the operation has ended")
    done = _state(site) == "done"
    here, there = (site.hosts[place] for place in ((new, old) if done else (old, new)))
    until(lambda: serves(site, here), within=60, what=f"{here.name} serves")
    until(lambda: is_live(site), within=60, what="it follows again")
    assert status(here)["role"] == "active" and not answers(site, there)
    assert status(here)["epoch"] == status(there)["epoch"] == epoch + done
    assert f" {NAMES[new if done else old]} " in site.mirror.run("mailmirror status")
    if STEPS.index(step) >= point or step in SLOW:
        assert done == (STEPS.index(step) >= point), _state(site)


def _step(moment: str) -> str:
    """The step after which the controller is killed."""
    if moment in STEPS:
        return moment
    dice, point = random.Random(seeds.drawn(moment)), STEPS.index("tombstone")
    return dice.choice(STEPS[:point] if moment == BEFORE else STEPS[point:])


def _pair(site: Site) -> dict[str, Any]:
    [told] = json.loads(site.mirror.run("mailmirror status --format json"))["pairs"]
    return dict(told)


def _state(site: Site) -> str:
    return str(json.loads(site.mirror.run("mailmirror history --format json"))[-1]["state"])
