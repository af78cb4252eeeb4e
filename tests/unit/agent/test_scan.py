"""The scanner over a real directory: what it finds, and what it doesn't take for gone."""

from __future__ import annotations

import os
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.agent import scan
from orchestrator.agent.beneath import Root
from orchestrator.agent.log import FOLDER, MESSAGE, SIDECAR, Log, Removal, Sidecar
from orchestrator.agent.scan import Scanner
from orchestrator.agent.sidecar import look


class Store:
    """A directory and its scanner."""

    def __init__(self, base: Path) -> None:
        self.path, self._log_path = base / "store", str(base / "state/log.sqlite")
        self.followed: list[bytes] = []
        self.folder("ann")
        self.open()

    def open(self, accounts: str | None = None) -> None:
        self.root, self.log = Root(str(self.path)), Log(self._log_path)
        self.scanner = Scanner(self.root, self.log, accounts, self.followed.append)

    def close(self) -> None:
        self.root.close()
        self.log.close()

    def again(self) -> None:
        self.close()
        self.open()

    def folder(self, name: str) -> Path:
        for sub in ("cur", "new", "tmp"):
            (self.path / name / sub).mkdir(parents=True)
        return self.path / name

    def put(self, name: str, body: bytes = b"x") -> Path:
        path = self.path / name
        path.write_bytes(body)
        return path

    def scan(self) -> None:
        """Until nothing is left to do."""
        self.scanner.audit()
        deadline = time.monotonic() + 10
        while self.scanner.pending:
            time.sleep(self.scanner.step() or 0.0)
            assert time.monotonic() < deadline, "the scanner doesn't come to an end"
        self.log.begin()
        self.log.meta.set(scanned=1)
        self.log.commit()

    def placements(self) -> dict[str, tuple[str, int | None]]:
        """path of each known message -> its folder's path, and where it came from."""
        tree = self.scanner.tree.by_fid
        return {
            f"{os.fsdecode(tree[row.fid].path)}/{'cur' if row.sub else 'new'}/{os.fsdecode(row.base + row.info)}": (
                os.fsdecode(tree[row.fid].path),
                row.origin,
            )
            for row in self.log.placements_after(0, 1_000)
        }

    def removals(self) -> list[Removal]:
        return self.log.removals_after(0, 1_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.close()


@pytest.mark.issue("2.5 audit")
def test_messages_folders_and_sidecars_are_found(store: Store) -> None:
    store.folder("ann/.Sent")
    store.put("ann/cur/1.host:2,S")
    store.put("ann/.Sent/new/2.host")
    store.put("ann/subscriptions")
    store.scan()
    assert sorted(store.placements()) == ["ann/.Sent/new/2.host", "ann/cur/1.host:2,S"]
    assert [row.name for row in store.log.sidecars_between(0, 1 << 60)] == [b"subscriptions"]
    assert store.scanner.tree.totals() == (1, 2, 2)
    assert {b"ann/new", b"ann/cur", b"ann/.Sent/cur"} <= set(store.followed)


@pytest.mark.issue("2.5 audit")
def test_an_audit_without_a_change_costs_no_row(store: Store) -> None:
    store.put("ann/cur/1.host:2,S")
    store.scan()
    time.sleep(0.03)  # until the directory's time counts as settled
    store.scan()
    head = store.log.head
    store.scan()
    assert store.log.head == head
    store.again()
    store.scan()
    assert store.log.head == head


def test_a_message_that_moved_is_told_where_it_came_from(store: Store) -> None:
    store.folder("ann/.Sent")
    path = store.put("ann/cur/1.host:2,S")
    store.scan()
    inbox = store.scanner.tree.by_path[b"ann"].fid
    path.rename(store.path / "ann/.Sent/cur/1.host:2,S")
    store.scan()
    assert store.placements() == {"ann/.Sent/cur/1.host:2,S": ("ann/.Sent", inbox)}
    assert [(row.what, row.name, row.moved) for row in store.removals()] == [(MESSAGE, b"1.host", 1)]


def test_another_file_under_an_old_name_is_offered_anew(store: Store) -> None:
    path = store.put("ann/cur/1.host:2,S", b"one")
    store.scan()
    (before,) = store.log.placements_after(0, 10)
    fresh = store.put("ann/tmp/1.host", b"two!")
    fresh.rename(path)
    store.scan()
    (after,) = store.log.placements_after(before.seq, 10)
    assert (after.base, after.size) == (b"1.host", 4)
    assert store.removals() == []


def test_what_comes_back_is_no_removal_any_more(store: Store) -> None:
    path = store.put("ann/cur/1.host:2,S")
    store.scan()
    path.unlink()
    store.scan()
    assert [row.name for row in store.removals()] == [b"1.host"]
    store.put("ann/cur/1.host:2,S")
    store.scan()
    assert store.removals() == []


def test_a_removed_folder_is_one_removal_after_its_messages(store: Store) -> None:
    store.folder("ann/.Sent")
    store.put("ann/.Sent/cur/1.host:2,S")
    store.put("ann/.Sent/maildirfolder")
    store.scan()
    shutil.rmtree(store.path / "ann/.Sent")
    store.scan()
    assert [row.what for row in store.removals()] == [MESSAGE, FOLDER]
    assert b"ann/.Sent" not in store.scanner.tree.by_path


@pytest.mark.parametrize("act", [shutil.rmtree, lambda path: path.rename(path.parent.parent / "elsewhere")])
def test_an_account_that_is_gone_is_missing_and_removes_nothing(store: Store, act: object) -> None:
    """Although descriptors of its directories are kept open, which go on showing what they were."""
    store.folder("ann/.Sent")
    store.put("ann/cur/1.host:2,S")
    store.put("ann/.Sent/cur/2.host:2,S")
    store.scan()
    act(store.path / "ann")  # type: ignore[operator]
    store.scan()
    time.sleep(0.03)
    store.scan()
    assert store.removals() == []
    assert store.scanner.missing_accounts == [b"ann"]
    assert store.scanner.removals.retire(b"ann") == 2


def test_a_folder_that_was_seen_before_its_account_was_whole_can_be_removed(store: Store) -> None:
    """Dovecot makes a user's first folder, and the Maildir around it after that."""
    store.folder("bob/.f1")
    store.scan()
    for part in ("cur", "new", "tmp"):
        (store.path / "bob" / part).mkdir()
    store.scan()
    assert list(store.scanner.tree.accounts()) == [b"ann", b"bob"]
    shutil.rmtree(store.path / "bob/.f1")
    store.scan()
    time.sleep(0.03)
    store.scan()
    assert [(removal.what, removal.account) for removal in store.removals()] == [(FOLDER, b"bob")]
    assert store.scanner.missing_accounts == []


def test_a_folder_that_went_before_its_account_was_whole_is_a_removal_too(store: Store) -> None:
    store.folder("bob/.f1")
    store.scan()
    shutil.rmtree(store.path / "bob/.f1")
    store.scan()
    assert store.scanner.missing_accounts == [b"bob/.f1"]
    for part in ("cur", "new", "tmp"):
        (store.path / "bob" / part).mkdir()
    store.scanner.hint(b"bob", b"cur", None, False)
    deadline = time.monotonic() + 10
    while store.scanner.pending and time.monotonic() < deadline:
        time.sleep(store.scanner.step() or 0.0)
    assert [(removal.what, removal.account) for removal in store.removals()] == [(FOLDER, b"bob")]
    assert store.scanner.missing_accounts == []


def test_accounts_go_on_below_a_domain_that_was_renamed(store: Store) -> None:
    store.folder("org/bob")
    store.put("org/bob/cur/1.host:2,S")
    store.scan()
    (store.path / "org").rename(store.path / "net")
    store.scan()
    assert list(store.scanner.tree.accounts()) == [b"ann", b"net/bob"]
    (store.path / "net/bob/cur/1.host:2,S").unlink()
    time.sleep(0.03)
    store.scan()
    assert [(removal.what, removal.account) for removal in store.removals()] == [(MESSAGE, b"net/bob")]
    shutil.rmtree(store.path / "net/bob")
    store.scan()
    assert store.scanner.missing_accounts == [b"net/bob"]


def test_a_removed_sidecar_is_a_removal_and_a_uidlist_never_is(store: Store) -> None:
    store.put("ann/subscriptions")
    store.put("ann/dovecot-uidlist", b"3 V1 N2 G%032x\n1 :1.host\n" % 1)
    store.scan()
    for name in ("subscriptions", "dovecot-uidlist"):
        (store.path / "ann" / name).unlink()
    store.scan()
    assert [(row.what, row.name) for row in store.removals()] == [(SIDECAR, b"subscriptions")]


def test_a_damaged_uidlist_is_a_problem_and_the_last_good_one_counts(store: Store) -> None:
    good = b"3 V1 N3 G%032x\n1 :1.host\n2 :2.host\n" % 1
    store.put("ann/dovecot-uidlist", good)
    store.scan()
    (before,) = store.log.sidecars_between(0, 1 << 60)
    fresh = store.put("ann/tmp/u", b"3 V1 N2 G%032x\n1 :1.host\n" % 1)
    fresh.rename(store.path / "ann/dovecot-uidlist")
    store.scan()
    assert list(store.log.sidecars_between(0, 1 << 60)) == [before]
    assert "refused" in store.scanner.problems[b"ann", b"dovecot-uidlist"]


def test_a_sidecar_that_is_written_in_place_is_read_once_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its times are set before its content: as if the first look had come in between."""
    path = store.put("ann/dovecot-uidvalidity", b"00000001")
    found = os.stat(path)
    looks = []

    def early(fd: int, name: bytes, was: Sidecar | None) -> Sidecar | str | None:
        seen = look(fd, name, was)
        looks.append(name)
        if len(looks) == 1:
            path.write_bytes(b"00000002")
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        return seen

    monkeypatch.setattr(scan, "look", early)
    store.scan()
    (row,) = store.log.sidecars(store.scanner.tree.by_path[b"ann"].fid).values()
    assert row.crc == zlib.crc32(b"00000002")
    assert len(looks) >= 2


def test_what_is_no_file_is_told_and_never_read(store: Store) -> None:
    os.mkfifo(store.path / "ann/cur/1.fifo:2,S")
    os.mkfifo(store.path / "ann/fifo")
    (store.path / "ann/cur/2.link:2,S").symlink_to("/etc/passwd")
    (store.path / "ann/cur/3.dir:2,S").mkdir()
    (store.path / "bob").symlink_to(store.path / "ann")
    store.scan()
    assert store.placements() == {}
    assert {name for _, name in store.scanner.problems} == {
        b"1.fifo:2,S", b"2.link:2,S", b"3.dir:2,S", b"fifo", b"bob",
    }  # fmt: skip
    assert b"bob" not in store.scanner.tree.by_path


def test_hints_name_the_names_in_a_large_folder(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.agent.scan.SMALL", 1)
    for number in range(6):
        store.put(f"ann/cur/{number}.host:2,")
    store.scan()
    store.put("ann/cur/new.host:2,")
    (store.path / "ann/cur/1.host:2,").rename(store.path / "ann/cur/1.host:2,S")
    for name in (b"new.host:2,", b"1.host:2,", b"1.host:2,S"):
        store.scanner.hint(b"ann/cur", name, None, False)
    while store.scanner.step() == 0.0:
        pass
    names = sorted(path.split("/")[-1] for path in store.placements())
    assert names == ["0.host:2,", "1.host:2,S", "2.host:2,", "3.host:2,", "4.host:2,", "5.host:2,", "new.host:2,"]
    (store.path / "ann/cur/2.host:2,").unlink()
    store.scanner.hint(b"ann/cur", b"2.host:2,", None, True)
    store.scan()
    assert [row.name for row in store.removals()] == [b"2.host"]


def test_what_a_users_own_session_removed_is_exempt_from_budgets(store: Store) -> None:
    for name in ("1.host:2,S", "2.host:2,S"):
        store.put(f"ann/cur/{name}")
    store.scan()
    for name in ("1.host:2,S", "2.host:2,S"):
        (store.path / "ann/cur" / name).unlink()
    store.scanner.hint(b"ann/cur", b"1.host:2,S", b"imap", True)
    store.scan()
    assert [(row.name, row.exempt) for row in store.removals()] == [(b"1.host", 1), (b"2.host", 0)]


@pytest.mark.issue("2.P hostile links")
def test_a_folder_whose_cur_is_a_link_is_a_problem_and_no_removal(store: Store) -> None:
    store.put("ann/cur/1.host:2,S")
    store.scan()
    (store.path / "ann/cur").rename(store.path / "ann/cur.away")
    (store.path / "ann/cur").symlink_to("cur.away")
    store.scan()
    assert store.removals() == []
    assert (b"ann", b"") in store.scanner.problems


def test_foreign_formats_are_forgotten_when_they_have_gone(store: Store) -> None:
    (store.path / "bob/mdbox/storage").mkdir(parents=True)
    (store.path / "bob/mdbox/mailboxes").mkdir()
    store.scan()
    assert store.scanner.foreign == {b"bob": "mdbox"}
    shutil.rmtree(store.path / "bob/mdbox")
    store.scan()
    assert store.scanner.foreign == {}
