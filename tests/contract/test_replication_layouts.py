"""What a store may look like: layouts, Courier's files, several roots, accounts by glob, other mailbox formats."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from orchestrator import errors
from orchestrator.demo import uidlist
from orchestrator.demo.mailbox import INBOX
from tests.support import pairs

SETTLED = 0.03  # seconds after which a directory's listing counts on tmpfs; nothing signals it


@pytest.mark.issue("2.5 Maildir++")
def test_maildir_plus_plus_folders_are_followed_whatever_happens_to_them(laid: pairs.Laid) -> None:
    box = pairs.Mailbox(laid.source / "ex.org/ann")
    for name in ("Work", "Work.2024", "Work.2024.Q1"):
        box.create(name).deliver(name.encode())
    laid.sync()
    box.rename("Work.2024", "Old")
    box.delete("Work.2024.Q1")
    time.sleep(SETTLED)
    tally = laid.sync().tally
    assert (tally.messages, tally.folders_renamed, tally.deleted) == (0, 1, 1)
    pairs.equal(laid)
    assert sorted(path.name for path in (laid.mirror / "ex.org/ann").glob(".*")) == [".Old", ".Work"]


@pytest.mark.issue("2.5 fs layout")
def test_folders_within_folders_move_with_all_below_them(laid: pairs.Laid) -> None:
    box = pairs.Mailbox(laid.source / "ex.org/ann", fs=True)
    for name in (INBOX, "Work", "Work/2024", "Work/2024/Q1"):
        (box.folder(name) if name == INBOX else box.create(name)).deliver(name.encode())
    assert laid.sync().tally.messages == 4
    pairs.equal(laid)
    (laid.source / "ex.org/ann/Work").rename(laid.source / "ex.org/ann/Job")
    tally = laid.sync().tally
    assert (tally.messages, tally.linked, tally.folders_renamed, tally.deleted) == (0, 0, 1, 0)
    pairs.equal(laid)
    assert not (laid.mirror / "ex.org/ann/Work").exists()
    assert uidlist.read(laid.mirror / "ex.org/ann/Job/2024/Q1").rows


@pytest.mark.issue("2.5 a renamed domain: its accounts go on")
def test_a_domain_that_is_renamed_keeps_its_accounts(laid: pairs.Laid) -> None:
    pairs.Mailbox(laid.source / "ex.org/ann").folder(INBOX).deliver(b"Subject: x\n\n")
    laid.sync()
    (laid.source / "ex.org").rename(laid.source / "ex.net")
    assert laid.sync().tally.messages == 0
    (letter,) = (laid.source / "ex.net/ann/new").iterdir()
    letter.unlink()
    time.sleep(SETTLED)
    assert laid.sync().tally.deleted == 1
    pairs.equal(laid)


@pytest.mark.issue("2.5 folder rename without bodies")
def test_two_folders_that_swap_names_keep_their_mail(laid: pairs.Laid) -> None:
    box = pairs.Mailbox(laid.source / "ex.org/ann")
    for name in ("A", "B"):
        box.create(name).deliver(name.encode())
    laid.sync()
    box.rename("A", "X")
    box.rename("B", "A")
    box.rename("X", "B")
    tally = laid.sync().tally
    assert (tally.messages, tally.deleted) == (0, 0)
    pairs.equal(laid)


@pytest.mark.issue("2.5 Courier's files")
def test_couriers_files_travel_and_its_uids_are_raised(laid: pairs.Laid) -> None:
    home = laid.source / "ex.org/ann"
    for sub in ("cur", "new", "tmp", "courierimapkeywords"):
        (home / sub).mkdir(parents=True)
    (home / "cur/1700000000.M1.host:2,S").write_bytes(b"mail\n")
    (home / "courierimapuiddb").write_text("1 1700000000 2\n1 1700000000.M1.host\n")
    (home / "courierimapsubscribed").write_text("INBOX.Sent\n")
    (home / "courierimapkeywords/:list").write_text("$Label1\n\n1700000000.M1.host:0\n")
    (home / "courierimapkeywords/1700000000.M1.host").write_text("$Label1\n")
    laid.sync()
    pairs.equal(laid)
    there = laid.mirror / "ex.org/ann"
    for name in ("courierimapsubscribed", "courierimapkeywords/:list", "courierimapkeywords/1700000000.M1.host"):
        assert (there / name).read_bytes() == (home / name).read_bytes()
    head, *rows = (there / "courierimapuiddb").read_text().splitlines()
    assert rows == ["1 1700000000.M1.host"]
    assert head.startswith("1 1700000000 ") and int(head.split()[2]) > 1 << 20


@pytest.mark.issue("2.5 declared roots outside the mail directory")
def test_a_control_root_that_holds_only_uidlists_comes_along(memory: Path) -> None:
    laid = pairs.Laid(memory, pairs.MEMORY, accounts=(None, None))
    laid.session.initialise()
    home, control = memory / "p/0/ann", memory / "p/1/ann"
    for path in (home, home / ".Sent"):
        for sub in ("cur", "new", "tmp"):
            (path / sub).mkdir(parents=True)
        (path / "cur/1.host:2,S").write_bytes(b"mail\n")
        there = control / path.relative_to(home)
        there.mkdir(parents=True)
        (there / "dovecot-uidlist").write_text(f"3 V1700000000 N2 G{7:032x}\n1 :1.host\n")
    report = laid.sync()
    assert (report.tally.messages, report.problems) == (2, [])
    assert laid.verify().equal
    for name in ("dovecot-uidlist", ".Sent/dovecot-uidlist"):
        head, row = (memory / "m/1/ann" / name).read_text().splitlines()
        assert (head.startswith("3 V1700000000 N"), row) == (True, "1 :1.host")
    with (control / "dovecot-uidlist").open("a") as out:
        out.write("2 :2.host\n")
    laid.sync()
    assert (memory / "m/1/ann/dovecot-uidlist").read_text().endswith("\n1 :1.host\n2 :2.host\n")
    laid.end()


@pytest.mark.issue("2.5 accounts by glob")
def test_only_accounts_that_the_glob_names_are_followed(memory: Path) -> None:
    laid = pairs.Laid(memory, pairs.MEMORY, accounts=("*/Maildir",))
    laid.session.initialise()
    for name in ("ann/Maildir", "bob/Maildir", "bob/other", "Maildir"):
        pairs.Mailbox(laid.source / name).folder(INBOX).deliver(name.encode())
    (laid.source / "ann/secret.txt").write_text("not mail")
    assert laid.sync().tally.messages == 2
    assert sorted(path.split("/new/")[0] for path in pairs.messages(laid.mirror)) == ["ann/Maildir", "bob/Maildir"]
    assert not (laid.mirror / "ann/secret.txt").exists()
    assert laid.verify().equal
    pairs.Mailbox(laid.source / "cat/Maildir").folder(INBOX).deliver(b"a new account")
    assert laid.sync().tally.messages == 1
    assert laid.verify().equal
    laid.end()


@pytest.mark.issue("2.5 accounts by glob: a vanished one is never a deletion until account retire")
def test_a_vanished_account_stays_on_the_mirror_until_it_is_retired(laid: pairs.Laid) -> None:
    """A few messages only, with the agent watching: no budget would have stopped these deletions."""
    for name in ("ann", "bob"):
        box = pairs.Mailbox(laid.source / f"ex.org/{name}")
        box.create("Sent").deliver(b"sent\n")
        box.folder(INBOX).deliver(b"received\n")
    laid.sync()
    before = pairs.snapshot(laid.mirror)
    shutil.rmtree(laid.source / "ex.org/ann")
    for _ in range(2):
        time.sleep(SETTLED)
        assert laid.sync().tally.deleted == 0
    assert pairs.snapshot(laid.mirror) == before
    assert laid.session.status().missing_accounts == ["ex.org/ann"]
    laid.open()
    laid.sync()
    assert pairs.snapshot(laid.mirror) == before, "a restart changes nothing about it"
    with pytest.raises(errors.Refused):
        laid.session.retire("ex.org/bob")
    assert laid.session.retire("ex.org/ann") == 2
    assert sorted(path.split("/")[1] for path in pairs.messages(laid.mirror)) == ["bob", "bob"]
    pairs.equal(laid)


def test_an_account_that_was_moved_away_stays_on_the_mirror(laid: pairs.Laid) -> None:
    box = pairs.Mailbox(laid.source / "ex.org/ann")
    box.folder(INBOX).deliver(b"received\n")
    laid.sync()
    before = pairs.messages(laid.mirror)
    (laid.source / "ex.org/ann").rename(laid.base / "elsewhere")
    shutil.rmtree(laid.base / "elsewhere/new")
    time.sleep(SETTLED)
    laid.sync()
    assert pairs.messages(laid.mirror) == before
    assert laid.session.status().missing_accounts == ["ex.org/ann"]


def test_a_folder_without_its_new_is_told_and_loses_nothing(laid: pairs.Laid) -> None:
    box = pairs.Mailbox(laid.source / "ex.org/ann")
    box.folder(INBOX).deliver(b"received\n")
    laid.sync()
    shutil.rmtree(laid.source / "ex.org/ann/new")
    time.sleep(SETTLED)
    report = laid.sync()
    assert report.tally.deleted == 0
    assert any("ex.org/ann" in problem for problem in report.problems)
    (laid.source / "ex.org/ann/new").mkdir()
    box.folder(INBOX).deliver(b"another\n")
    laid.sync()
    pairs.equal(laid)


FOREIGN = {
    "mdbox": ("ann/mdbox/storage/", "ann/mdbox/mailboxes/"),
    "sdbox": ("ann/sdbox/mailboxes/INBOX/dbox-Mails/u.1",),
    "mbox": ("ann/mail/inbox",),
}


@pytest.mark.issue("2.5 mdbox sdbox mbox refused with a clear message")
@pytest.mark.parametrize("kind", FOREIGN)
def test_other_mailbox_formats_are_refused_by_name_before_any_mail_beside_them_is_copied(
    laid: pairs.Laid, kind: str
) -> None:
    pairs.Mailbox(laid.source / "aaron").folder(INBOX).deliver(b"beside\n")
    for each in FOREIGN[kind]:
        path = laid.source / each
        (path if each.endswith("/") else path.parent).mkdir(parents=True)
        if not each.endswith("/"):
            path.write_text("From ann@ex.org Mon Jan  1 00:00:00 2024\nSubject: hello\n\nhello\n")
    with pytest.raises(errors.Refused) as refusal:
        laid.sync()
    assert kind in str(refusal.value)
    assert "Maildir" in str(refusal.value)
    assert refusal.value.remedy
    assert [name for name in os.listdir(laid.mirror) if name != ".mailmirror"] == []


@pytest.mark.issue("2.5 mdbox sdbox mbox refused with a clear message")
def test_a_file_that_only_begins_like_an_mbox_inside_an_account_is_a_sidecar(laid: pairs.Laid) -> None:
    box = pairs.Mailbox(laid.source / "ex.org/ann")
    box.folder(INBOX).deliver(b"received\n")
    (laid.source / "ex.org/ann/notes").write_text("From here to there\n")
    laid.sync()
    assert (laid.mirror / "ex.org/ann/notes").read_text() == "From here to there\n"
