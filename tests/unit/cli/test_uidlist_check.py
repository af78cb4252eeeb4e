"""`uidlist check`: what it prints of sound and broken files, and its exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator.cli import front

GOOD = b"3 V7 N5 G0123456789abcdef0123456789abcdef\n1 :a\n2 :b\n"


class Check:
    """Runs `mailmirror uidlist check ...` through the front door; keeps what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.output = self.error = ""

    def __call__(self, *arguments: str | Path) -> int:
        code = front.run(["uidlist", "check", *map(str, arguments)])
        self.output, self.error = self._capsys.readouterr()
        return code


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    return Check(capsys)


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """An account with an INBOX (two rows, one message, one message without a row) and a folder."""
    for folder in (".", ".Archive"):
        for place in ("cur", "new", "tmp"):
            (tmp_path / "user" / folder / place).mkdir(parents=True)
        (tmp_path / "user" / folder / "dovecot-uidlist").write_bytes(GOOD)
    (tmp_path / "user/cur/a:2,S").write_bytes(b"")
    (tmp_path / "user/new/c").write_bytes(b"")
    for name in ("a", "b:2,"):
        (tmp_path / "user/.Archive/cur" / name).write_bytes(b"")
    return tmp_path / "user"


@pytest.mark.issue("2.6 uidlist check")
def test_sound_files_below_a_directory_exit_with_0_and_notes(account: Path, check: Check) -> None:
    assert check(account) == 0
    assert check.output.splitlines() == [
        f"{account}/dovecot-uidlist: note: 1 row without a message: harmless, they were expunged",
        f"{account}/dovecot-uidlist: note: 1 message without a row: Dovecot gives them the next UIDs",
        "checked 2 uidlists: 0 problems, 2 notes",
    ]


@pytest.mark.issue("2.6 uidlist check")
def test_each_problem_is_told_with_its_line_what_dovecot_would_do_and_a_remedy(account: Path, check: Check) -> None:
    path = account / ".Archive/dovecot-uidlist"
    path.write_bytes(GOOD + b"garbage\n2 :c\n3 :d")
    assert check(path) == 1
    lines = check.output.splitlines()
    assert [line.split(": ")[:2] for line in lines[:3]] == [
        [f"{path}:4", "GARBAGE"],
        [f"{path}:5", "CLASH"],
        [f"{path}:6", "TORN"],
    ]
    assert "numbers every message anew under the same UIDVALIDITY; stop Dovecot" in lines[0]
    assert "UID 2 names 'b' and 'c'" in lines[1]
    assert "cut the file after its last newline" in lines[2]
    assert lines[-1].startswith("checked 1 uidlist: 3 problems")


@pytest.mark.issue("2.6 uidlist check")
def test_json_holds_the_same_for_programs(account: Path, check: Check) -> None:
    (account / "dovecot-uidlist").write_bytes(GOOD + b"0 :z\n")
    assert check("--format", "json", account) == 1
    broken, sound = json.loads(check.output)
    assert (broken["usable"], broken["problems"][0]["kind"], broken["problems"][0]["line"]) == (False, "zero", 4)
    assert (sound["uidvalidity"], sound["next_uid"], sound["rows"], sound["problems"]) == (7, 5, 2, [])
    assert (broken["rows_without_message"], broken["messages_without_row"], broken["names_twice"]) == (1, 1, 0)


def test_a_name_that_stands_twice_and_uids_near_their_end_are_noted(account: Path, check: Check) -> None:
    (account / ".Archive/new/a").write_bytes(b"")
    (account / ".Archive/dovecot-uidlist").write_bytes(GOOD.replace(b"N5", b"N2147483648") + b"3 :a\n")
    assert check(account / ".Archive") == 0
    assert "note: 1 name in both new and cur" in check.output
    assert "more than half of all UIDs" in check.output
    assert "note: TWICE: 'a' has UID 1 and UID 3; the last counts" in check.output


def test_a_file_without_messages_beside_it_is_checked_alone(tmp_path: Path, check: Check) -> None:
    (tmp_path / "courierimapuiddb").write_bytes(b"1 7 9\n1 a\n")
    assert check(tmp_path / "courierimapuiddb") == 0
    assert check.output == "checked 1 uidlist: 0 problems, 0 notes\n"
    (tmp_path / "list").write_bytes(GOOD.replace(b" G0123456789abcdef0123456789abcdef", b""))
    assert check(tmp_path / "list") == 0
    assert "note: HEADER: no folder GUID" in check.output


def test_links_below_a_directory_are_passed_by_and_a_named_one_is_refused(
    account: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    (account / ".Link").mkdir()
    (account / ".Link/dovecot-uidlist").symlink_to(account / "dovecot-uidlist")
    assert check(account) == 0
    assert "checked 2 uidlists" in check.output
    monkeypatch.chdir(account / ".Link")
    assert check("dovecot-uidlist") == 2
    assert "is a link" in check.error and "Name the file itself" in check.error


def test_a_path_that_is_not_there_or_holds_none_says_what_to_name(tmp_path: Path, check: Check) -> None:
    assert check(tmp_path / "nowhere") == 2
    assert "Name a file or a directory that is there" in check.error
    assert check(tmp_path) == 3
    assert "no uidlist below" in check.error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_may_not_be_read_is_said_not_passed_by(account: Path, check: Check) -> None:
    (account / ".Archive").chmod(0)
    assert check(account) == 77
    assert ".Archive" in check.error


def test_a_path_of_odd_bytes_stays_on_one_line(tmp_path: Path, check: Check) -> None:
    odd = tmp_path / "line\nbreak"
    odd.mkdir()
    (odd / "dovecot-uidlist").write_bytes(b"")
    assert check(odd) == 1
    assert len(check.output.splitlines()) == 2 and "line\\nbreak" in check.output
