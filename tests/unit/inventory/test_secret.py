"""Secrets are read from where the inventory says, and refused where others may read them too."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ConfigError, NotPermitted
from orchestrator.inventory.model import Secret
from orchestrator.inventory.secret import LARGEST, read


def test_a_file_a_variable_and_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text(" hush\n")
    (tmp_path / "key").chmod(0o640)
    monkeypatch.setenv("SECRET", "hush ")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for secret in (Secret("file", str(tmp_path / "key")), Secret("env", "SECRET"), Secret("credential", "key")):
        assert read(secret) == "hush"


def test_what_isnt_there_is_told_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    for missing in (Secret("file", str(tmp_path / "none")), Secret("env", "SECRET"), Secret("credential", "key")):
        with pytest.raises(ConfigError) as caught:
            read(missing)
        assert caught.value.remedy


def test_a_file_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hush")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(NotPermitted, match="Everybody on this host may use") as caught:
        read(Secret("file", str(tmp_path / "key")))
    assert caught.value.remedy == f"chmod o= {tmp_path / 'key'}"


@pytest.mark.parametrize("content", [b"x" * (LARGEST + 1), b"a\0b"])
def test_what_cant_be_a_secret_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(ConfigError, match="is no secret"):
        read(Secret("file", str(tmp_path / "key")))
