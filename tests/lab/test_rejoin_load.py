"""Power cut under load, failover, rejoin: what the lost host had acknowledged is the users' again, once.

The outside client sends, reads, flags and moves all the while, and judges alone by what it was answered.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import product
from tests.lab.following import become_equal, is_live
from tests.lab.guarded import guarded_site, serves, status
from tests.lab.oracle import reading, witness
from tests.lab.oracle import site as outside
from tests.lab.oracle.intervals import Span
from tests.lab.oracle.journal import Act, Began, Record, read
from tests.lab.oracle.run import judged
from tests.lab.oracle.table import lines
from tests.lab.oracle.verdict import Finding
from tests.lab.plan import STORE
from tests.lab.site import CA, Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guards")]
USERS, RATE, SEED, SECONDS, BEFORE = 12, 20, 11, 60.0, 12.0
AT_RISK = ("flags", "misplaced", "resurrected", "folder lost", "folder resurrected", "cache")
"""What changes may come to that were acknowledged after the cut. Never a lost letter, nor one that stands twice."""
LATE = ("late uid", "renumbered", "uidl changed")
"""What a cache may be told of a message of which that holds; nothing else excuses a cache's fault."""
REACHES = 2.0
"""Seconds after which a change is surely on the mirror while it follows live."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    require.hosts()
    with guarded_site(USERS) as site:
        site.mirror.systemctl("start", product.UNIT)
        until(lambda: is_live(site), within=30, what="it follows live")
        yield site


def typed(site: Site, *words: str) -> Any:
    done = site.mirror.attempt(["mailmirror", *words, "--format", "json"], timeout=120)
    print(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def traced(site: Site, about: str) -> str:
    """Where a letter is on both hosts' disks, and what Postfix says of it."""
    told = [about]
    for host in (site.primary, site.mirror):
        found = host.attempt(["grep", "-rlsF", about, STORE, "/var/spool/postfix"]).stdout.split()
        rows = host.journal("postfix*", boots=True).splitlines()
        ids = {row.partition("]: ")[2].partition(":")[0] for row in rows if about in row and "message-id=" in row}
        told += [f"{host.name}: {path}" for path in found]
        told += [f"{host.name}: {row}" for row in rows if any(f" {each}:" in row for each in ids)]
    return "\n".join(told)


def changed_since(records: Iterable[Record], since: float) -> set[tuple[str, str]]:
    """Accounts with messages, and with folders, that an acknowledged command has changed since then, by the wall's
    clock: the client's host has a boot of its own.
    """
    found: set[tuple[str, str]] = set()
    began = 0.0
    for each in records:
        if isinstance(each, Began):
            began = each.wall - each.t
        if isinstance(each, Act) and began + each.t > since and each.outcome != "no":
            found |= {(each.account, about) for about in (each.id, each.folder, each.target) if about}
    return found


def at_risk(finding: Finding, late: set[tuple[str, str]]) -> bool:
    """A cache's fault names a message in its text, or only its folder."""
    if finding.detail == "uidvalidity":  # a folder that never left the lost host is made anew where users are now
        return finding.text.endswith(" 0 messages were cached")
    if finding.kind == "cache" and finding.detail not in LATE:
        return False
    told = {finding.about, *re.findall(r"s\d+-\d+-[a-z]+", finding.text)}
    return any((finding.account, about) in late for about in told)


@pytest.mark.journeys
@pytest.mark.skipif(not os.environ.get("ALL_JOURNEYS"), reason="80 s: it is one of `make test-journeys`")
@pytest.mark.issue("5.4 rejoin after a power cut under load: 0 lost after reclaim, 0 doubled, 0 UID reuse")
def test_after_a_power_cut_under_load_and_a_rejoin_nothing_is_lost_or_doubled(site: Site, tmp_path: Path) -> None:
    described = {**json.loads(site.describe().as_json()), "ca": CA}
    site.client.path("/root/site.json").write_text(json.dumps(described))
    words = ["--site", "/root/site.json", "--seed", str(SEED), "--seconds", str(SECONDS), "--rate", str(RATE)]
    command = [product.PYTHON, "-m", "tests.lab.oracle", *words, "--dir", "/root/oracle"]
    wire = tmp_path / "wire"
    with witness.Standing(outside.parse(json.dumps(described)), wire, net=site.describe().network):
        oracle = site.client.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(BEFORE)  # the load goes on by the clock
        alone = time.time()
        site.mirror.systemctl("stop", product.UNIT)  # what comes from here on is never replicated
        time.sleep(3.0)
        site.primary.power_cut()
        cut = time.monotonic()
        assert typed(site, "failover", product.PAIR, "--accept-loss", "--reason", "no power")["state"] == "done"
        moved = time.monotonic()
        site.primary.boot()
        until(lambda: status(site.primary)["role"] == "passive", within=30, what="the old active knows")
        until(lambda: status(site.primary)["hands"]["done"], within=30, what="it is shut")
        told = typed(site, "rejoin", "--yes", "--reason", "the power is back")
        assert told["state"] == "done", told["why"]
        print(f"home {time.monotonic() - cut:.1f} s after the cut: {told['report']['counts']}")
        said = oracle.communicate(timeout=SECONDS + 120)[0]
    assert told["report"]["counts"]["delivered"] > 10 and serves(site, site.mirror)
    kept = site.client.path("/root/oracle")
    holds = [("mirror", Span(0.0, cut)), ("primary", Span(moved, float("inf")))]
    log = site.primary.journal("postfix*", boots=True) + site.mirror.journal("postfix*")
    verdict = judged(kept, reading.load(kept / "reading.json"), wire, holds, log)
    table = said + "\n" + "\n".join(lines(verdict))
    print(table)
    late = changed_since(read(kept / "journal.jsonl"), alone - REACHES)
    bad = [each for each in verdict.findings if each.kind not in AT_RISK or not at_risk(each, late)]
    for finding in [each for each in bad if each.kind in ("lost", "duplicated")][:6]:
        print(traced(site, finding.about))
    assert bad == [], table
    assert verdict.counts["acknowledged"] > 100, table
    site.mirror.systemctl("start", product.UNIT)
    until(lambda: is_live(site), within=60, what="it follows the other way")
    become_equal(site)
    print(Counter(each.kind for each in verdict.findings))
