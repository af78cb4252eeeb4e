"""Tests of fence devices, kept line by line, and found again by the device that they are of."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import OperatorError
from orchestrator.records import fences, lines


def trial(at: float, state: str = "on", fingerprint: str = "f1", host: str = "mail1") -> fences.Trial:
    return fences.Trial(host, "fence_redfish bmc1", fingerprint, at, state, "status", "Status: ON")


@pytest.mark.issue("4.3 a durable record of the last fence test per device")
def test_the_last_test_of_a_device_is_found_again(tmp_path: Path) -> None:
    kept = [
        trial(1.0),
        trial(3.0, "unknown"),
        trial(2.0, "off"),
        trial(9.0, fingerprint="f2"),
        trial(9.0, host="mail2"),
    ]
    for each in kept:
        fences.note(tmp_path / "state", "org", each)
    told = fences.tests(tmp_path / "state", "org")
    assert told == kept
    assert fences.last(told, "mail1", "f1") == kept[1]
    assert fences.last(told, "mail1", "f1", good=True) == kept[2]
    assert fences.last(told, "mail1", "f3") is None


def test_without_a_file_there_was_no_test(tmp_path: Path) -> None:
    assert fences.tests(tmp_path, "org") == []


def test_lines_that_are_torn_or_of_another_version_are_passed_over(tmp_path: Path) -> None:
    fences.note(tmp_path, "org", trial(1.0))
    with fences.path_of(tmp_path, "org").open("a") as file:
        file.write('[1]\n{"host": "mail1"}\n{"host": "mai')
    fences.note(tmp_path, "org", trial(2.0))
    assert [each.at for each in fences.tests(tmp_path, "org")] == [1.0, 2.0]


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    fences.path_of(tmp_path, "org").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OperatorError, match="can't be written"):
        fences.note(tmp_path, "org", trial(1.0))
    assert not (tmp_path / "elsewhere").exists()


def test_what_can_not_be_read_is_an_error_and_not_an_empty_record(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").mkdir()
    with pytest.raises(IsADirectoryError):
        list(lines.read(tmp_path / "x.jsonl"))
