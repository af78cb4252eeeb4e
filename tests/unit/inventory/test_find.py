"""Which file is meant, and what importing costs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.inventory.find import MAX_BYTES, fingerprint, locate, read


def test_the_file_that_is_named_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "any.yaml"
    path.touch()
    assert locate(str(path)) == path


def test_the_first_usual_place_that_exists_is_taken(tmp_path: Path) -> None:
    second = tmp_path / "second.yaml"
    second.touch()
    assert locate(usual=(tmp_path / "first.yaml", second)) == second


def test_a_named_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        locate(str(tmp_path / "gone.yaml"))
    assert str(caught.value) == f"There is no inventory at {tmp_path}/gone.yaml."
    assert caught.value.remedy.startswith("Name the file with -i")
    assert caught.value.exit_code == 78


def test_without_any_file_every_place_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        locate(usual=(Path("inventory.yaml"), tmp_path / "etc/inventory.yaml"))
    assert str(caught.value) == (
        f"There is no inventory: looked for {tmp_path}/inventory.yaml and {tmp_path}/etc/inventory.yaml."
    )


def test_a_file_of_more_than_a_mebibyte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        read(path)


def test_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigError, match="not a regular file"):
        read(tmp_path / "fifo")


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_bytes(b"mailmirror:\n")
    assert fingerprint(path) == hashlib.sha256(b"mailmirror:\n").hexdigest()


def test_importing_the_room_loads_neither_yaml_nor_pydantic() -> None:
    code = "import sys, orchestrator.inventory; print(sorted({'yaml', 'pydantic', 'pydantic_core'} & set(sys.modules)))"
    root = str(Path(__file__).parents[3])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"
