"""What every pair of stores keeps, whichever way its agents are reached: in this process, as children, over ssh.

Bodies are incompressible and larger than all that a pass without bodies says, so a body that travels shows in the
bytes. Faults, layouts and several sinks have modules of their own.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.agent.uidwrite import raised_next
from orchestrator.demo import uidlist
from orchestrator.replication.report import Selection
from tests.support import pairs, python39, require
from tests.support.sshd import Sshd, running_sshd

BODY = 20_000
WAYS = [
    pytest.param(pairs.MEMORY, marks=pytest.mark.issue("2.P contract memory")),
    pytest.param(pairs.LOCAL, marks=pytest.mark.issue("2.P contract local agent")),
    pytest.param(
        pairs.SSH,
        marks=[
            pytest.mark.issue("2.P contract agent over ssh"),
            pytest.mark.issue("2.2 two ssh ends, the controller in the middle"),
            pytest.mark.lab,
        ],
    ),
    pytest.param(pairs.OLD, marks=[pytest.mark.issue("2.4 Python 3.9 runs the agent"), pytest.mark.lab]),
]


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    require.root()
    with running_sshd(tmp_path_factory.mktemp("far")) as sshd:
        yield sshd


@pytest.fixture(scope="module")
def old_python() -> None:
    require.root()
    require.layer(python39.command)


@pytest.fixture(params=WAYS)
def laid(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[pairs.Laid]:
    """An initialised pair."""
    way = request.param
    with pairs.in_memory() as memory:
        if way == pairs.OLD:
            request.getfixturevalue("old_python")
        sshd: Sshd | None = request.getfixturevalue("far") if way == pairs.SSH else None
        base = sshd.log.parent / tmp_path.name if sshd else memory if way == pairs.MEMORY else tmp_path
        made = pairs.Laid(base, way, sshd=sshd)
        try:
            made.session.initialise()
            yield made
        finally:
            made.end()


def letter(number: int) -> bytes:
    return b"Subject: %d\n\n" % number + random.Random(number).randbytes(BODY)


@pytest.fixture
def box(laid: pairs.Laid) -> pairs.Mailbox:
    """An account with mail in three folders, copied already."""
    made = pairs.Mailbox(laid.source / "ex.org/ann")
    made.create("Sent")
    made.create("Archive")
    for name, count in (("INBOX", 6), ("Sent", 3), ("Archive", 2)):
        for number in range(count):
            made.folder(name).deliver(letter(number))
    laid.sync()
    return made


def bases(box: pairs.Mailbox, folder: str = "INBOX") -> list[bytes]:
    return sorted(box.folder(folder).messages())


def standing(root: Path) -> list[bytes]:
    """The base name of every message below a root, as often as it stands there."""
    return [path.split("/")[-1].split(":")[0].encode("latin-1") for path in pairs.messages(root)]


@pytest.mark.issue("2.5 first copy")
def test_a_first_copy_carries_everything_and_says_what_it_was(laid: pairs.Laid) -> None:
    box = pairs.Mailbox(laid.source / "ex.org/ann")
    for number in range(5):
        box.folder("INBOX").deliver(letter(number))
    report = laid.sync()
    assert (report.tally.messages, report.problems) == (5, [])
    assert report.tally.message_bytes == sum(len(letter(number)) for number in range(5))
    pairs.equal(laid)


def test_when_nothing_changed_nothing_travels(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    with pairs.bodies(laid) as travelled:
        report = laid.sync()
    assert travelled == []
    assert not any(vars(report.tally).values())
    assert report.bytes_received + report.bytes_sent < 3_000
    pairs.equal(laid)


@pytest.mark.issue("2.5 flags without bodies")
def test_flags_change_without_bodies(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    for base, flags in zip(bases(box), ("S", "RS", "FS", "T", ""), strict=False):
        box.folder("INBOX").flag(base, flags)
    with pairs.bodies(laid) as travelled:
        tally = laid.sync().tally
    assert (travelled, tally.messages, tally.renamed) == ([], 0, 5)
    pairs.equal(laid)


@pytest.mark.issue("2.5 moves without bodies")
def test_messages_move_without_bodies_and_stand_once(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    moved = bases(box)[:4]
    box.folder("INBOX").move(moved, box.folder("Archive"))
    with pairs.bodies(laid) as travelled:
        tally = laid.sync().tally
    assert (tally.messages, tally.linked) == (0, 4)
    assert sum(travelled) < BODY, "only uidlists"
    pairs.equal(laid)
    assert sorted(base for base in standing(laid.mirror) if base in moved) == moved


@pytest.mark.issue("2.5 copies without bodies")
def test_messages_are_copied_without_bodies(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    box.copy(bases(box)[:3], "INBOX", "Sent")
    with pairs.bodies(laid) as travelled:
        tally = laid.sync().tally
    assert (tally.messages, tally.linked, tally.deleted) == (0, 3, 0)
    assert sum(travelled) < BODY
    pairs.equal(laid)


@pytest.mark.issue("2.5 folder rename without bodies")
def test_a_folder_is_renamed_without_bodies_and_keeps_its_uids(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    before = uidlist.read(laid.mirror / "ex.org/ann/.Sent")
    box.rename("Sent", "Gesendet")
    with pairs.bodies(laid) as travelled:
        tally = laid.sync().tally
    assert (tally.messages, tally.linked, tally.folders_renamed, tally.deleted) == (0, 0, 1, 0)
    assert sum(travelled) < 1_000, "only the subscriptions"
    assert not (laid.mirror / "ex.org/ann/.Sent").exists()
    assert uidlist.read(laid.mirror / "ex.org/ann/.Gesendet").rows == before.rows
    pairs.equal(laid)


def test_folders_are_made_and_deleted(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    box.create("New").deliver(letter(7))
    box.delete("Archive")
    time.sleep(0.03)  # deletions need a directory older than the settle window; nothing signals that
    tally = laid.sync().tally
    assert (tally.messages, tally.deleted, tally.folders) == (1, 2, 1)
    assert sorted(path.name for path in (laid.mirror / "ex.org/ann").glob(".*")) == [".New", ".Sent"]
    pairs.equal(laid)


@pytest.mark.issue("2.5 quarantine")
@pytest.mark.issue("2.5 undelete")
def test_what_is_expunged_goes_to_quarantine_and_comes_back_when_asked_for(
    laid: pairs.Laid, box: pairs.Mailbox
) -> None:
    gone = bases(box)[:2]
    before = pairs.messages(laid.mirror)
    box.folder("INBOX").expunge(gone)
    assert laid.sync().tally.deleted == 2
    pairs.equal(laid)
    (report,) = laid.session.undelete(Selection(account="ex.org/ann"))
    assert (report.chosen, report.restored) == (2, 2)
    assert sorted(each.name.split(":")[0].encode("latin-1") for each in report.found) == gone
    assert pairs.messages(laid.mirror) == before
    assert laid.verify().equal, "what was brought back waits, and counts as no difference"


@pytest.mark.issue("2.5 sidecars")
@pytest.mark.issue("2.5 raised next UID")
def test_a_uidlist_arrives_row_by_row_with_its_next_uid_raised(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    for number in range(20):
        box.folder("INBOX").deliver(b"%d\n" % number)
    box.folder("INBOX").expunge(bases(box)[3:17])  # a rewrite
    box.folder("INBOX").deliver(b"and an append\n")
    laid.sync()
    ours, theirs = (uidlist.read(root / "ex.org/ann") for root in (laid.source, laid.mirror))
    present = standing(laid.mirror)
    assert {uid: base for uid, base in theirs.rows.items() if base in present} == ours.rows
    assert (theirs.validity, theirs.guid) == (ours.validity, ours.guid)
    assert theirs.next_uid >= raised_next(ours.next_uid) > ours.next_uid
    pairs.equal(laid)
    box.folder("INBOX").deliver(b"another\n")
    with pairs.bodies(laid) as travelled:
        laid.sync()
    assert sum(travelled) < 200, "the tail travels, not the whole"


@pytest.mark.issue("2.5 sidecars")
def test_keywords_subscriptions_and_sieve_links_come_along(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    home = laid.source / "ex.org/ann"
    letter_of = box.folder("INBOX").keyword("$Important")
    box.folder("INBOX").flag(bases(box)[0], f"S{letter_of}")
    (home / "sieve").mkdir()
    (home / "sieve/rules.sieve").write_text("keep;\n")
    (home / ".dovecot.sieve").symlink_to("sieve/rules.sieve")
    laid.sync()
    there = laid.mirror / "ex.org/ann"
    assert (there / "dovecot-keywords").read_text() == "0 $Important\n"
    assert (there / "subscriptions").read_text() == (home / "subscriptions").read_text()
    assert (there / ".dovecot.sieve").readlink() == Path("sieve/rules.sieve")
    assert (there / "sieve/rules.sieve").read_text() == "keep;\n"
    assert [path for path in pairs.messages(laid.mirror) if path.endswith(f":2,S{letter_of}")]
    pairs.equal(laid)


@pytest.mark.issue("2.5 mtime mode owner kept")
def test_owner_mode_and_time_are_kept(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    path = laid.source / "ex.org/ann/new" / os.fsdecode(bases(box)[0])
    path = path.with_name("1700000001.M1P1.host")
    path.write_bytes(b"mine\n")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 54_321, 54_322)
    os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    laid.sync()
    there = (laid.mirror / "ex.org/ann/new" / path.name).stat()
    here = path.stat()
    assert (there.st_mode, there.st_uid, there.st_gid) == (here.st_mode, here.st_uid, here.st_gid)
    assert there.st_mtime_ns == 1_234_567_890_123_456_789


@pytest.mark.issue("2.5 names with any bytes")
def test_names_with_any_bytes_are_names(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    parts = [b"a\nb", b"\xff\xfe", b"\xe2\x82", b"..odd", b"-rf *", b"'\"$(x)", b"\x01\x7f", b"x" * 251]
    new = os.fsencode(laid.source / "ex.org/ann/cur")
    for number, part in enumerate(parts):
        if not part.startswith(b"."):
            Path(os.fsdecode(os.path.join(new, part + b":2,S"[: 255 - len(part)]))).write_bytes(b"%d\n" % number)
    folder = os.path.join(os.fsencode(laid.source), b"ex.org/ann/.\xfc\nbel")
    for sub in (b"cur", b"new", b"tmp"):
        os.makedirs(os.path.join(folder, sub))
    Path(os.fsdecode(os.path.join(folder, b"new", b"1.\xe9"))).write_bytes(b"there\n")
    tally = laid.sync().tally
    assert tally.messages == len(parts)
    pairs.equal(laid)


@pytest.mark.issue("2.5 resume after interruption")
def test_a_new_session_goes_on_where_the_last_one_was(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    laid.open()
    with pairs.bodies(laid) as travelled:
        assert laid.sync().tally.messages == 0
    assert travelled == []
    box.folder("INBOX").deliver(letter(99))
    laid.open()
    assert laid.sync().tally.messages == 1
    pairs.equal(laid)


def test_an_account_that_is_put_back_from_a_copy_is_read_anew(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    """Other inodes under the same paths: everything is compared, nothing is lost, nothing stands twice."""
    here, aside = laid.source / "ex.org/ann", laid.source / "ex.org/put-aside"
    here.rename(aside)
    shutil.copytree(aside, here, symlinks=True)
    shutil.rmtree(aside)
    laid.sync()
    pairs.equal(laid)
    assert len(pairs.messages(laid.mirror)) == 11
