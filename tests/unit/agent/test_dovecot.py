"""Whether a Dovecot could have the store open, from what /proc says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.agent import dovecot
from orchestrator.agent.dovecot import Mount, Neighbour, mounts, reaches

HOST = [
    Mount("8:1", "/", "/"), Mount("0:20", "/", "/proc"), Mount("8:2", "/", "/var/vmail"),
    Mount("8:3", "/mail", "/srv/mail"),
]  # fmt: skip


def line(mount: Mount) -> str:
    point = mount.point.replace(" ", "\\040")
    return f"36 35 {mount.device} {mount.part} {point} rw,noatime shared:1 - ext4 /dev/x rw\n"


class Proc:
    """A /proc in which processes come and go."""

    def __init__(self, base: Path) -> None:
        self.path = base
        self.add("self", "python3", HOST)
        self.add("1", "systemd", HOST)

    def add(self, pid: str, name: str, known: list[Mount]) -> None:
        (self.path / pid).mkdir()
        (self.path / pid / "comm").write_text(name + "\n")
        (self.path / pid / "mountinfo").write_text("".join(map(line, known)))

    def neighbour(self, root: str, other: bool = False) -> Neighbour:
        return Neighbour(root, other, str(self.path))


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    monkeypatch.setattr(dovecot, "EVERY", 0.0)
    return Proc(tmp_path)


@pytest.mark.issue("2.5 sidecars wait for a running Dovecot that can reach the store")
def test_a_dovecot_that_sees_what_we_see_counts_while_it_runs(proc: Proc) -> None:
    neighbour = proc.neighbour("/var/vmail")
    assert not neighbour.may_be_there()
    proc.add("70", "dovecot", HOST)
    assert neighbour.may_be_there()
    assert neighbour.may_be_there(), "it is known by now"
    (proc.path / "70/comm").write_text("imap\n")
    assert not neighbour.may_be_there()


def test_an_operator_s_word_that_it_serves_other_mail_counts_more(proc: Proc) -> None:
    proc.add("70", "dovecot", HOST)
    assert not proc.neighbour("/var/vmail", other=True).may_be_there()


def test_one_about_which_nothing_can_be_learnt_counts(proc: Proc) -> None:
    proc.add("70", "dovecot", HOST)
    (proc.path / "70/mountinfo").unlink()
    (proc.path / "70/mountinfo").mkdir()  # reading it fails, and not because the process has ended
    assert proc.neighbour("/var/vmail").may_be_there()


def test_a_look_is_remembered_for_a_second(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dovecot, "EVERY", 60.0)
    neighbour = proc.neighbour("/var/vmail")
    assert not neighbour.may_be_there()
    proc.add("70", "dovecot", HOST)
    assert not neighbour.may_be_there()
    assert proc.neighbour("/var/vmail").may_be_there()


@pytest.mark.parametrize(
    ("container", "path", "reached"),
    [
        ([Mount("0:50", "/", "/")], "/var/vmail", False),
        ([Mount("0:50", "/", "/"), Mount("8:2", "/", "/mail")], "/var/vmail", True),
        ([Mount("0:50", "/", "/"), Mount("8:2", "/ex.org", "/mail")], "/var/vmail", True),
        ([Mount("0:50", "/", "/"), Mount("8:2", "/ex.org", "/mail")], "/var/vmail/ex.org/ann", True),
        ([Mount("0:50", "/", "/"), Mount("8:2", "/ex.org", "/mail")], "/var/vmail/ex.net", False),
        ([Mount("0:50", "/", "/"), Mount("8:1", "/etc/dovecot", "/etc/dovecot")], "/home", False),
        ([Mount("0:50", "/", "/"), Mount("8:3", "/mail/a b", "/m")], "/srv/mail/a b", True),
        ([Mount("0:50", "/", "/"), Mount("8:3", "/mailing", "/m")], "/srv/mail", False),
        ([Mount("0:50", "/", "/"), Mount("8:1", "/", "/host")], "/home/ann", True),
    ],
)
def test_one_in_a_container_counts_if_a_part_of_the_store_s_file_system_is_mounted_there(
    container: list[Mount], path: str, reached: bool
) -> None:
    assert reaches(container, HOST, path) == reached


def test_of_two_mounts_at_one_point_the_last_is_the_one_that_is_seen() -> None:
    ours = [*HOST, Mount("8:9", "/", "/var/vmail")]
    assert not reaches(HOST, ours, "/var/vmail")
    assert reaches([Mount("8:9", "/", "/x")], ours, "/var/vmail")


def test_our_own_mounts_are_read_and_reach_what_we_reach(tmp_path: Path) -> None:
    ours = mounts("/proc/self/mountinfo")
    assert any(mount.point == "/" for mount in ours)
    assert reaches(ours, ours, str(tmp_path))
