"""The command line and the daemon: who orders is kept as proven and as claimed, and nobody waits for one that hangs."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest

from orchestrator.inventory.load import load
from orchestrator.records import history
from orchestrator.replication.report import Waiting
from orchestrator.web import ask
from tests.unit.cli.conftest import Type
from tests.unit.daemon.memory import Site
from tests.unit.daemon.test_follower import until
from tests.unit.daemon.test_service import Running


@pytest.mark.issue("6.2 history keeps the proven uid and, as claimed, the SUDO_USER")
@pytest.mark.parametrize("daemon", [True, False])
def test_an_order_is_kept_with_the_proven_uid_and_the_claimed_user(
    mailmirror: Type, site: Site, one_pair: Path, monkeypatch: pytest.MonkeyPatch, daemon: bool
) -> None:
    monkeypatch.setenv("SUDO_USER", "ann")
    site.worlds["org"].waiting.append(Waiting("w1", "jane", 300, "over budget", 1.0))
    words = ("ack", "org", "w1", "--accept-loss", "--reason", "she left")
    if daemon:
        with Running(site, load(one_pair)) as running:
            until(lambda: running.ask("status")["pairs"][0]["link"] == "live")
            assert mailmirror(*words) == 0
    else:
        assert mailmirror(*words) == 0
    [kept] = history.told(load(one_pair).state_dir, "org", "release")
    assert (kept["uid"], kept[history.CLAIMED], kept["reason"]) == (os.geteuid(), "ann", "she left")


def test_a_claim_never_stands_for_who_it_was() -> None:
    assert history.who(0) == "root"
    assert history.who(0, "ann") == "root (claims to be ann)"
    assert history.who(0, "a\n\x1b[2Jnn") == "root (claims to be a[2Jnn)"
    assert len(history.who(0, "a" * 999)) < 99
    assert history.who(4_000_000_000) == "uid 4000000000"


@pytest.mark.issue("6.2 a reading verb answers though the daemon hangs")
def test_status_tells_the_last_snapshot_when_the_daemon_is_stopped_in_the_middle(
    mailmirror: Type, site: Site, one_pair: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.cli.status.STATUS_WITHIN", 0.2)
    assert ask.STATUS_WITHIN <= 2.0
    with Running(site, load(one_pair)) as running:
        until(lambda: running.ask("status")["pairs"][0]["link"] == "live")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stopped:  # the kernel takes connections for it
        stopped.bind(running.socket)
        stopped.listen(1)
        began = time.monotonic()
        assert mailmirror("status", "--format", "json") == 0
        assert time.monotonic() - began < 5.0
    told = json.loads(capsys.readouterr().out)
    assert told["stale"] and "doesn't answer within 0.2 s" in told["daemon"]
    assert told["pairs"][0]["passives"][0]["host"] == "mail2.org.example"
