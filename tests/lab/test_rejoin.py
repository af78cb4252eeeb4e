"""A lost primary comes home, on real hosts: what it alone has, in its store and its queue, is the users' again.

It loses its power with letters that were never replicated; the mirror is promoted; it boots behind its gate; then the
operator types `rejoin`, and later `failback`.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import post, product
from tests.lab.following import become_equal, is_live
from tests.lab.guarded import NAMES, answers, guarded_site, serves, status
from tests.lab.host import Host
from tests.lab.plan import STORE, User
from tests.lab.site import Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guards")]

LISTING = f"find {STORE} -printf '%p %i %C@ %T@ %n %m %U\\n' | sort"
DEAF = "10.20.0.199"
"""An address of the lab's network where nobody is: what is sent there waits in the queue."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A pair with guards and a witness, in step; then replication stops."""
    require.hosts()
    with guarded_site(3) as site:
        site.mirror.systemctl("start", product.UNIT)
        until(lambda: is_live(site), within=30, what="it follows live")
        yield site


def typed(site: Site, *words: str, code: int = 0) -> Any:
    """What an order came to."""
    command = ["mailmirror", *words, "--format", "json"]
    done = site.mirror.attempt(command, timeout=120)
    print(done.stderr)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def letters(host: Host) -> int:
    """How many stand in a host's store."""
    found = host.run(f"find {STORE} -type f -path '*/new/*' -o -type f -path '*/cur/*' | grep -v /.mailmirror/ | wc -l")
    return int(found)


def queue(host: Host) -> list[str]:
    """Recipients of what waits there, whatever the queue."""
    rows = [json.loads(line) for line in host.run("postqueue -j").splitlines()]
    return sorted(each["address"] for row in rows for each in row["recipients"])


def uids(site: Site, user: User, server: str) -> list[int]:
    answer = post.fetch(site, user, "INBOX", server=server, command="UID SEARCH ALL")
    return [int(word) for word in answer.split() if word.isdigit()]


def promoted(site: Site) -> None:
    """By a failover: the lease of the lost host runs out."""
    command = ["mailmirror", "failover", product.PAIR, "--accept-loss", "--reason", "no power", "--format", "json"]
    done = site.mirror.attempt(command, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: serves(site, site.mirror), within=30, what="the mirror serves")


def lose(site: Site) -> None:
    """The primary loses its power with letters that were never replicated: in its store, and in its queue."""
    user, other, _ = site.users
    primary, mirror = site.primary, site.mirror
    for number in range(3):
        post.send(site, user, f"before {number}")
    until(lambda: len(post.subjects(site, user)) == 3, what="delivered")
    become_equal(site)
    mirror.systemctl("stop", product.UNIT)
    for number in range(4):
        post.send(site, user, f"alone {number}")
    post.send(site, other, "alone too")
    until(lambda: len(post.subjects(site, user)) == 7 and post.subjects(site, other), what="delivered")
    post.fetch(site, user, "INBOX", command="UID STORE 1 +FLAGS (\\Flagged)")
    head = "Date: Tue, 1 Dec 2026 05:00:00 +0000\\nSubject: large\\n\\n"
    large = f"(printf '{head}'; head -c 3000000 /dev/urandom | base64 -w 76)"
    primary.run(f"{large} | doveadm save -u {user.address}")
    primary.run("sync")  # Dovecot renames a flag and doesn't wait for the disk
    primary.run(f"sendmail -f {user.address} 'nobody@[{DEAF}]'", stdin="Subject: to nobody\n\nHello.\n")
    primary.run("systemctl stop dovecot.service dovecot.socket 2> /dev/null; true")
    post.send(site, user, "queued")
    until(lambda: len(queue(primary)) >= 2, what="two letters wait in the queue")
    primary.power_cut()


