"""`mailmirror status` at three in the morning: what it says in each state that an administrator may find a pair in.

Real hosts as in `test_control`: a primary behind a real sshd, the mirror on this machine.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

import pytest

from orchestrator.records import history
from tests.e2e.test_control import Operator, operator  # noqa: F401 - the fixture
from tests.unit.daemon.test_follower import until

pytestmark = pytest.mark.lab

WITHIN = 40.0


def row(told: str) -> list[str]:
    """The pair's row of the table, by column, but its state: without guards nothing is decided for it."""
    name, state, *rest = re.split(r"  +", told.splitlines()[1].strip())
    assert state == "-"
    return [name, *rest]


def passive(operator: Operator) -> dict[str, Any]:  # noqa: F811
    return dict(operator.told("status")["pairs"][0]["passives"][0])


@pytest.mark.issue("2.6 status: never synced, one-shot only, in sync, daemon not running")
def test_from_never_seen_to_in_sync_to_not_running(operator: Operator) -> None:  # noqa: F811
    told = operator.type("status")
    assert row(told) == ["org", "stopped", "mail1", "mail2", "mirror", "unknown", "unknown", "never", "-"]
    nothing = "org: Nothing is known of it here: no pass was made yet, or what it saw was lost."
    assert f"No daemon runs. Start it with `mailmirror run`.\n{nothing}\n" in told
    operator.type("sync")
    told = operator.type("status")
    assert row(told) == ["org", "stopped", "mail1", "mail2", "mirror", "0 s then", "0 then", "never", "-"]
    assert re.search(
        r"org: This is as `sync` saw it last, [\d.]+ s ago \(20.*\); how it stands now isn't known\.", told
    )
    assert "poll" not in told, "how a pass looked is nobody's trouble"
    operator.type("verify")
    with operator.running():
        told = operator.type("status")
        cells = row(told)
        assert cells[:7] == ["org", "live", "mail1", "mail2", "mirror", "0 s", "0"] and cells[7].startswith("20")
        assert len(told.splitlines()) == 2, f"all is well, so nothing more is said: {told}"
        assert operator.type("check").startswith("MAILMIRROR OK: org mail1 is active, live | 'org_mail2_lag'=0.0s;30 ")
    told = operator.type("status")
    assert row(told)[:2] == ["org", "stopped"] and row(told)[7].startswith("20"), "the proof isn't forgotten"
    assert "org: This is as `run` saw it last, " in told
    assert operator.type("check", code=2).startswith("MAILMIRROR CRITICAL: No daemon runs. ")


@pytest.mark.issue("2.6 status: the link is down, and mail lags")
@pytest.mark.issue("6.7 check against a running daemon: OK, WARNING, UNKNOWN")
def test_a_link_that_is_down(operator: Operator) -> None:  # noqa: F811
    text = operator.inventory.read_text()
    operator.inventory.write_text(text.replace("mm_state_dir", "mm_rpo: 2s, mm_state_dir"))
    with operator.running():
        until(lambda: passive(operator)["lag_seconds"] == 0.0, WITHIN)
        operator.root.check(["sh", "-c", "kill -STOP $(pidof sshd)"])
        until(lambda: operator.link() == "connecting", WITHIN)
        until(lambda: "may lack more than mm_rpo allows" in operator.type("status"), WITHIN)
        told = operator.type("status")
        assert row(told)[1:6] == ["connecting", "mail1", "mail2", "mirror", "unknown"]
        assert re.search(r"org: There is no link now; this is as it was seen last, [\d.]+ s ago \(20", told)
        assert "org: mail1: " in told, "why there is none"
        assert operator.type("check", code=1).startswith("MAILMIRROR WARNING: org: Nothing is copied: ")
        assert operator.type("check", "net", code=3).startswith("MAILMIRROR UNKNOWN: The inventory has no pair net")
        operator.root.check(["sh", "-c", "kill -CONT $(pidof sshd)"])
        until(lambda: operator.link() == "live", WITHIN)
        until(lambda: "mm_rpo" not in operator.type("status"), WITHIN)
        assert operator.type("check").startswith("MAILMIRROR OK: org mail1 is active, live | ")
    log = (operator.base / "daemon.log").read_text()
    assert "mail2 is behind by more than mm_rpo, 2 s event=behind" in log
    assert "mail2 is within mm_rpo again event=in_time" in log


@pytest.mark.issue("2.6 status: deletions wait; ack takes the id of just these, with and without a daemon")
def test_waiting_deletions_are_shown_and_released_by_the_command_that_is_shown(operator: Operator) -> None:  # noqa: F811
    for number in range(300):
        operator.deliver(f"1700000{number:03}.M9P1.mail1")
    operator.type("sync")
    new = operator.base / "here/jane/new"
    for path in list(new.iterdir()):
        path.unlink()
    operator.type("sync")
    told = operator.type("status")
    assert row(told)[8] == "301 deletions"
    first = re.search(
        r"The mail is still on mail2\. If its deletion is meant: mailmirror (ack org \w+ --accept-loss)", told
    )
    assert first, told
    assert len(list((operator.base / "there/jane/new").iterdir())) == 301

    operator.deliver("1800000000.M9P1.mail1")
    operator.type("sync")
    (new / "1800000000.M9P1.mail1").unlink()
    operator.type("sync")
    operator.type(*first[1].split(), code=4)
    assert len(list((operator.base / "there/jane/new").iterdir())) == 302, "an older id releases nothing"
    with operator.running():
        operator.type(*first[1].split(), code=4)
        second = re.search(r"mailmirror (ack org \w+ --accept-loss)", operator.type("status"))
        assert second and second[1] != first[1]
        operator.type("ack", "org", "--yes", second[1].split()[2], code=5)
        assert "302 deletions of " in operator.type(*second[1].split(), "--reason", "jane asked for it")
        assert list((operator.base / "there/jane/new").iterdir()) == []
    assert "jane asked for it" in [line["reason"] for line in history.told(operator.base / "state", "org", "release")]


@pytest.mark.issue("2.6 status: the mirror's disk is full")
def test_a_full_disk_is_named_with_what_to_do(operator: Operator) -> None:  # noqa: F811
    operator.type("sync")
    there = operator.base / "there"
    operator.root.check(
        ["sh", "-c", f"mount -t tmpfs -o size=256k x /mnt && cp -a {there}/. /mnt && mount --bind /mnt {there}"]
    )
    folder = operator.base / "here/jane"
    (folder / "tmp/big").write_bytes(os.urandom(400_000))
    (folder / "tmp/big").rename(folder / "new/1800000001.M1P1.mail1")
    operator.type("sync", code=75)
    told = operator.type("status")
    assert re.search(r"org: The last `sync` failed, 20.*: mail2: its disk is full \(\[Errno 28\] No space left", told)
    assert "    Make room there: " in told and "Nothing is lost" in told
    running = operator.root.run(operator.line("run"), env=operator.environment, stderr=subprocess.DEVNULL)
    try:
        until(lambda: "org: mail2: its disk is full" in operator.type("status"), WITHIN)
    finally:
        running.terminate()
        running.wait(10)
    operator.root.check(["mount", "-o", "remount,size=8m", "/mnt"])
    operator.type("sync")
    told = operator.type("status")
    assert "disk is full" not in told and row(told)[5] == "0 s then"
