"""What `service install` would lay down, read off an inventory; what it does is proven in the lab."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.cli import service
from orchestrator.inventory import secret
from orchestrator.inventory.load import load
from orchestrator.inventory.model import Secret
from tests.unit.cli.conftest import Type

INVENTORY = """
mailmirror:
  vars:
    mm_stores: [/var/vmail]
    mm_state_dir: {state}
    mm_known_hosts: {known}
    ansible_user: root
    ansible_ssh_private_key_file: {key}
    mm_services: {{imap: dovecot}}
    mm_dns: {{server: 192.0.2.53, zone: example.org, names: [mail], tsig: {{file: {tsig}}}}}
  children:
    org:
      hosts:
        mail1.example.org: {{mm_place: primary, ansible_host: 192.0.2.11}}
        mail2.example.org: {{mm_place: mirror, ansible_connection: local}}
"""


def written(place: Path, state: str = "/var/lib/mailmirror") -> Path:
    for name in ("key", "tsig", "known"):
        (place / name).write_text("x\n")
        (place / name).chmod(0o600)
    path = place / "inventory.yaml"
    named = {name: place / name for name in ("key", "tsig", "known")}
    path.write_text(INVENTORY.format(state=state, **named))
    return path


@pytest.mark.issue("6.1 credentials by LoadCredential")
def test_it_prints_units_with_the_secrets_of_the_inventory_as_credentials(
    mailmirror: Type, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path)
    assert mailmirror("service", "install", "--dry-run", inventory=path) == 0
    told = capsys.readouterr().out
    for name in ("key", "tsig"):
        file = tmp_path / name
        assert f"LoadCredential={secret.credential_name(file)}:{file}\n" in told
    assert f"-i {path} run\n" in told and "StateDirectory=mailmirror\n" in told
    assert "--stores /var/vmail --allow replication,services\n" in told
    assert str(tmp_path / "known") not in told


def test_a_state_directory_elsewhere_is_refused_with_what_to_say(
    mailmirror: Type, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mailmirror("service", "install", "--dry-run", inventory=written(tmp_path, str(tmp_path / "s"))) == 78
    assert "Say one below /var/lib" in capsys.readouterr().err


def test_what_the_daemon_reads_itself_is_given_to_its_group_and_to_nobody_else(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.chmod(0o644)
    group = "root" if os.geteuid() else "mail"
    if os.geteuid():
        pytest.skip("another group takes root")
    read = service._read_by_the_daemon(load(path))
    assert read == [path, tmp_path / "known"]
    assert service._made_readable(read, group) == [str(tmp_path / "known")], "everybody may read the inventory"
    assert (tmp_path / "known").stat().st_mode & 0o777 == 0o640
    assert service._made_readable(read, group) == []


@pytest.mark.issue("6.1 credentials by LoadCredential")
def test_a_file_that_the_inventory_names_is_read_where_systemd_laid_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, laid = tmp_path / "secret", tmp_path / "credentials"
    laid.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(laid))
    file.write_text("by root\n")
    file.chmod(0o600)
    assert secret.read(Secret("file", str(file))) == "by root"
    copy = laid / secret.credential_name(file)
    copy.write_text("by systemd\n")
    copy.chmod(0o400)
    file.unlink()
    assert secret.read(Secret("file", str(file))) == "by systemd"
    assert secret.at_hand(file) == copy
