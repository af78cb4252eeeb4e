"""The daemon's own eyes on real hosts: all well, a dead service, a frozen host, a cut, its own isolation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.plan import METRICS
from tests.lab.site import Site
from tests.lab.waiting import until
from tests.lab.watched import PLACES, become, place, status, verdicts, watch
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guards")]


@pytest.fixture(scope="module")
def watched() -> Iterator[Site]:
    """A site of its own. Each test leaves it HEALTHY."""
    require.hosts()
    with Site(PLACES, users=3) as site:
        site.boot()
        watch(site)
        yield site


@pytest.mark.issue("4.1 health runs by itself")
def test_a_healthy_pair_is_told_as_one_with_all_that_was_seen(watched: Site) -> None:

    def told_in_full() -> dict[str, Any] | None:
        found = place(watched)
        return found if found["canary"] and found["vitals"]["disks"] and len(found["glances"]) == 6 else None

    found = until(told_in_full, within=30, what="both have looked, and all is told")
    assert found is not None
    assert found["evidence"] == []
    seen = {(each["observer"], each["service"], each["how"]) for each in found["glances"]}
    assert seen == {(who, what, "") for who in ("controller", "witness") for what in ("smtp", "submission", "imap")}
    assert (found["canary"]["how"], found["vitals"]["letters"] is not None) == ("", True)
    until(lambda: place(watched, "mirror")["level"] == "HEALTHY", what="its passive Postfix takes letters")
    until(lambda: all(each["connected"] for each in status(watched)["health"]["observers"]), within=30, what="all look")
    told = status(watched)["health"]
    assert {each["name"]: each["connected"] for each in told["observers"]} == dict.fromkeys(
        ("controller", "primary", "witness"), True
    )
    assert (told["lone"], set(told["references"].values())) == ("", {True})
    words = watched.mirror.run("mailmirror status")
    assert "mail1.example.test (primary, active) is HEALTHY, well, since" in words
    metrics = watched.mirror.run(f"curl -s http://127.0.0.1:{METRICS}/metrics")
    for line in (
        'mailmirror_health_level{level="HEALTHY",pair="example_test",place="primary"} 1.0',
        'mailmirror_probe_success{observer="witness",pair="example_test",place="primary",service="imap"} 1.0',
        'mailmirror_canary_last_success_timestamp_seconds{pair="example_test",place="primary"}',
    ):
        assert line in metrics


@pytest.mark.issue("4.1 health runs by itself; SUSPECT ends the deletion permit; verdicts kept with their evidence")
def test_a_dead_dovecot_is_suspect_then_down_and_its_restart_is_proposed(watched: Site) -> None:
    until(lambda: status(watched)["permit_open"], within=20, what="deletions may flow")
    began, before = time.monotonic(), len(verdicts(watched))
    watched.primary.systemctl("stop", "dovecot.service", "dovecot.socket")
    become(watched, "SUSPECT")
    until(lambda: not status(watched)["permit_open"], within=2, what="the permit ends")
    found = become(watched, "DOWN", analysis="the host lives, its services don't")
    print(f"dovecot stopped: DOWN after {time.monotonic() - began:.1f} s")
    assert found["remedy"] == "restart the service"
    assert "dovecot" in found["would"]
    for observer in ("controller", "witness"):
        assert any(line.startswith(f"imap from {observer}: refused") for line in found["evidence"]), found["evidence"]
    assert not status(watched)["permit_open"]
    words = watched.mirror.run("mailmirror status")
    assert "is DOWN" in words and "imap on mail1.example.test, seen from witness: nothing listens there" in words
    watched.primary.systemctl("start", "dovecot")
    watched.primary.systemctl("restart", "postfix")  # it starts no submission for 60 s after one that found no AUTH
    become(watched, "HEALTHY")
    until(lambda: status(watched)["permit_open"], within=10, what="deletions may flow again")
    kept = verdicts(watched)[before:]
    levels = [each["level"] for each in kept]
    # On its way back a lost letter may count for a while: DEGRADED.
    seen = [level for level in dict.fromkeys(levels) if level != "DEGRADED"]
    assert seen == ["SUSPECT", "DOWN", "HEALTHY"], levels
    down = kept[levels.index("DOWN")]
    assert down["evidence"] and down["was"] == "SUSPECT"


@pytest.mark.issue("4.1 health runs by itself; DOWN confirmed by two observers")
def test_a_frozen_host_is_down_by_the_word_of_two_observers(watched: Site) -> None:
    began = time.monotonic()
    watched.primary.freeze()
    try:
        found = become(watched, "DOWN", analysis="nobody gets an answer from it")
        print(f"host frozen: DOWN after {time.monotonic() - began:.1f} s")
    finally:
        watched.primary.thaw()
    assert found["remedy"] == "fail over"
    assert {line.split()[2].rstrip(":") for line in found["evidence"]} == {"controller", "witness"}
    become(watched, "HEALTHY")


@pytest.mark.issue("4.1 unreachable from here alone does nothing; self-isolation")
def test_a_cut_that_only_the_controller_sees_and_its_own_isolation_are_no_death(watched: Site) -> None:
    before = len(verdicts(watched))
    watched.cut(watched.mirror, watched.primary)
    try:
        found = become(watched, "SUSPECT", analysis="it can't be reached from one place")
        assert not [line for line in found["evidence"] if "witness" in line]
        time.sleep(12)  # longer than a confirmation takes
        assert place(watched)["level"] == "SUSPECT"
        watched.cut(watched.mirror)
        isolated = become(watched, "UNKNOWN", analysis="the controller itself is cut off")
        assert isolated["evidence"] == ["no answer from 10.20.0.20:9, 10.20.0.2:53"]
    finally:
        watched.heal()
    become(watched, "HEALTHY")
    assert "DOWN" not in [each["level"] for each in verdicts(watched)[before:]]
