"""Maildirs as the demo's mail server writes them: what stands on disk after each act."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from orchestrator.demo import uidlist
from orchestrator.demo.mailbox import FOLDERS, INBOX, Account, Folder, base_name
from orchestrator.errors import TryAgain


@pytest.fixture
def account(tmp_path: Path) -> Account:
    account = Account(tmp_path / "anna")
    for name in FOLDERS:
        account.create(name)
    return account


def test_a_new_account_has_its_folders_each_with_a_uidvalidity_of_its_own(account: Account) -> None:
    assert account.names() == [INBOX, "Archive", "Sent", "Trash"]
    lists = [uidlist.read(account.folder(name).path) for name in FOLDERS]
    assert len({one.validity for one in lists}) == len({one.guid for one in lists}) == len(FOLDERS)
    assert (account.root / "subscriptions").read_text().split() == ["Sent", "Archive", "Trash"]
    last = max(one.validity for one in lists)
    assert (account.root / "dovecot-uidvalidity").read_text() == f"{last:08x}"
    assert [path.name for path in account.root.glob("dovecot-uidvalidity.*")] == [f"dovecot-uidvalidity.{last:08x}"]
    assert Account(account.root / "nobody").names() == []


def test_a_delivery_stands_in_new_with_its_sizes_in_its_name_and_its_uid_in_the_list(account: Account) -> None:
    inbox = account.folder(INBOX)
    placed = [inbox.deliver(b"one\ntwo\n"), inbox.deliver(b"three")]
    assert [one.uid for one in placed] == [1, 2]
    assert placed[0].base.endswith(b",S=8,W=10")
    path = inbox.messages()[placed[0].base]
    assert path.parent.name == "new" and path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_ctime_ns == placed[0].ctime_ns
    assert not any((inbox.path / "tmp").iterdir())


def test_deliveries_from_several_hands_never_share_a_uid(account: Account) -> None:
    inbox = account.folder(INBOX)
    hands = [threading.Thread(target=lambda: [inbox.deliver(b"x") for _ in range(10)]) for _ in range(5)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    rows = uidlist.read(inbox.path).rows
    assert list(rows) == list(range(1, 51))
    assert set(rows.values()) == set(inbox.messages())


def test_flags_and_keywords_are_renames_and_letters(account: Account) -> None:
    inbox = account.folder(INBOX)
    base = inbox.deliver(b"x").base
    assert [inbox.keyword("$Important"), inbox.keyword("Später"), inbox.keyword("$Important")] == ["a", "b", "a"]
    inbox.flag(base, "SaF")
    assert inbox.messages()[base].name.endswith(":2,FSa")
    assert (inbox.path / "dovecot-keywords").read_text() == "0 $Important\n1 Später\n"


def test_a_move_keeps_base_name_and_inode_and_gives_a_new_uid(account: Account) -> None:
    inbox, archive = account.folder(INBOX), account.folder("Archive")
    archive.deliver(b"there before")
    base = inbox.deliver(b"x").base
    inode = inbox.messages()[base].stat().st_ino
    assert inbox.move([base], archive) == [2]
    assert base not in inbox.messages()
    assert archive.messages()[base].stat().st_ino == inode
    assert archive.messages()[base].parent.name == "cur"


def test_rows_of_expunged_messages_linger_until_a_quarter_is_garbage_and_uids_are_never_given_twice(
    account: Account,
) -> None:
    inbox = account.folder(INBOX)
    bases = [inbox.deliver(b"x").base for _ in range(8)]
    inbox.expunge(bases[-2:])
    assert len(uidlist.read(inbox.path).rows) == 8
    inbox.expunge(bases[4:6])
    after = uidlist.read(inbox.path)
    assert list(after.rows) == [1, 2, 3, 4] and after.next_uid == 9
    assert inbox.deliver(b"y").uid == 9


def test_a_renamed_folder_keeps_its_uids_and_its_guid_and_is_subscribed_anew(account: Account) -> None:
    archive = account.folder("Archive")
    archive.deliver(b"x")
    before = uidlist.read(archive.path)
    renamed = account.rename("Archive", "Archive 2026")
    assert uidlist.read(renamed.path) == before
    assert (account.root / "subscriptions").read_text().splitlines() == ["Sent", "Trash", "Archive 2026"]


def test_a_foreign_lock_is_waited_for_and_then_reported(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = account.folder(INBOX)
    monkeypatch.setattr(uidlist, "LOCK_PATIENCE", 0.05)
    lock = inbox.path / "dovecot-uidlist.lock"
    lock.write_text("1:elsewhere")
    with pytest.raises(TryAgain), uidlist.lock(inbox.path):
        pytest.fail("two hold the lock")
    assert lock.exists() and not list(inbox.path.glob(".temp.*"))


@pytest.mark.parametrize(
    "raw", [b"", b"1 2 3\n", b"3 V1 N2 Gab\n2 :x\n1 :y\n", b"3 V1 N2 Gab\n1 :x", b"3 V1 N2 Gab\nx :y\n"]
)
def test_a_uidlist_that_dovecot_wouldnt_have_written_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        uidlist.parse(raw)


def test_a_uid_is_found_by_base_name() -> None:
    known = uidlist.parse(b"3 V9 N3 Gab\n1 :one\n7 S4 W5 :two,S=4\n")
    assert (known.uid(b"two,S=4"), known.uid(b"three"), known.next_uid) == (7, None, 8)


def test_a_base_name_ends_at_the_first_colon() -> None:
    assert base_name(Path("x/cur/1.M2.h,S=3:2,FS:x")) == b"1.M2.h,S=3"
    assert Folder(Path("x")).path == Path("x")
