"""A remembered inventory is the one that reading would give, or isn't used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import reach, remembered
from orchestrator.cli.front import Front
from orchestrator.errors import ConfigError
from orchestrator.inventory import load
from tests.unit.cli.conftest import write_inventory

SAMPLE = Path("inventory.yaml")


def kept(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "mailmirror" / "inventory.json"


def test_the_sample_is_remembered_as_it_was_read(tmp_path: Path) -> None:
    content = SAMPLE.read_bytes()
    understood = load.load(SAMPLE)
    assert remembered.recall(SAMPLE, content) is None
    remembered.remember(SAMPLE, content, understood)
    assert remembered.recall(SAMPLE, content) == understood
    assert kept(tmp_path).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in kept(tmp_path).parent.iterdir()] == ["inventory.json"]


def test_one_more_byte_another_path_user_or_home_and_it_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_inventory(tmp_path, "org")
    content = path.read_bytes()
    remembered.remember(path, content, load.load(path))
    assert remembered.recall(path, content) is not None
    assert remembered.recall(path, content + b"\n") is None
    assert remembered.recall(tmp_path / "other.yaml", content) is None
    for name, value in (("XDG_STATE_HOME", "/elsewhere"), ("HOME", "/elsewhere")):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            assert remembered.recall(path, content) is None
    monkeypatch.setattr(remembered, "__version__", "0.0.0")
    assert remembered.recall(path, content) is None


def test_a_changed_inventory_is_read_again_and_a_broken_one_is_told_each_time(tmp_path: Path) -> None:
    path = write_inventory(tmp_path, "org")
    front = Front(str(path))
    assert list(reach.inventory(front).pairs) == ["org"]
    assert reach.inventory(front) == load.load(path)
    write_inventory(tmp_path, "org", "net")
    assert list(reach.inventory(front).pairs) == ["org", "net"]
    path.write_text(path.read_text().replace("primary", "prinary"))
    for _ in range(2):
        with pytest.raises(ConfigError):
            reach.inventory(front)


def test_a_file_that_others_could_have_written_is_not_believed(tmp_path: Path) -> None:
    path = write_inventory(tmp_path, "org")
    content = path.read_bytes()
    remembered.remember(path, content, load.load(path))
    kept(tmp_path).chmod(0o620)
    assert remembered.recall(path, content) is None
    kept(tmp_path).chmod(0o600)
    assert remembered.recall(path, content) is not None
    kept(tmp_path).rename(tmp_path / "moved")
    kept(tmp_path).symlink_to(tmp_path / "moved")
    assert remembered.recall(path, content) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"of": 1}', "\xff", '{"of": {}, "inventory": {}}'])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    path = write_inventory(tmp_path, "org")
    kept(tmp_path).parent.mkdir(parents=True)
    kept(tmp_path).write_text(text, encoding="latin-1")
    assert remembered.recall(path, path.read_bytes()) is None


def test_where_nothing_can_be_written_only_time_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_inventory(tmp_path, "org")
    (tmp_path / "cache").write_text("in the way")
    assert list(reach.inventory(Front(str(path))).pairs) == ["org"]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "nowhere")
    assert list(reach.inventory(Front(str(path))).pairs) == ["org"]


def test_what_was_remembered_spares_yaml_and_pydantic(tmp_path: Path) -> None:
    path = write_inventory(tmp_path, "org")
    reach.inventory(Front(str(path)))
    program = "import sys; from orchestrator.cli import reach; from orchestrator.cli.front import Front\n"
    program += "reach.inventory(Front(sys.argv[1])); print(sorted({'yaml', 'pydantic'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": "."}
    told = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, check=True, text=True, env=environment
    )
    assert told.stdout == "[]\n"
