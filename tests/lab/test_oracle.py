"""The outside client against a real Postfix and Dovecot: sound when all is well, and never when it was tampered with.

What is planted is done to the Maildirs, uidlists and indexes beneath Dovecot, each in an account of its own; one
reading and one verdict serve all claims.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.oracle import reading, witness
from tests.lab.oracle.journal import Act, Began, Fault, Journal, Seen, now, read
from tests.lab.oracle.mailbox import Mailbox
from tests.lab.oracle.popuser import PopUser
from tests.lab.oracle.resolver import Resolver
from tests.lab.oracle.run import CHECKOUT, Oracle
from tests.lab.oracle.site import Site
from tests.lab.oracle.stand import Stand
from tests.lab.oracle.table import lines
from tests.lab.oracle.verdict import Verdict, judge
from tests.lab.oracle.wire import Lost, trusting
from tests.lab.tampering import (
    SEED,
    damaged,
    drop_indexes,
    duplicated,
    folder_lost,
    folder_resurrected,
    identity,
    lost,
    messages,
    misplaced,
    modseq_back,
    renumbered,
    resurrected,
    uid_given_again,
    uids_swapped,
    uidvalidity,
    unflagged,
)
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("oracle")]

USERS = 16


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    require.root()
    with Stand(tmp_path_factory.mktemp("oracle") / "stand", USERS) as built:
        yield built


def mailbox(stand: Stand, number: int, journal: Journal, *, tls: bool = False, site: Site | None = None) -> Mailbox:
    site = site or stand.site
    return Mailbox(site, site.users[number], journal, Resolver(site), trusting(site.ca) if tls else None)


# ---- a site that keeps its promises ----


@pytest.mark.issue("3.3 the outside client keeps sending, reading, flagging, moving, and its verdict is sound")
def test_a_real_site_under_load_is_sound_and_was_looked_at(stand: Stand, tmp_path: Path) -> None:
    site = stand.site
    oracle = Oracle(site, stand.write_site(), tmp_path / "o", SEED, 40)
    with witness.Standing(site, tmp_path / "wire"):
        with oracle:
            time.sleep(6)
        found = oracle.read()
    verdict = oracle.judge(found, tmp_path / "wire")
    table = "\n".join(lines(verdict))
    assert verdict.sound, table
    assert verdict.counts["acknowledged"] > 30 and verdict.counts["answers on the wire"] > 300, table
    assert all(away.successes > 50 for away in verdict.away.values()), table
    assert oracle.done is not None and not oracle.done.refusals and not oracle.done.untaken
    acts = {record.act for record in read(tmp_path / "o/journal.jsonl") if isinstance(record, Act)}
    assert {"append", "store", "move", "expunge"} <= acts


@pytest.mark.issue("3.3 what is unknown is counted, and how long each protocol was away is told")
def test_a_server_that_dies_under_load_is_away_and_loses_nothing_that_was_promised(
    stand: Stand, tmp_path: Path
) -> None:
    """SIGKILL leaves commands without answers: none of them may look like a broken promise."""
    site = stand.site
    oracle = Oracle(site, stand.write_site(), tmp_path / "o", SEED + 1, 60)
    with witness.Standing(site, tmp_path / "wire"):
        with oracle:
            for _ in range(4):
                time.sleep(1.5)
                stand.kill_dovecot()
                time.sleep(0.4)
                stand.start_dovecot()
            time.sleep(1.5)
        stand.drain()
        found = oracle.read()
    verdict = oracle.judge(found, tmp_path / "wire", log=stand.post_log)
    table = "\n".join(lines(verdict))
    assert verdict.sound, table
    for protocol in ("imap", "pop3"):
        away = verdict.away[protocol]
        assert len(away.outages) >= 4 and away.total > 1.6, table
    outcomes = [record.outcome for record in read(tmp_path / "o/journal.jsonl") if isinstance(record, Act)]
    assert "unknown" in outcomes, table


def test_the_programs_agree_with_the_library(stand: Stand, tmp_path: Path) -> None:
    """The oracle and the witness as commands, as they run on the lab's client host."""
    site, out, wire = str(stand.write_site()), tmp_path / "verdict.json", str(tmp_path / "wire")
    witnessing = [sys.executable, "-m", "tests.lab.oracle.witness", "--site", site, "--out", wire]
    watching = subprocess.Popen(witnessing, cwd=CHECKOUT)
    try:
        words = ["--seed", "66", "--seconds", "3", "--rate", "30", "--dir", str(tmp_path / "o"), "--out", str(out)]
        command = [sys.executable, "-m", "tests.lab.oracle", "--site", site, *words]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=120)
    finally:
        watching.terminate()
        assert watching.wait(10) == 0
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("SOUND") and out.exists()
    again = [*command, "--judge-only", "--wire", wire]
    done = subprocess.run(again, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 and "positive answers on the wire" in done.stdout, done.stdout + done.stderr


# ---- faults planted beneath ----

Plant = Callable[[Path], None]


# What is done -> the findings that it must cause (a cache's by their detail), and those that it may cause besides.
PLANTS: dict[Plant, tuple[set[str], set[str]]] = {
    lost: ({"lost"}, set()),
    duplicated: ({"duplicated"}, set()),
    resurrected: ({"resurrected"}, set()),
    damaged: ({"damaged"}, {"modseq back"}),
    misplaced: ({"misplaced"}, set()),
    unflagged: ({"flags"}, set()),
    folder_lost: ({"folder lost"}, set()),
    folder_resurrected: ({"folder resurrected"}, set()),
    uids_swapped: ({"reuse"}, {"modseq back"}),
    uid_given_again: ({"reuse", "late uid"}, {"modseq back", "uidnext back"}),
    renumbered: ({"renumbered"}, {"modseq back"}),
    uidvalidity: ({"uidvalidity"}, set()),
    modseq_back: ({"modseq back"}, set()),
}
UNTOUCHED = len(PLANTS)


def prepare(box: Mailbox, name: str) -> None:
    """Five messages in the INBOX: the third flagged, the fourth in box, the fifth expunged; a folder made and ended."""
    for number in range(1, 6):
        assert box.append("INBOX", f"s{SEED}-{name}-{number}", ()) == "ok"
    for folder in ("box", "empty", "gone"):
        assert box.create(folder) == "ok"
    assert box.delete("gone") == "ok"
    cache = box.sync("INBOX")
    uids = {named: uid for uid, named in cache.ids.items()}
    assert box.store("INBOX", uids[f"s{SEED}-{name}-3"], ("\\Flagged", "Work"), add=True) == "ok"
    assert box.move("INBOX", uids[f"s{SEED}-{name}-4"], "box") == "ok"
    assert box.expunge("INBOX", uids[f"s{SEED}-{name}-5"]) == "ok"
    for folder in ("INBOX", "box", "empty"):
        box.sync(folder)
    box.disconnect()
    box.sync("INBOX")  # the modseq after the expunge
    box.remember()
    box.disconnect()


@pytest.fixture(scope="module")
def tampered(tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """One Dovecot, an account for each fault and one that is left alone."""
    require.root()
    place = tmp_path_factory.mktemp("tampered")
    with Stand(place / "stand", len(PLANTS) + 1, post=False) as stand:
        with Journal(place / "journal") as journal:
            journal.write(Began(now(), time.time(), SEED, 0))
            for number in range(len(PLANTS) + 1):
                prepare(mailbox(stand, number, journal, tls=number % 2 == 1), f"user{number}")
        records = list(read(place / "journal"))
        before = judge(records, reading.read(stand.site, stand.address, None))
        assert before.sound, "\n".join(lines(before))
        stand.stop_dovecot()
        for number, plant in enumerate(PLANTS):
            plant(stand.maildir(number))
        stand.start_dovecot()
        return judge(records, reading.read(stand.site, stand.address, None))


@pytest.mark.issue("3.3 the outside client is tested with planted losses, duplicates, UID reuse")
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_what_was_done_beneath_is_reported_for_that_account(tampered: Verdict, plant: Plant) -> None:
    account = f"user{list(PLANTS).index(plant)}@example.test"
    found = [finding for finding in tampered.findings if finding.account == account]
    kinds = {finding.detail or finding.kind for finding in found}
    must, may = PLANTS[plant]
    assert must <= kinds <= must | may, found


def test_an_account_that_was_left_alone_has_no_finding(tampered: Verdict) -> None:
    account = f"user{UNTOUCHED}@example.test"
    assert [finding for finding in tampered.findings if finding.account == account] == []
    assert tampered.counts["acknowledged"] == 5 * (len(PLANTS) + 1)


# ---- what a running client notices by itself ----


def faults(path: Path) -> list[str]:
    return [record.kind for record in read(path) if isinstance(record, Fault)]


def own(stand: Stand, number: int) -> Path:
    """A Maildir whose owner lost it all, so that each test begins anew."""
    shutil.rmtree(stand.maildir(number), ignore_errors=True)
    return stand.maildir(number)


def test_a_client_with_qresync_notices_a_vanished_that_never_came(stand: Stand, tmp_path: Path) -> None:
    """As on a mirror without the indexes (reference on replication, 0.7): the answer since the modseq is empty."""
    maildir = own(stand, 0)
    with Journal(tmp_path / "j") as journal:
        box = mailbox(stand, 0, journal)
        for number in range(1, 6):
            box.append("INBOX", f"s{SEED}-user0-{number}", ())
        cache = box.sync("INBOX")
        for uid in list(cache.ids)[:3]:
            box.store("INBOX", uid, ("\\Seen",), add=True)
        box.disconnect()
        box.sync("INBOX")
        box.disconnect()
        assert faults(tmp_path / "j") == []
        messages(maildir)[identity(maildir, 2)].unlink()
        path = messages(maildir)[identity(maildir, 4)]
        path.rename(path.with_name(path.name.partition(":")[0] + ":2,F"))
        drop_indexes(maildir)
        box.sync("INBOX")
        box.disconnect()
    found = faults(tmp_path / "j")
    assert sorted(found) == ["missed flags", "missed vanished", "modseq back"], found


def test_a_client_takes_only_what_is_advertised(tmp_path: Path) -> None:
    """The same without CONDSTORE and QRESYNC in the list of capabilities: nothing is expected of the modseq."""
    require.root()
    capability = "IMAP4rev1 LITERAL+ UIDPLUS STARTTLS"
    with Stand(tmp_path / "stand", 1, capability=capability, post=False) as stand, Journal(tmp_path / "j") as journal:
        maildir = stand.maildir(0)
        box = mailbox(stand, 0, journal)
        for number in range(1, 4):
            assert box.append("INBOX", identity(maildir, number), ()) == "ok"
        box.create("box")
        cache = box.sync("INBOX")
        assert box.move("INBOX", min(cache.ids), "box") == "ok"  # by COPY and EXPUNGE: MOVE isn't offered
        box.disconnect()
        messages(maildir)[identity(maildir, 2)].unlink()
        drop_indexes(maildir)
        box.sync("INBOX")
        box.disconnect()
        acts = [record.act for record in read(tmp_path / "j") if isinstance(record, Act)]
    assert faults(tmp_path / "j") == []
    assert acts == ["append"] * 3 + ["create", "copy", "store", "expunge"]


def test_a_pop3_client_notices_a_uidl_that_names_another_message_and_new_ones_for_old_mail(
    stand: Stand, tmp_path: Path
) -> None:
    maildir = own(stand, 1)
    site = stand.site
    with Journal(tmp_path / "j") as journal:
        box = mailbox(stand, 1, journal)
        for number in range(1, 4):
            box.append("INBOX", identity(maildir, number), ())
        box.sync("INBOX")
        box.disconnect()
        pop = PopUser(site, site.users[1], journal, Resolver(site), None)
        pop.session(random.Random(1), read=3, delete=0)
        assert faults(tmp_path / "j") == []
        uids_swapped(maildir)
        pop.session(random.Random(1), read=3, delete=0)
        assert set(faults(tmp_path / "j")) == {"uidl reuse"}
        uidvalidity(maildir)
        pop.session(random.Random(1), read=0, delete=1)
    assert set(faults(tmp_path / "j")) == {"uidl reuse", "uidl changed"}
    assert [record.outcome for record in read(tmp_path / "j") if isinstance(record, Act)][-1] == "ok"


def test_a_reply_that_is_lost_is_journaled_as_unknown(stand: Stand, tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        box = mailbox(stand, 2, journal)
        assert box.append("INBOX", f"s{SEED}-user2-1", ()) == "ok"
        (uid, *_) = box.sync("INBOX").ids
        box.connect().link.close()
        with pytest.raises(Lost):
            box.store("INBOX", uid, ("\\Seen",), add=True)
    last = [record for record in read(tmp_path / "j") if isinstance(record, Act)][-1]
    assert (last.act, last.outcome) == ("store", "unknown")


# ---- the witness ----


def test_the_client_saw_what_the_witness_heard(stand: Stand, tmp_path: Path) -> None:
    """Each acknowledgement in the clear is on the wire too, on the same connection: the witness didn't miss any."""
    site = stand.site
    with witness.Standing(site, tmp_path / "wire"), Journal(tmp_path / "j") as journal:
        box = mailbox(stand, 3, journal)
        for number in range(20):
            box.append("INBOX", f"s{SEED}-user3-{number}", ())
        for uid in list(box.sync("INBOX").ids)[:10]:
            box.store("INBOX", uid, ("\\Seen",), add=True)
        box.disconnect()
    wire, _ = witness.read(tmp_path / "wire")
    acts = [record for record in read(tmp_path / "j") if isinstance(record, Act)]
    assert wire.missed == 0
    assert {act.link for act in acts} == {answer.link for answer in wire.answers}
    for act in acts:
        assert any(0 <= act.t - answer.t < 0.5 for answer in wire.answers)
    assert {answer.place for answer in wire.answers} == {"primary"}
    assert any(isinstance(record, Seen) for record in read(tmp_path / "j"))
