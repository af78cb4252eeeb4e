"""Planned changes and the disk stay in step, and look like Dovecot's."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench import changes, tree
from bench.changes import Append, Deliver, Op, Planner, Rename, Replace, Unlink
from tests.unit.bench.conftest import SMALL, Made, uidlist

pytestmark = pytest.mark.issue("2.8 make bench: changes as Dovecot makes them")

PLANNERS = {
    "new": changes.new_messages(40),
    "flags": changes.flag_changes(60),
    "moves": changes.moves(60),
    "renames": changes.folder_renames(".Archive", ".Archive-2025"),
    "expunged": changes.expunges(60),
}


def in_step(made: Made) -> None:
    """Assert that disk and tree hold the same messages, and that every message has exactly one row where it stands."""
    planned = {
        f"{folder.path}/{message.where}/{message.base}{message.info}"
        for folder in made.tree.folders()
        for message in folder.messages.values()
    }
    present = {str(path.relative_to(made.root)) for path in made.root.rglob("*") if path.parent.name in ("new", "cur")}
    assert present == planned
    assert not [path for path in made.root.rglob("*") if path.parent.name == "tmp" or path.suffix == ".tmp"]
    for folder in made.tree.folders():
        following, rows = uidlist(made.root / folder.path / "dovecot-uidlist")
        assert [base for _, base in rows if base in folder.messages] == sorted(
            folder.messages, key=lambda base: next(uid for uid, named in rows if named == base)
        )
        assert folder.messages.keys() <= {base for _, base in rows}
        assert following <= folder.next_uid


def apply(made: Made, planner: Planner) -> list[Op]:
    operations = planner(made.tree, made.rng)
    changes.apply(operations, made.root)
    return operations


@pytest.mark.parametrize("name", PLANNERS)
def test_after_each_kind_of_change_disk_and_tree_agree(made: Made, name: str) -> None:
    apply(made, PLANNERS[name])
    in_step(made)


def test_all_changes_one_after_the_other_keep_disk_and_tree_in_step(made: Made) -> None:
    for planner in (*PLANNERS.values(), PLANNERS["flags"], PLANNERS["moves"]):
        apply(made, planner)
        in_step(made)


def test_the_same_seed_plans_the_same_changes(tmp_path: Path) -> None:
    plans = []
    for name in ("one", "two"):
        store = tree.generate(tmp_path / name, SMALL, 3)
        plans.append([planner(store, random.Random(3)) for planner in PLANNERS.values()])
    assert plans[0] == plans[1]


def test_new_mail_is_delivered_into_new_and_its_row_is_appended_without_a_new_header(made: Made) -> None:
    heads = {path: path.read_bytes().partition(b"\n")[0] for path in made.root.rglob("dovecot-uidlist")}
    operations = apply(made, PLANNERS["new"])
    assert len([op for op in operations if isinstance(op, Deliver)]) == 40
    assert not [op for op in operations if isinstance(op, Replace)]
    assert heads == {path: path.read_bytes().partition(b"\n")[0] for path in heads}


def test_a_flag_is_one_rename_that_keeps_the_base_name_and_orders_the_letters(made: Made) -> None:
    operations = apply(made, PLANNERS["flags"])
    assert len(operations) == 60
    for operation in operations:
        assert isinstance(operation, Rename)
        old, new = (path.rpartition("/")[2].partition(":2,") for path in (operation.old, operation.new))
        assert old[0] == new[0]
        assert "/cur/" in operation.new
        assert list(new[2]) == sorted(set(new[2])) and len(new[2]) == len(old[2]) + 1


def test_a_move_keeps_base_name_and_inode_and_gets_a_row_in_the_other_folder(made: Made) -> None:
    inodes = {path.name.partition(":")[0]: path.stat().st_ino for path in made.root.rglob("cur/*")}
    operations = apply(made, PLANNERS["moves"])
    renames = [op for op in operations if isinstance(op, Rename)]
    rows = b"".join(op.lines for op in operations if isinstance(op, Append))
    assert len(renames) == 60 == rows.count(b"\n")
    for operation in renames:
        base = operation.new.rpartition("/")[2].partition(":")[0]
        assert f":{base}\n".encode() in rows
        assert operation.old.split("/")[:3] == operation.new.split("/")[:3]
        if base in inodes:
            assert (made.root / operation.new).stat().st_ino == inodes[base]


def test_expunged_rows_linger_until_a_quarter_of_the_list_is_garbage(made: Made) -> None:
    first = apply(made, changes.expunges(1))
    assert all(isinstance(op, Unlink) for op in first)
    later = apply(made, changes.expunges(SMALL.messages // 2))
    assert [op for op in later if isinstance(op, Replace)]
    in_step(made)


def test_a_renamed_folder_keeps_its_files_and_the_subscriptions_follow(made: Made) -> None:
    before = sorted(path.name for path in made.root.glob("**/.Archive/cur/*"))
    apply(made, PLANNERS["renames"])
    assert sorted(path.name for path in made.root.glob("**/.Archive-2025/cur/*")) == before
    assert not list(made.root.glob("**/.Archive"))
    assert all("Archive-2025" in path.read_text() for path in made.root.rglob("subscriptions"))
