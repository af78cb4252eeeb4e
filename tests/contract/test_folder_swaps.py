"""Folders that take one another's names: no body travels, no message is ever out of sight, and a crash in between is
made good from where the directories are, whatever the folders are called by then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.faults.crashing import NEVER, Crash, a_mortal_pair, around
from tests.support import pairs

ANN = "ex.org/ann"
MOVES = ("exchange", "rename", "commit", "mkdir")
Renames = Sequence[tuple[str, str]]
SWAP: Renames = (("A", "T"), ("B", "A"), ("T", "B"))
CYCLE: Renames = (("A", "T"), ("C", "A"), ("B", "C"), ("T", "B"))
CHAIN: Renames = (("C", "D"), ("B", "C"), ("A", "B"))


def lay(laid: pairs.Laid, *, fs: bool = False, names: Sequence[str] = ("A", "B", "C")) -> pairs.Mailbox:
    """Folders with a message each, copied."""
    box = pairs.Mailbox(laid.source / ANN, fs=fs)
    for name in names:
        box.create(name)
        box.folder(name).deliver(b"Subject: %s\n\n" % name.encode() + bytes(3_000))
    laid.session.initialise()
    laid.sync()
    return box


def directories(root: Path) -> dict[str, int]:
    """Each folder's path and inode."""
    return {path.parent.name: path.parent.stat().st_ino for path in (root / ANN).rglob("cur")}


def rename_all(laid: pairs.Laid, renames: Renames) -> None:
    for old, new in renames:
        (laid.source / ANN / f".{old}").rename(laid.source / ANN / f".{new}")


@pytest.mark.issue("2.5 folder rename without bodies: folders that change names")
@pytest.mark.parametrize("renames", [SWAP, CYCLE, CHAIN], ids=["swap", "cycle", "chain"])
def test_folders_that_change_names_stay_the_same_directories(memory: Path, renames: Renames) -> None:
    laid = pairs.Laid(memory, pairs.MEMORY)
    lay(laid)
    before = directories(laid.mirror)
    rename_all(laid, renames)
    where = {f".{name}": f".{name}" for name in "ABC"}
    for old, new in renames:
        where = {origin: f".{new}" if now == f".{old}" else now for origin, now in where.items()}
    with pairs.bodies(laid) as travelled:
        laid.sync()
    assert travelled == []
    after = directories(laid.mirror)
    assert {where.get(name, name): inode for name, inode in before.items()} == after
    pairs.equal(laid)
    laid.end()


def take_the_holders_place(laid: pairs.Laid) -> None:
    here = laid.source / ANN
    for old, new in (("A/B", "T"), ("A", "C"), ("T", "A")):
        (here / old).rename(here / new)


@pytest.mark.issue("2.5 folder rename without bodies: a folder takes the place of the one that held it")
def test_a_folder_may_take_the_place_of_the_one_that_held_it(memory: Path) -> None:
    laid = pairs.Laid(memory, pairs.MEMORY)
    lay(laid, fs=True, names=("A", "A/B"))
    take_the_holders_place(laid)
    with pairs.bodies(laid) as travelled:
        laid.sync()
    assert travelled == []
    pairs.equal(laid)
    assert sorted(path.name for path in (laid.mirror / ".mailmirror").iterdir()) == ["ledger", "store.json", "tmp"]
    laid.end()


@pytest.mark.issue("2.5 quarantine: what nobody knows and is in the way goes there")
def test_a_strangers_directory_in_the_way_of_a_rename_goes_into_quarantine(memory: Path) -> None:
    laid = pairs.Laid(memory, pairs.MEMORY)
    lay(laid)
    stranger = laid.mirror / ANN / ".D"
    (stranger / "cur").mkdir(parents=True)
    (stranger / "cur/17.stranger:2,S").write_bytes(b"whose?\n")
    rename_all(laid, (("C", "D"),))
    laid.sync()
    pairs.equal(laid)
    assert [path.read_bytes() for path in (laid.mirror / ".mailmirror/quarantine").rglob("17.*")] == [b"whose?\n"]
    laid.end()


def crashed(crash: Crash, then: Callable[[pairs.Laid], None]) -> list[str]:
    """A crash while folders change names, then they are called something else; the truth at every step."""
    with a_mortal_pair() as laid:
        lay(laid)
        inodes = set(directories(laid.mirror).values())
        rename_all(laid, CYCLE)
        laid.pass_with("m", crash)
        assert set(directories(laid.mirror).values()) == inodes, "a folder is out of sight"
        then(laid)
        laid.sync()
        assert set(directories(laid.mirror).values()) == inodes, "a folder was sent again"
        pairs.equal(laid)
        return laid.counted()


def _no_more(_: pairs.Laid) -> None:
    """They stay what they are called by now."""


def _back(laid: pairs.Laid) -> None:
    """They get their old names back before the mirror is up again."""
    rename_all(laid, [(new, old) for old, new in reversed(CYCLE)])


def _on(laid: pairs.Laid) -> None:
    """They get names that the mirror never heard of."""
    rename_all(laid, (("A", "Z"), ("B", "Y")))


@pytest.mark.issue("2.P kill agent while folders change names; restart after they have changed again")
@pytest.mark.parametrize("then", [_no_more, _back, _on], ids=lambda then: then.__name__.strip("_"))
def test_a_crash_while_folders_change_names_is_made_good(then: Callable[[pairs.Laid], None]) -> None:
    acts = crashed(NEVER, then)
    assert "exchange" in acts
    for crash in around(acts, MOVES):
        crashed(crash, then)


def in_its_holders_place(crash: Crash) -> list[str]:
    """A crash while a folder takes the place of the one that held it, which can't be done in one step."""
    with a_mortal_pair() as laid:
        lay(laid, fs=True, names=("A", "A/B"))
        take_the_holders_place(laid)
        laid.pass_with("m", crash)
        laid.sync()
        pairs.equal(laid)
        left = {path.name for path in (laid.mirror / ".mailmirror").iterdir()}
        assert left == {"ledger", "store.json", "tmp"}
        return laid.counted()


@pytest.mark.issue("2.P kill agent while a folder takes another's place in two steps; restart")
def test_a_crash_while_a_folder_takes_its_holders_place_is_made_good() -> None:
    acts = in_its_holders_place(NEVER)
    for crash in around(acts, MOVES):
        in_its_holders_place(crash)
