"""The verbs of decisions: asked of a daemon that decides, and read from what an earlier one has kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.inventory.load import load
from orchestrator.records import database
from tests.unit.cli.conftest import Type
from tests.unit.daemon.deciding import Stage
from tests.unit.daemon.memory import Site
from tests.unit.daemon.test_follower import until
from tests.unit.daemon.test_service import Running


@pytest.fixture
def past(tmp_path: Path, one_pair: Path) -> Stage:
    """A failover that a daemon decided on and carried out, and which runs no more."""
    assert one_pair.exists()
    (tmp_path / "state").mkdir(exist_ok=True)
    stage = Stage(tmp_path / "state")
    stage.tick(25)
    stage.power_cut()
    stage.tick()
    stage.promoted()
    assert stage.tick(3) == "ALONE"
    return stage


@pytest.fixture
def decided_for(site: Site, one_pair: Path) -> Iterator[Running]:
    """A daemon that decides for a pair of two hosts on this machine, which have no guard."""
    described = load(one_pair)
    plain = described.pairs["org"]
    hosts = {name: replace(host, connection="local") for name, host in plain.hosts.items()}
    pair = replace(plain, hosts=hosts, services={"imap": "dovecot"})
    with Running(site, replace(described, pairs={"org": pair})) as running:
        until(lambda: running.ask("status")["pairs"][0].get("decision") is not None, 20.0)
        yield running


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def operation(mailmirror: Type, capsys: pytest.CaptureFixture[str]) -> str:
    assert mailmirror("history", "--format", "json") == 0
    return str(told(capsys)[-1]["operation"])


@pytest.mark.issue("5.5 explain and replay: the decision and the steps of an operation, decided again")
def test_an_operation_is_explained_and_decided_again_without_a_daemon(
    mailmirror: Type, past: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    name = operation(mailmirror, capsys)
    assert mailmirror("explain", name) == 0
    text = capsys.readouterr().out
    assert "DOWN goes to MOVING: It is down, and all that a failover depends on is there." in text
    assert "Starts the failover (automatic)." in text and "5 advance: verified: done" in text
    assert mailmirror("replay", name) == 0
    assert "comes out the same" in capsys.readouterr().out
    assert mailmirror("explain") == 0
    assert "no daemon runs:" in capsys.readouterr().out
    assert mailmirror("explain", "nobody-knows-it") == 1
    assert "There is neither a pair, nor an operation" in capsys.readouterr().err


@pytest.mark.issue("5.5 explain and replay: the decision and the steps of an operation, decided again")
def test_a_decision_that_comes_out_otherwise_is_said_and_exits_with_1(
    mailmirror: Type, past: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mailmirror("history", "--decisions", "--format", "json") == 0
    [number] = [each["number"] for each in told(capsys) if each["playbook"] == "failover"]
    with sqlite3.connect(database.path_of(past.pair.state_dir)) as db:
        [(facts,)] = db.execute("SELECT facts FROM decisions WHERE id = ?", (number,))
        changed = json.dumps({**json.loads(facts), "mode": "observe"})
        db.execute("UPDATE decisions SET facts = ? WHERE id = ?", (changed, number))
    assert mailmirror("replay", str(number)) == 1
    assert "comes out otherwise" in capsys.readouterr().out
    assert mailmirror("replay", str(number), "--format", "json") == 1
    assert told(capsys)[0]["same"] is False
    with sqlite3.connect(database.path_of(past.pair.state_dir)) as db:
        db.execute("UPDATE decisions SET facts = '{}' WHERE id = ?", (number,))
    assert mailmirror("replay", str(number)) == 1
    assert "can't be decided again" in capsys.readouterr().out


def test_history_shows_every_change_of_state_and_operations_as_before(
    mailmirror: Type, past: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mailmirror("history", "--decisions", "--format", "json") == 0
    rows = told(capsys)
    moved = [(row["was"], row["state"]) for row in rows if row["was"] != row["state"]]
    assert moved == [
        ("EXPOSED", "PROTECTED"), ("PROTECTED", "DOWN"), ("DOWN", "MOVING"), ("MOVING", "ALONE")
    ]  # fmt: skip
    assert mailmirror("history", "--decisions") == 0
    assert "DOES" in capsys.readouterr().out
    assert mailmirror("history", "--format", "json") == 0
    assert {"operation", "journey", "from", "to", "state"} <= told(capsys)[0].keys()


@pytest.mark.issue("5.5 pause and resume with expiry and reason")
def test_a_pause_without_a_daemon_is_kept_and_ended(
    mailmirror: Type, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mailmirror("pause", "--for", "2h", "--reason", "new kernel") == 0
    assert "No daemon runs" in capsys.readouterr().out
    assert mailmirror("pause", "--for", "2", "--reason", "x") == 2
    assert mailmirror("pause", "--for", "9d", "--reason", "x") == 2
    assert mailmirror("pause", "--for", "1h", "--reason", " ") == 2
    assert mailmirror("pause", "--for", "1h") == 2
    assert mailmirror("resume") == 0 and mailmirror("resume") == 3
    assert mailmirror("ack", "cooldown", "--yes") == 75


@pytest.mark.issue("5.5 pause and resume with expiry and reason")
def test_a_daemon_that_decides_is_paused_resumed_and_asked(
    mailmirror: Type, decided_for: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mailmirror("status", "--format", "json") == 0
    [pair] = told(capsys)["pairs"]
    assert pair["state"] in ("EXPOSED", "SUSPECT", "DOWN") and pair["why"] and "pause" in pair["may"]
    assert mailmirror("pause", "--for", "10m", "--reason", "new kernel", "--format", "json") == 0
    assert told(capsys)["why"] == "new kernel"
    until(lambda: decided_for.ask("status")["pairs"][0]["decision"]["paused_until"] is not None)
    assert mailmirror("status") == 0
    assert "Paused until" in capsys.readouterr().out
    assert mailmirror("explain", "org") == 0
    assert "You may:" in capsys.readouterr().out
    assert mailmirror("resume") == 0 and mailmirror("resume") == 3
    assert mailmirror("ack", "org", "cooldown", "--yes") == 3
    assert mailmirror("ack", "org", "split-brain", "--yes") == 3
    assert "not SPLIT_BRAIN" in capsys.readouterr().err


def test_a_pair_without_guards_has_no_state_and_no_decisions(
    mailmirror: Type, site: Site, one_pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Running(site, load(one_pair)) as running:
        until(lambda: running.ask("status")["pairs"][0]["link"] == "live")
        assert "state" not in running.ask("status")["pairs"][0]
        assert mailmirror("pause", "--for", "1h", "--reason", "x") == 2
        assert "it has no guards" in capsys.readouterr().err
