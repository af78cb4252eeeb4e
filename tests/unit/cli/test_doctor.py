"""`mailmirror doctor`, as it is typed, at a pair of which only this machine answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.front import Front, run

HOSTS = """
mailmirror:
  vars: {{mm_stores: [{root}/mail], mm_state_dir: {root}/state, mm_known_hosts: {root}/known_hosts}}
  children:
    org:{more}
      hosts:
        mail1.org.example: {{mm_place: primary, ansible_connection: local}}
        mail2.org.example: {{mm_place: mirror, ansible_host: 127.0.0.1, ansible_port: 1}}
"""
SERVED = """
      vars: {mm_services: {smtp: postfix, imap: dovecot}, mm_mode: observe}"""


@pytest.fixture(autouse=True)
def nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "known_hosts").touch()
    (tmp_path / "mail").mkdir()


def typed(directory: Path, *words: str, more: str = "") -> int:
    inventory = directory / "inventory.yaml"
    inventory.write_text(HOSTS.format(root=directory, more=more))
    return run(["-i", str(inventory), "doctor", *words], Front())


@pytest.mark.issue("4.4 doctor: in words for 3 a.m., exit 1 when a check that automatic failover needs is red")
def test_a_person_reads_what_is_in_the_way_why_that_matters_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(tmp_path, "org", more=SERVED) == 1
    out = capsys.readouterr().out
    assert out.startswith("org: mail1.org.example is active. Automatic failover is NOT READY: observers, ")
    assert "\nThe hosts\n" in out and "\nMoving the users\n" in out
    lines = out.splitlines()
    [at] = [number for number, line in enumerate(lines) if line.startswith("  RED      fence ")]
    assert "automatic failover is impossible" in " ".join(" ".join(lines[at : at + 2]).split())
    rest = " ".join(" ".join(lines[at:]).split())
    assert "why: No place is promoted before" in rest and "do: Add a witness with mm_lease, or say mm_fence" in rest
    assert "  UNKNOWN  clock      The clock of mail2.org.example isn't known" in out
    assert "  warn     mode       mm_mode is observe" in out
    assert max(len(line) for line in lines if "/" not in line) <= 104, "paths aren't broken"


def test_programs_read_every_check_with_its_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(tmp_path, "--format", "json") == 1
    [told] = json.loads(capsys.readouterr().out)
    assert (told["pair"], told["active"], told["failover"], told["ready"]) == ("org", "mail1.org.example", False, False)
    states = {each["name"]: each["state"] for each in told["checks"]}
    assert set(states) == {"daemon", "lag", "equality", "clock", "disk"}, "it only replicates"
    assert (states["daemon"], states["lag"], states["disk"]) == ("red", "unknown", "unknown")
    assert all(each["remedy"] for each in told["checks"] if each["state"] != "ok")
    assert set(told["checks"][0]) == {"name", "group", "state", "found", "why", "remedy", "needed"}
    assert any(reason.startswith("daemon: No daemon runs") for reason in told["reasons"])


def test_a_pair_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(tmp_path, "net") == 2
    assert "has no pair net" in capsys.readouterr().err