@pytest.mark.issue("5.4 rejoin in the lab: a lost host's letters come home once, its gate is shut until then")
def test_what_the_lost_host_alone_had_comes_home_once(site: Site) -> None:
    user, other, _ = site.users
    primary, mirror = site.primary, site.mirror
    lose(site)
    promoted(site)
    post.send(site, user, "after", server="mail2")
    post.send(site, other, "after too", server="mail2")
    until(lambda: "after" in post.subjects(site, user, server="mail2"), what="the mirror delivers")
    until(lambda: post.subjects(site, other, server="mail2"), what="the mirror delivers")

    primary.boot()
    until(lambda: _is_shut(status(primary)), within=30, what="its guard knows that it isn't active any more")
    before = letters(primary)
    mirror.systemctl("start", product.UNIT)
    until(lambda: "mailmirror rejoin" in mirror.run("mailmirror status"), within=30, what="status says what to type")
    assert serves(site, mirror) and not answers(site, primary)
    assert primary.attempt("pgrep -x dovecot").returncode != 0
    assert letters(primary) == before, "nothing was delivered there"

    stood = primary.run(LISTING)
    survey = typed(site, "rejoin", "--dry-run")["survey"]
    print(survey["counts"], survey["queue"])
    assert primary.run(LISTING) == stood, "a dry run touches nothing, not even a ctime"
    assert survey["counts"]["message"] == 6 and survey["counts"]["flags"] == 1

    asked = mirror.attempt("mailmirror rejoin")
    assert asked.returncode == 5 and "6 × never replicated" in asked.stderr, "told before it asks"
    assert primary.run(LISTING) == stood
    known = uids(site, user, "mail2")
    rejoined(site, dies_after="set_aside: done")
    row = typed(site, "history")[-1]
    assert row["state"] == "done" and row["cuts"][0]["epoch"] == 2, row
    report = json.loads(mirror.run(["cat", row["report"]]))
    assert report["counts"]["delivered"] == 6 and report["equal"], report["counts"]
    subjects = Counter(post.subjects(site, user, server="mail2"))
    wanted = ["after", "queued", "large", *(f"before {n}" for n in range(3)), *(f"alone {n}" for n in range(4))]
    assert subjects == Counter(wanted)
    assert post.subjects(site, other, server="mail2") == ["after too", "alone too"]
    fresh = uids(site, user, "mail2")
    assert fresh[: len(known)] == known and len(set(fresh)) == len(wanted)
    assert min(fresh[3:]) > 1 << 20, "no UID that the lost host can have given out"
    assert "\\Flagged" in post.fetch(site, user, "INBOX", server="mail2", command="UID FETCH 1 FLAGS")
    until(lambda: queue(primary) == [] and queue(mirror) == [f"nobody@[{DEAF}]"], within=20, what="the queue has moved")
    until(lambda: is_live(site), within=60, what="it follows the other way")
    become_equal(site)
    assert "nothing has to rejoin" in mirror.attempt("mailmirror rejoin --yes").stderr
    assert mirror.attempt(f"ls {STORE}/.mailmirror/cuts /var/lib/mailmirror-agent/*/cuts/*").stdout == ""


def rejoined(site: Site, dies_after: str) -> None:
    """By a controller that is killed on the way, whoever it is; the daemon goes on with it when it is back."""
    mirror = site.mirror
    site.primary.slow(2_000_000)  # so that the large letter is on its way when the daemon dies
    asked = mirror.start(["mailmirror", "rejoin", "--yes", "--reason", "power"], stderr=subprocess.PIPE, text=True)
    assert asked.stderr is not None
    seen: list[str] = []
    for line in asked.stderr:
        seen.append(line)
        if dies_after in line:
            break
    print("".join(seen))
    mirror.kill_command("orchestrator rejoin")  # it holds the pair's lock, or asks the daemon, which does
    mirror.kill(product.UNIT)
    asked.communicate(timeout=60)
    assert asked.returncode != 0, "whoever carried it out was killed before the end"
    site.primary.slow(None)
    mirror.systemctl("restart", product.UNIT)
    until(lambda: typed(site, "history")[-1]["state"] not in ("open",), within=60, every=0.5, what="it goes on")


def _is_shut(told: dict[str, Any]) -> bool:
    return bool((told["role"], told["epoch"]) == ("passive", 2) and told["hands"]["done"])


@pytest.mark.issue("5.4 failback after a rejoin: all equal, every letter once")
def test_then_the_users_come_home_by_a_failback(site: Site) -> None:
    user = site.users[0]
    was = uids(site, user, "mail2"), post.subjects(site, user, server="mail2")
    words = ["mailmirror", "failback", "--yes", "--reason", "home"]
    # Refused (4) until the daemon that decides has seen that the other place is home.
    until(lambda: site.mirror.attempt(words, timeout=120).returncode == 0, within=90, every=2.0, what="it is let")
    until(lambda: serves(site) and not answers(site, site.mirror), within=30, what="the primary serves")
    assert (uids(site, user, "mail1"), post.subjects(site, user, server="mail1")) == was
    post.send(site, user, "home")
    until(lambda: "home" in post.subjects(site, user, server="mail1"), what="it delivers")
    until(lambda: is_live(site), within=60, what="it follows the primary")
    become_equal(site)
    assert NAMES["primary"] in site.mirror.run("mailmirror status")
