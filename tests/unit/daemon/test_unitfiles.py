"""The units as systemd reads them, and as they are shipped."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.agent.unitfiles import guard_unit
from orchestrator.daemon import unitfiles
from orchestrator.daemon.unitfiles import AGENT, DAEMON, SOCKET, Installation, Local, units
from tests.support.image import CHECKOUT

SHIPPED = unitfiles.SAMPLE
EXPOSURE = {DAEMON: 1.5, AGENT: 5.3, "mailmirror-guard.service": 4.4}
"""`systemd-analyze security` of each, at most. What runs as root keeps what its work takes."""
analyse = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")


def test_the_units_in_deploy_are_those_that_are_laid_down() -> None:
    found = {path.name: path.read_text() for path in (CHECKOUT / "deploy/systemd").iterdir()}
    assert found == units(SHIPPED), "stale: python -m orchestrator.daemon.unitfiles deploy/systemd"


@analyse
@pytest.mark.issue("6.1 systemd-analyze security of the daemon, the agent and the guard")
def test_none_is_more_exposed_than_its_work_takes(tmp_path: Path) -> None:
    guard = guard_unit({"pair": "org", "ttl": 8, "stores": ["/var/vmail"], "postfix": True})
    for name, text in {**units(SHIPPED), "mailmirror-guard.service": guard}.items():
        if name == SOCKET:
            continue
        (tmp_path / name).write_text(text)
        told = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--no-pager", str(tmp_path / name)],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told)
        assert found and float(found[1]) <= EXPOSURE[name], told
        assert "\nPrivateUsers=" not in text, "which would show every caller as nobody"


@analyse
def test_systemd_finds_nothing_wrong_with_them(tmp_path: Path) -> None:
    program = tmp_path / "a b"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    odd = Installation(
        command=str(program), python="/bin/sh", house="/opt/50%", inventory='/etc/"x y.yaml',
        credentials={"etc-key": "/etc/a key"}, local=Local(("/srv/v mail", "/srv/b"), services=False),
    )  # fmt: skip
    for name, text in units(odd).items():
        (tmp_path / name).write_text(text)
    told = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in ("mailmirror-agent.socket", DAEMON))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not [line for line in told.stderr.splitlines() if "mailmirror" in line]


def test_what_is_named_stands_in_them_as_one_word() -> None:
    odd = units(Installation(inventory="/etc/x y.yaml", credentials={"etc-key": "/etc/a%key"}))
    assert set(odd) == {DAEMON}, "no agent on this host: none is laid down"
    assert '-i "/etc/x y.yaml" run' in odd[DAEMON]
    assert "LoadCredential=etc-key:/etc/a%%key\n" in odd[DAEMON]
    assert "mailmirror-agent" not in odd[DAEMON]


def test_an_agent_that_only_replicates_gets_no_network() -> None:
    text = units(Installation(local=Local(("/srv/a", "/srv/b"), services=False)))[AGENT]
    assert "--stores /srv/a,/srv/b --allow replication\n" in text
    assert "CAP_NET_ADMIN" not in text and "RestrictAddressFamilies=AF_UNIX\n" in text
    assert "--group mailmirror" in text
