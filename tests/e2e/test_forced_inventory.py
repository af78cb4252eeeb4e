"""`mm_forced` and `agent install|update`, as an operator types them, against a real sshd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import front
from orchestrator.errors import HostUnreachable, NotPermitted
from orchestrator.records import history
from orchestrator.remote.opening import open_conversation
from tests.support import require
from tests.support.sshd import Sshd, make_key, running_sshd

pytestmark = pytest.mark.lab

STATE = "/var/lib/mailmirror-agent"
INVENTORY = """\
mailmirror:
  children:
    org:
      vars:
        mm_stores: [/srv/mail]
        mm_state_dir: {base}/state
        mm_known_hosts: {known}
        mm_forced: {forced}
        ansible_user: root
        ansible_ssh_private_key_file: {key}
      hosts:
        mail1: {{mm_place: primary, ansible_host: 127.0.0.1, ansible_port: {port}}}
        mail2: {{mm_place: mirror, ansible_host: 127.0.0.1, ansible_port: 1}}
"""


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    require.root()
    with running_sshd(tmp_path) as server:
        server.root.check(["rm", "-rf", STATE])  # in here only: an agent may be installed on the machine itself
        yield server


def inventory(sshd: Sshd, base: Path, key: Path, forced: str) -> str:
    path = base / "inventory.yaml"
    path.write_text(
        INVENTORY.format(base=base, known=sshd.known_hosts, key=key, port=sshd.port, forced=forced), encoding="utf-8"
    )
    return str(path)


@pytest.mark.issue("2.2 mm_forced: nothing is shipped to a host whose key is said to be bound")
def test_where_a_key_is_said_to_be_bound_nothing_is_shipped(sshd: Sshd) -> None:
    with pytest.raises(HostUnreachable, match="didn't start") as failed:
        open_conversation(sshd.host(forced=True))
    assert "mailmirror agent install" in failed.value.remedy and "mm_forced" in failed.value.remedy
    assert not sshd.root.path(STATE).exists()


@pytest.mark.issue("2.2 mm_forced: an agent of another version is told with what to do, and agent update does it")
def test_an_agent_of_another_version_is_told_and_updated(
    sshd: Sshd, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    key, login = make_key(sshd.client_key.with_name("bound")), ["--login-key", str(sshd.client_key)]
    path = inventory(sshd, tmp_path, key, "false")
    assert front.run(["-i", path, "agent", "update", "org", "mail1", *login, "--yes"]) == 3
    assert front.run(["-i", path, "agent", "install", "org", "mail1", *login]) == 5
    assert not sshd.root.path(STATE).exists()
    assert front.run(["-i", path, "agent", "install", "org", "mail1", *login, "--yes", "--reason", "least"]) == 0
    assert "Say so in the inventory: mm_forced: true for mail1." in capsys.readouterr().out
    path = inventory(sshd, tmp_path, key, "true")
    host = sshd.host("mail1", key_file=key, forced=True)
    with open_conversation(host) as talk:
        assert talk.hello["stores"] == ["/srv/mail"]

    old = f"cd {STATE}/code && mv $(readlink current) old && ln -sfn old current"
    older = "cd old/orchestrator/agent && rm -r __pycache__ && sed -i 's/^PROTOCOL = .*/PROTOCOL = 0/' __init__.py"
    sshd.root.check(["sh", "-c", f"{old} && {older}"])
    with pytest.raises(HostUnreachable, match="speaks protocol 0") as failed:
        open_conversation(host)
    assert "mailmirror agent update" in failed.value.remedy
    assert front.run(["-i", path, "agent", "update", "org", "mail1", *login, "--dry-run"]) == 0
    assert front.run(["-i", path, "agent", "update", "org", "mail1", *login, "--yes"]) == 0
    assert "the key's line was there already" in capsys.readouterr().out
    open_conversation(host).close()
    verbs = [line["verb"] for line in history.told(tmp_path / "state", "org")]
    assert verbs == ["agent install", "agent update"]


@pytest.mark.issue("2.6 agent remove takes away what agent install laid down, and nothing else")
def test_what_was_installed_is_removed_and_nothing_else(
    sshd: Sshd, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sshd.root.check(
        ["sh", "-c", "mkdir -p /root/.ssh && echo 'ssh-ed25519 AAAA somebody' > /root/.ssh/authorized_keys"]
    )
    key, login = make_key(sshd.client_key.with_name("bound")), ["--login-key", str(sshd.client_key)]
    line = ["-i", inventory(sshd, tmp_path, key, "true"), "agent"]
    assert front.run([*line, "install", "org", "mail1", *login, "--yes"]) == 0
    sshd.root.check(["sh", "-c", f"mkdir {STATE}/x && touch {STATE}/x/sink.sqlite"])
    assert front.run([*line, "remove", "org", "mail1", *login, "--dry-run"]) == 0
    assert front.run([*line, "remove", "org", "mail1", *login]) == 5
    open_conversation(sshd.host("mail1", key_file=key, forced=True)).close()
    for said in ("the key's line was removed", "the key's line was not there"):
        capsys.readouterr()
        assert front.run([*line, "remove", "org", "mail1", *login, "--yes"]) == 0
        assert said in capsys.readouterr().out
    with pytest.raises(NotPermitted):
        open_conversation(sshd.host("mail1", key_file=key, forced=True))
    assert sshd.root.check(["cat", "/root/.ssh/authorized_keys"]) == b"ssh-ed25519 AAAA somebody\n"
    assert sshd.root.check(["find", STATE, "-type", "f"]) == f"{STATE}/x/sink.sqlite\n".encode()
