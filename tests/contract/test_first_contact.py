"""The first contact of a pair: markers laid down, a copy that is there already adopted, nothing overwritten."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import errors
from orchestrator.demo import uidlist
from orchestrator.demo.mailbox import INBOX
from tests.support import pairs

MESSAGES = 12
BODY = 6_000


@pytest.fixture
def bare(memory: Path) -> Iterator[pairs.Laid]:
    """A pair that nobody has marked."""
    made = pairs.Laid(memory, pairs.MEMORY)
    yield made
    made.end()


@pytest.fixture
def box(bare: pairs.Laid) -> pairs.Mailbox:
    """The primary's account."""
    made = pairs.Mailbox(bare.source / "ex.org/ann")
    made.create("Sent")
    for number in range(MESSAGES):
        body = b"Subject: %d\n\n" % number + random.Random(number).randbytes(BODY)
        made.folder(INBOX if number % 2 else "Sent").deliver(body)
    return made


@pytest.fixture
def copied(bare: pairs.Laid, box: pairs.Mailbox) -> pairs.Laid:
    """The mirror as rsync -a leaves it."""
    shutil.copytree(bare.source, bare.mirror, symlinks=True, dirs_exist_ok=True)
    return bare


def adopt(laid: pairs.Laid) -> list[int]:
    """`seed --adopt`; the sizes of the frames with bodies that travelled."""
    laid.session.initialise(adopt=True)
    with pairs.bodies(laid) as frames:
        laid.sync(adopt=True)
    pairs.equal(laid)
    return frames


@pytest.mark.issue("2.5 init lays markers down when the mirror's store is empty")
def test_init_marks_both_ends_once(bare: pairs.Laid, box: pairs.Mailbox) -> None:
    box.folder(INBOX).deliver(b"mail that stands there already\n")
    before = pairs.snapshot(bare.source)
    planned = bare.session.initialise(dry_run=True)
    assert [sentence.partition(" would be ")[2] for sentence in planned] == [
        "a new store, active, epoch 1",
        "a new store, passive, epoch 1",
    ], "it names no identity that the store won't get"
    assert not (bare.source / ".mailmirror").exists(), "a dry run lays nothing down"
    assert len(bare.session.initialise()) == 2
    assert pairs.snapshot(bare.source) == before
    with pytest.raises(errors.NothingToDo):
        bare.session.initialise()


def test_init_refuses_a_mirror_that_holds_something(copied: pairs.Laid) -> None:
    before = pairs.snapshot(copied.mirror)
    with pytest.raises(errors.Refused, match="isn't empty") as refusal:
        copied.session.initialise()
    assert "seed --adopt" in refusal.value.remedy
    assert pairs.snapshot(copied.mirror) == before
    assert not (copied.source / ".mailmirror").exists(), "neither end is marked when one can't be"


def test_init_refuses_another_pairs_mirror(bare: pairs.Laid, tmp_path: Path) -> None:
    other = pairs.Laid(tmp_path, pairs.MEMORY)
    other.session.initialise()
    other.end()
    shutil.copytree(other.mirror / ".mailmirror", bare.mirror / ".mailmirror")
    with pytest.raises(errors.Refused, match="another store"):
        bare.session.initialise()


@pytest.mark.issue("2.5 seed --adopt: compared, mended, not sent again")
def test_a_copy_is_adopted_without_a_body_on_the_wire(copied: pairs.Laid, box: pairs.Mailbox) -> None:
    known = sorted(box.folder(INBOX).messages())
    box.folder(INBOX).flag(known[0], "FS")
    box.folder(INBOX).move(known[1:2], box.folder("Sent"))
    frames = adopt(copied)
    assert sum(frames) < BODY, "what the mirror had wasn't sent again, only sidecars were"


def test_what_came_and_went_since_the_copy_is_mended(copied: pairs.Laid, box: pairs.Mailbox) -> None:
    known = sorted(box.folder(INBOX).messages())
    box.folder(INBOX).expunge(known[:2])
    box.folder("Sent").deliver(b"Subject: new\n\nnew\n")
    frames = adopt(copied)
    assert sum(frames) < BODY
    kept = [path for path in (copied.mirror / ".mailmirror/quarantine").rglob("*") if path.is_file()]
    assert sum(any(base.decode() in path.name for path in kept) for base in known[:2]) == 2


def test_a_damaged_message_is_sent_again_and_the_damaged_one_kept(copied: pairs.Laid) -> None:
    victim = sorted((copied.mirror / "ex.org/ann/new").iterdir())[0]
    facts = victim.stat()
    victim.write_bytes(b"x" * facts.st_size)
    os.utime(victim, ns=(facts.st_mtime_ns, facts.st_mtime_ns))
    frames = adopt(copied)
    assert BODY <= sum(frames) < 2 * BODY
    kept = [path for path in (copied.mirror / ".mailmirror/quarantine").rglob("*") if path.is_file()]
    assert any(path.read_bytes() == b"x" * facts.st_size for path in kept)


def test_mail_that_only_the_copy_has_goes_into_quarantine(copied: pairs.Laid) -> None:
    mine = copied.mirror / "ex.org/ann/cur/1600000000.M1P1.elsewhere:2,S"
    mine.write_bytes(b"Subject: only here\n\n")
    adopt(copied)
    assert not mine.exists()
    kept = [path for path in (copied.mirror / ".mailmirror/quarantine").rglob("*") if path.is_file()]
    assert any(path.read_bytes() == b"Subject: only here\n\n" for path in kept)


def test_a_copy_under_other_names_is_recognised_by_its_bytes(copied: pairs.Laid) -> None:
    """dsync gives a message a name of its own, and keeps the first one as its GUID."""
    for number, path in enumerate(sorted((copied.mirror / "ex.org/ann/new").iterdir())):
        path.rename(path.parent.parent / f"cur/15000000{number:02}.M{number}P9.dsync:2,S")
    (copied.mirror / "ex.org/ann" / uidlist.FILE).unlink()
    frames = adopt(copied)
    assert sum(frames) < BODY
