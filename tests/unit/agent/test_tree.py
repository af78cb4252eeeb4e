"""The folders that are followed: one for each path, whatever moves where."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from orchestrator.agent.log import Log
from orchestrator.agent.tree import Folder, Tree


class Made:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.followed: list[bytes] = []
        self.changed: list[bytes] = []
        self.log = Log(str(path / "log.sqlite"))
        self.tree = self._tree()
        self._facts = os.stat(path)
        self._inode = 100
        self.add(b"")
        self.add(b"ann").maildir = True
        self.tree.become_maildir(self.tree.by_path[b"ann"])

    def _tree(self) -> Tree:
        return Tree(self.log, self.followed.append, lambda folder: self.changed.append(folder.path))

    def add(self, path: bytes, account: bytes = b"") -> Folder:
        self._inode += 1
        facts = os.stat_result((0o40700, self._inode, 1, 2, 0, 0, 0, 0, 0, 0))
        return self.tree.adopt(path, facts, account)

    def again(self) -> Tree:
        for folder in self.tree.by_fid.values():
            self.log.put_folder(folder.row())
        self.log.close()
        self.log = Log(str(self.path / "log.sqlite"))
        return self._tree()

    def whole(self) -> None:
        """Every folder is known once by each of its names."""
        tree = self.tree
        assert {folder.path: folder for folder in tree.by_fid.values()} == tree.by_path
        assert sorted(fid for fids in tree.of_account.values() for fid in fids) == sorted(tree.by_fid)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    found = Made(tmp_path)
    yield found
    found.whole()
    found.log.close()


def test_the_topmost_maildir_is_an_account(made: Made) -> None:
    made.tree.become_maildir(made.add(b"ann/.Sent", b"ann"))
    assert list(made.tree.accounts()) == [b"ann"]
    assert made.tree.totals() == (1, 2, 0)
    assert {b"ann/new", b"ann/cur", b"ann/.Sent/new"} <= set(made.followed)


def test_a_maildir_takes_in_what_was_seen_below_before_it_was_made(made: Made) -> None:
    for path in (b"org/bob", b"org/bob/.Sent", b"org/bob/.Sent.Old", b"org/bob/sieve", b"org/bob/carol"):
        made.add(path)
    for early in (b"org/bob/.Sent", b"org/bob/.Sent.Old", b"org/bob/carol"):
        made.tree.become_maildir(made.tree.by_path[early])
    before = {folder.path: folder.seq for folder in made.tree.by_fid.values()}
    made.tree.become_maildir(made.tree.by_path[b"org/bob"])
    accounts = {folder.path: folder.account for folder in made.tree.by_fid.values() if b"bob" in folder.path}
    assert accounts.pop(b"org/bob/carol") == b"org/bob/carol", "an account stays one, should a Maildir appear above it"
    assert set(accounts.values()) == {b"org/bob"}
    again = {path for path in accounts if made.tree.by_path[path].seq > before[path]}
    assert again == set(accounts), "each of them is offered again, with its account"
    assert {f.path: f.account for f in made.again().by_fid.values() if f.path in accounts} == accounts


def test_an_account_below_which_nothing_was_seen_costs_no_look_at_all_folders(made: Made) -> None:
    class Untouched(dict[int, Folder]):
        def values(self) -> NoReturn:
            raise AssertionError("every folder is looked at")

    made.add(b"org")
    fresh = made.add(b"org/bob")
    known, made.tree.by_fid = made.tree.by_fid, Untouched(made.tree.by_fid)
    assert made.tree.become_maildir(fresh) is False
    made.tree.by_fid = known


def test_a_maildir_takes_in_what_was_seen_below_before_both_were_moved(made: Made) -> None:
    for path in (b"org", b"org/bob", b"org/bob/.Sent"):
        made.add(path)
    made.tree.become_maildir(made.tree.by_path[b"org/bob/.Sent"])
    made.tree.move(made.tree.by_path[b"org"], b"net")
    assert made.tree.become_maildir(made.tree.by_path[b"net/bob"])
    assert made.tree.by_path[b"net/bob/.Sent"].account == b"net/bob"


def test_a_move_takes_everything_below_along_and_keeps_the_numbers(made: Made) -> None:
    below = {path: made.add(path, b"ann") for path in (b"ann/A", b"ann/A/B", b"ann/A/B/C", b"ann/AB")}
    before = {folder.fid: folder.seq for folder in below.values()}
    made.tree.move(below[b"ann/A"], b"ann/Z")
    assert [below[path].path for path in sorted(below)] == [b"ann/Z", b"ann/Z/B", b"ann/Z/B/C", b"ann/AB"]
    moved = {fid for fid, folder in made.tree.by_fid.items() if fid in before and folder.seq > before[fid]}
    assert len(moved) == 3, "each of them is offered again, the one beside isn't"


def test_a_displaced_folder_is_known_until_it_is_found_or_missed(made: Made) -> None:
    old = made.add(b"ann/A", b"ann")
    made.tree.displace(old)
    assert old.gone and b"ann/A" not in made.tree.by_path
    new = made.add(b"ann/A", b"ann")
    made.tree.move(old, b"ann/B")
    assert (old.path, old.gone, new.path) == (b"ann/B", False, b"ann/A")


def test_a_replaced_folder_keeps_its_number_and_is_read_anew(made: Made) -> None:
    folder = made.add(b"ann/A", b"ann")
    folder.cur_sig = (1, 2, 3)
    made.tree.replaced(folder, 999)
    assert (folder.inode, folder.cur_sig) == (999, (0, 0, 0))
    assert made.tree.by_inode[999] is folder


def test_children_are_those_directly_below(made: Made) -> None:
    for path in (b"ann/A", b"ann/A/B", b"ann/.Sent"):
        made.add(path, b"ann")
    assert sorted(made.tree.children(made.tree.by_path[b"ann"])) == [b"ann/.Sent", b"ann/A"]
    assert made.tree.children(made.tree.by_path[b""]) == [b"ann"]


def test_the_nearest_folder_is_the_one_above(made: Made) -> None:
    assert made.tree.nearest(b"ann/x/y").path == b"ann"
    assert made.tree.nearest(b"zoe/x").path == b""


def test_the_next_agent_knows_the_same_folders(made: Made) -> None:
    made.add(b"ann/\xff\n", b"ann")
    rows = sorted(folder.row() for folder in made.tree.by_fid.values())
    made.tree = made.again()
    assert sorted(folder.row() for folder in made.tree.by_fid.values()) == rows


def test_a_forgotten_folder_is_forgotten_everywhere(made: Made) -> None:
    folder = made.add(b"ann/A", b"ann")
    made.tree.forget(folder)
    assert folder.fid not in made.tree.of_account[b"ann"]
    assert folder.inode not in made.tree.by_inode
