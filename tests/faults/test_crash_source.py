"""The active's agent dies around every act upon its own disk, and its change log is lost or damaged: nothing is lost on
the mirror, nothing is wrongly deleted there, and the next pass makes both sides equal.

ALL_CRASHES=1 tries every act; otherwise a sample is drawn where there are many, by a seed that is printed.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from orchestrator.errors import MailmirrorError
from tests.faults.crashing import NEVER, Crash, History, Mortal, a_mortal_pair, chosen, failures
from tests.support import seeds


@pytest.fixture
def laid() -> Iterator[Mortal]:
    with a_mortal_pair() as made:
        yield made


@pytest.fixture
def history(laid: Mortal) -> History:
    """A store that was copied, and whose agents have ended."""
    made = History(laid)
    made.begin()
    laid.end()
    return made


def lived(crash: Crash, *, first_copy: bool) -> list[str]:
    """A crash in the pass that carries a batch of changes over, or in the first copy; the acts up to the end."""
    with a_mortal_pair() as laid:
        history = History(laid)
        if first_copy:
            history.lay()
        else:
            history.begin()
            history.change()
        laid.pass_with("p", crash)
        history.truth()
        if first_copy:
            history.change()
        history.made_good()
        return laid.counted()


@pytest.mark.issue("2.P kill agent before and after every act of the source's change log; restart")
@pytest.mark.issue("2.5 change log: nothing is lost and nothing deleted by a crash around a commit")
@pytest.mark.parametrize("first_copy", [False, True], ids=["changes", "first copy"])
@pytest.mark.timeout(1800)
def test_a_source_agent_may_die_at_any_act(first_copy: bool) -> None:
    acts = lived(NEVER, first_copy=first_copy)
    seed = seeds.drawn("crash_source")
    crashes = chosen(acts, seed)
    print(f"{len(acts)} acts {dict(Counter(acts))}, {len(crashes)} crashes, seed {seed}")
    failed = failures(crashes, acts, partial(lived, first_copy=first_copy))
    assert not failed, "\n".join(failed)


def test_what_was_missed_but_not_recorded_when_the_source_ended_is_missed_again(laid: Mortal, history: History) -> None:
    """An absence is known in memory first. An end just then, orderly or not, mustn't make the listing count as read."""
    history.change()
    for acts in range(40):
        laid.pass_with("p", Crash(acts, "after"))
    laid.sync()
    history.settled()


# --- the index file -------------------------------------------------------------------


def _gone(index: Path) -> None:
    index.unlink()


def _empty(index: Path) -> None:
    index.write_bytes(b"")


def _cut(index: Path) -> None:
    index.write_bytes(index.read_bytes()[: index.stat().st_size // 2])


def _head_overwritten(index: Path) -> None:
    with index.open("r+b") as file:
        file.write(b"\0" * 4096)


def _middle_overwritten(index: Path) -> None:
    """Pages of tables and of their indexes: the file opens, and reading it fails or lies."""
    size = index.stat().st_size
    with index.open("r+b") as file:
        for at in range(4096, size, 8192):
            file.seek(at)
            file.write(random.Random(at).randbytes(4096))


def _another_version(index: Path) -> None:
    with index.open("r+b") as file:
        file.seek(60)  # the user version (sqlite.org/fileformat.html, 1.3)
        file.write(b"\0\0\0\x63")


def _a_directory(index: Path) -> None:
    index.unlink()
    index.mkdir()


DAMAGES = [_gone, _empty, _cut, _head_overwritten, _middle_overwritten, _another_version]


def index_of(laid: Mortal, host: str, name: str) -> Path:
    (found,) = laid.state(host).glob(f"*/{name}.sqlite")
    return found


@pytest.mark.issue("2.5 change log lost or damaged")
@pytest.mark.issue("2.5 cursor")
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
def test_a_source_whose_index_is_lost_or_damaged_compares_and_deletes_nothing_wrongly(
    laid: Mortal, history: History, damage: Callable[[Path], None]
) -> None:
    history.change()
    damage(index_of(laid, "p", "source"))
    passed(laid, history)


@pytest.mark.issue("2.5 resume with a mirror whose ledger is lost or damaged")
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
def test_a_mirror_whose_ledger_is_lost_or_damaged_compares_and_loses_nothing(
    laid: Mortal, history: History, damage: Callable[[Path], None]
) -> None:
    history.change()
    damage(index_of(laid, "m", "sink"))
    passed(laid, history)


def passed(laid: Mortal, history: History) -> None:
    """Passes until one succeeds: damage that shows only while reading may cost one, with a remedy; then equality."""
    for _ in range(3):
        try:
            laid.open()
            laid.sync()
        except MailmirrorError as error:
            print(error, error.remedy)
            assert error.remedy
            history.truth()
        else:
            break
    history.truth()
    history.settled()


@pytest.mark.issue("2.5 change log put back from an older copy; generation")
def test_an_older_copy_of_the_index_is_never_taken_for_the_newer(laid: Mortal, history: History) -> None:
    """Its seqs were given out already: what it numbers anew could hide behind a cursor that has passed it."""
    index = index_of(laid, "p", "source")
    shutil.copy(index, index.with_name("older"))
    history.change()
    laid.sync()
    for _ in range(20):
        history.deliver("Sent", 30)
        laid.sync()
    laid.end()
    history.deliver("Archive", 100)
    history.note()
    shutil.copy(index.with_name("older"), index)
    history.made_good()


@pytest.mark.issue("2.5 resume with a mirror whose ledger was put back from an older copy")
def test_an_older_copy_of_the_ledger_is_never_believed(laid: Mortal, history: History) -> None:
    """It doesn't know of messages that stand here: taken for the truth, one whose flags change would stand twice."""
    ledger = index_of(laid, "m", "sink")
    shutil.copy(ledger, ledger.with_name("older"))
    history.change()
    laid.sync()
    laid.end()
    _flag_all(history, "FT")
    shutil.copy(ledger.with_name("older"), ledger)
    history.made_good()


@pytest.mark.issue("2.5 resume with a mirror's store that was put back from an older copy")
def test_an_older_copy_of_the_mirrors_store_is_found_out(laid: Mortal, history: History) -> None:
    """The ledger tells of messages that aren't there any more."""
    older = laid.base / "older"
    shutil.copytree(laid.mirror, older, symlinks=True)
    history.change()
    laid.sync()
    laid.end()
    shutil.rmtree(laid.mirror)
    shutil.move(older, laid.mirror)
    history.made_good()


def _flag_all(history: History, flags: str) -> None:
    for name in history.box.names():
        folder = history.box.folder(name)
        for base in folder.messages():
            folder.flag(base, flags)


def test_an_index_that_is_a_directory_is_told_with_what_to_do(laid: Mortal, history: History) -> None:
    _a_directory(index_of(laid, "p", "source"))
    with pytest.raises(MailmirrorError) as failed:
        laid.sync()
    assert "source.sqlite" in str(failed.value)
    assert failed.value.remedy
    history.truth()
