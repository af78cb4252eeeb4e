"""What we take and refuse of a uidlist, against a real Dovecot 2.3 that opens each file.

A box is a Maildir of five messages with one uidlist. One shell script in one root lets Dovecot open every box, look at
it, save a message and look again; the tests read what it wrote down. So each test is one claim about one file, and all
of them together cost one start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator.agent.uidlist import Kind, parse, succession
from orchestrator.agent.uidwrite import raise_counter, raise_marker, raised, raised_next, with_next, with_rows
from tests.support import image, require

pytestmark = pytest.mark.lab

VMAIL = 5000
VALIDITY = 1700000000
UIDS = {b"m%d" % number: 10 + number for number in range(1, 6)}
HEADER = b"3 V1700000000 N20 G0123456789abcdef0123456789abcdef\n"
LINES = [b"11 :m1\n", b"12 S20 W21 :m2\n", b"13 :m3\n", b"14 :m4\n", b"15 :m5\n"]
GOOD = HEADER + b"".join(LINES)
RAISED = raised_next(20)

CONFIGURATION = """
mail_uid = 5000
mail_gid = 5000
log_timestamp =
stats_writer_socket_path =
namespace inbox {
  inbox = yes
}
"""
SCRIPT = """
for box in /lab/boxes/*; do
  exec 2>> $box/log
  cd $box
  look() { USER=vmail HOME=/lab doveadm -f tab -c /lab/dovecot.conf -o mail_location=maildir:$box/mail "$@"; }
  if [ -e then ]; then look fetch 'uid guid' mailbox INBOX all > before; cat then > mail/dovecot-uidlist; fi
  look fetch 'uid guid' mailbox INBOX all > first
  look mailbox status 'uidvalidity uidnext' INBOX > status
  printf 'Message-Id: <%s>\\n\\nnew\\n' $box | look save -m INBOX
  look fetch 'uid guid' mailbox INBOX all > second
done
"""

# Files that Dovecot opens as they are: what it makes of them has to be what our verdict says.
DAMAGES: dict[str, bytes] = {
    "sound": GOOD,
    "next uid behind the rows": GOOD.replace(b"N20", b"N3"),
    "no guid": GOOD.replace(b" G0123456789abcdef0123456789abcdef", b""),
    "unknown header field": GOOD.replace(b" N20", b" X1.2 N20"),
    "lower case field": GOOD.replace(b"S20 ", b"x20 "),
    "two spaces": GOOD.replace(b"13 :", b"13  :"),
    "old row with flags": GOOD.replace(b":m3", b":m3:2,S"),
    "version one": b"1 1700000000 20\n" + GOOD.split(b"\n", 1)[1].replace(b"S20 W21 ", b"").replace(b":", b""),
    "moved back": GOOD + b"16 :m1\n",
    "row without its file": GOOD + b"17 :gone\n",
    "garbage": HEADER + b"".join([*LINES[:2], b"garbage\n", *LINES[2:]]),
    "empty line": HEADER + b"".join([*LINES[:2], b"\n", *LINES[2:]]),
    "zeros after a power cut": GOOD + b"\0" * 64 + b"\n",
    "uid zero": GOOD.replace(b"11 :", b"0 :"),
    "uid without a name": GOOD + b"16 :\n",
    "uid without a colon": GOOD + b"16 S1\n",
    "slash in the name": GOOD + b"16 :sub/m6\n",
    "uid too high": GOOD + b"4294967295 :m6\n",
    "clash": GOOD.replace(b"13 :", b"12 :"),
    "row twice": HEADER + b"".join([*LINES, LINES[-1]]),
    "disorder": HEADER + b"".join([*LINES[:2], LINES[3], LINES[2], LINES[4]]),
    "next uid zero": GOOD.replace(b"N20", b"N0"),
    "uidvalidity zero": GOOD.replace(b"V1700000000", b"V0"),
    "no uidvalidity": GOOD.replace(b"V1700000000 ", b""),
    "bad guid": GOOD.replace(b"G0123", b"Gxyz"),
    "version two": GOOD.replace(b"3 V", b"2 V"),
    "version one with a uid that is too high": b"1 1700000000 15\n11 m1\n12 m2\n13 m3\n14 m4\n15 m5\n",
    "no header": b"".join(LINES),
    "torn header": HEADER[:20],
    "empty": b"",
}
EXPECTED = {"moved back": {**UIDS, b"m1": 16}}
TORN = {
    "torn in the name": GOOD[:-2],
    "torn in the uid": GOOD[:-6],
    "torn at the end": GOOD[:-1],
}
SUCCESSORS: dict[str, bytes] = {
    "the same": GOOD,
    "appended": GOOD + b"20 :m6\n",
    "compacted": HEADER.replace(b"N20", b"N21") + b"".join(LINES[2:]),
    "appended behind an older header": GOOD.replace(b"N20", b"N7") + b"20 :m6\n",
    "lower next uid": GOOD.replace(b"N20", b"N17"),
    "next uid of an old copy": HEADER.replace(b"N20", b"N14") + b"".join(LINES[:3]),
    "two bases swapped": GOOD.replace(b"m4", b"mx").replace(b"m3", b"m4").replace(b"mx", b"m3"),
    "a gap filled": GOOD + b"17 :m6\n",
}


class Box(NamedTuple):
    """What Dovecot said of one box. Maps are base name -> UID."""

    path: Path

    def uids(self, look: str) -> dict[bytes, int]:
        rows = (self.path / look).read_bytes().splitlines()[1:]
        return {base: int(uid) for uid, base in (row.split(b"\t") for row in rows)}

    @property
    def uidnext(self) -> int:
        """The next UID that Dovecot announced before the message was saved."""
        return int(self._status["uidnext"])

    @property
    def validities(self) -> set[int]:
        """UIDVALIDITY before, and in the file that Dovecot left behind."""
        return {int(self._status["uidvalidity"]), parse((self.path / "mail/dovecot-uidlist").read_bytes()).uidvalidity}

    @property
    def _status(self) -> dict[str, str]:
        heads, values = (line.split("\t") for line in (self.path / "status").read_text().splitlines())
        return dict(zip(heads, values, strict=True))

    @property
    def log(self) -> str:
        return (self.path / "log").read_text()

    @property
    def saved(self) -> int:
        """The UID of the message that was saved."""
        (new,) = self.uids("second").keys() - self.uids("first").keys()
        return self.uids("second")[new]

    def keeps(self, expected: dict[bytes, int]) -> bool:
        """Whether every message has the UID that it should have, under the same UIDVALIDITY, from first to last."""
        everywhere = all(expected.items() <= self.uids(look).items() for look in ("first", "second"))
        return everywhere and self.validities == {VALIDITY}


def lay(boxes: Path, name: str, data: bytes | None, then: bytes | None = None, extra: tuple[str, ...] = ()) -> None:
    mail = boxes / name.replace(" ", "-") / "mail"
    for place in ("cur", "new", "tmp"):
        (mail / place).mkdir(parents=True)
    for number, base in enumerate((*map(os.fsdecode, UIDS), *extra)):
        (mail / "cur" / f"{base}:2,").write_bytes(b"Subject: %d\n\nbody\n" % number)
    if data is not None:
        (mail / "dovecot-uidlist").write_bytes(data)
    if then is not None:
        (mail.parent / "then").write_bytes(then)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[image.Root, Path]]:
    """A root with Dovecot, and the directory that it sees as /lab."""
    require.root()
    place = tmp_path_factory.mktemp("dovecot")
    place.chmod(0o755)
    (place / "dovecot.conf").write_text(CONFIGURATION)
    with image.Root(binds=[(place, "/lab")], net=image.LOOPBACK) as root:
        yield root, place


@pytest.fixture(scope="module")
def boxes(lab: tuple[image.Root, Path]) -> Path:
    """All boxes, after Dovecot has been through them."""
    root, place = lab
    boxes = place / "boxes"
    for name, data in DAMAGES.items():
        lay(boxes, name, data)
        if parse(data).usable:
            lay(boxes, f"raised {name}", raised(data))
    for name, data in TORN.items():
        lay(boxes, name, data)
        lay(boxes, f"cut {name}", parse(data).data)
        lay(boxes, f"raised {name}", raised(data))
    for name, data in SUCCESSORS.items():
        lay(boxes, f"after {name}", data, extra=("m6",))
    lay(boxes, "missing", None)
    lay(boxes, "opened before garbage", GOOD, then=DAMAGES["garbage"])
    lay(boxes, "opened before missing", GOOD, then=b"")
    lay(boxes, "waiting", raised(with_rows(parse(GOOD), [b"8 :gone\n", b"17 S9 :gone2\n"])))
    chown(boxes)
    root.check(["sh", "-c", SCRIPT], timeout=240)
    return boxes


def chown(top: Path) -> None:
    for directory, _, files in os.walk(top):
        for name in (".", *files):
            os.chown(os.path.join(directory, name), VMAIL, VMAIL)


def box(boxes: Path, name: str) -> Box:
    return Box(boxes / name.replace(" ", "-"))


@pytest.mark.issue("2.P uidlist garbage line, UID clash: never installed in a way that makes Dovecot renumber")
@pytest.mark.parametrize("name", DAMAGES)
def test_we_refuse_exactly_the_files_after_which_dovecot_renumbers(boxes: Path, name: str) -> None:
    seen = box(boxes, name)
    assert parse(DAMAGES[name]).usable == seen.keeps(EXPECTED.get(name, UIDS)), seen.log


@pytest.mark.issue("2.P uidlist raised next UID: accepted by Dovecot without renumbering")
@pytest.mark.parametrize("name", [name for name, data in DAMAGES.items() if parse(data).usable])
def test_a_raised_file_changes_nothing_but_the_uid_of_the_next_message(boxes: Path, name: str) -> None:
    seen = box(boxes, f"raised {name}")
    assert seen.keeps(EXPECTED.get(name, UIDS)), seen.log
    assert seen.uidnext == seen.saved == RAISED
    excused = {"moved back": "Warning", "lower case field": "Error"}.get(name, "nothing")
    assert [line for line in seen.log.splitlines() if "Info" not in line and excused not in line] == []


@pytest.mark.issue("2.P uidlist torn line: never installed in a way that makes Dovecot renumber")
@pytest.mark.parametrize("name", TORN)
def test_a_torn_line_makes_dovecot_lose_rows_and_a_cut_one_does_not(boxes: Path, name: str) -> None:
    """As it is, the next row is glued to the torn one: the last message, and the new one, lose their UIDs later."""
    listing = parse(TORN[name])
    assert listing.usable and [problem.kind for problem in listing.problems] == [Kind.TORN]
    whole = {base: uid for base, uid in UIDS.items() if base != b"m5"}
    assert listing.by_base() == whole
    assert not parse((box(boxes, name).path / "mail/dovecot-uidlist").read_bytes()).by_base().items() >= UIDS.items()
    assert box(boxes, f"cut {name}").keeps(whole)
    last = box(boxes, f"raised {name}")
    assert last.keeps(whole) and last.uids("first")[b"m5"] == RAISED and last.saved == RAISED + 1
    assert "rror" not in last.log


@pytest.mark.issue("2.P uidlist missing file")
def test_a_missing_file_makes_dovecot_renumber_and_nothing_is_no_list(boxes: Path) -> None:
    assert not box(boxes, "missing").keeps(UIDS)
    assert not parse(b"").usable


@pytest.mark.issue("2.P uidlist garbage line")
@pytest.mark.parametrize("name", ["opened before garbage", "opened before missing"])
def test_where_an_index_stands_dovecot_renumbers_under_the_same_uidvalidity(boxes: Path, name: str) -> None:
    """The worst of all: clients can't notice. It is why a file is judged before it is installed."""
    seen = box(boxes, name)
    assert seen.uids("before") == UIDS
    assert seen.validities == {VALIDITY}
    assert seen.uids("second").keys() > UIDS.keys()
    assert not UIDS.items() <= seen.uids("second").items()
    assert not parse((seen.path / "then").read_bytes()).usable


@pytest.mark.issue("2.P uidlist lower next UID, UID clash")
@pytest.mark.parametrize("name", SUCCESSORS)
def test_we_refuse_exactly_the_successors_with_which_a_uid_names_a_second_message(boxes: Path, name: str) -> None:
    old, seen = parse(GOOD), box(boxes, f"after {name}")
    given = {uid: base for base, uid in old.by_base().items()}
    named = {uid: base for base, uid in seen.uids("second").items()}
    broken = any(uid < old.next_uid and given.get(uid) != base for uid, base in named.items())
    refused = any(problem.fatal for problem in succession(old, parse(SUCCESSORS[name])))
    assert refused == broken, seen.log


@pytest.mark.issue("2.5 a row stays while its deletion waits")
def test_rows_of_waiting_deletions_change_nothing_for_dovecot(boxes: Path) -> None:
    seen = box(boxes, "waiting")
    assert seen.keeps(UIDS) and seen.saved == RAISED and seen.uids("first") == UIDS
    assert seen.log.strip() == ""


@pytest.mark.issue("2.P uidlist raised next UID: accepted by Dovecot without renumbering")
def test_an_imap_client_sees_the_same_uids_and_the_raised_next_one(lab: tuple[image.Root, Path]) -> None:
    root, place = lab
    lay(place, "imap", raised(GOOD))
    chown(place / "imap")
    orders = b"a SELECT INBOX\r\nb FETCH 1:* UID\r\nc LOGOUT\r\n"
    server = ["/usr/lib/dovecot/imap", "-c", "/lab/dovecot.conf", "-o", "mail_location=maildir:/lab/imap/mail"]
    answer = root.check(["env", "USER=vmail", "HOME=/lab", *server], stdin=orders).decode()
    assert f"UIDVALIDITY {VALIDITY}" in answer and f"UIDNEXT {RAISED}" in answer
    assert [f"* {number} FETCH (UID {10 + number})" in answer for number in range(1, 6)] == [True] * 5


@pytest.mark.issue("2.5 raised uidvalidity counters")
def test_a_folder_made_after_a_promotion_has_a_uidvalidity_above_the_raised_counter(
    lab: tuple[image.Root, Path],
) -> None:
    root, place = lab
    lay(place, "counter", GOOD)
    chown(place / "counter")
    mail = place / "counter/mail"
    doveadm = ["doveadm", "-f", "tab", "-c", "/lab/dovecot.conf", "-o", "mail_location=maildir:/lab/counter/mail"]
    user = ["env", "USER=vmail", "HOME=/lab", *doveadm]
    root.check([*user, "mailbox", "create", "one"])
    counter = (mail / "dovecot-uidvalidity").read_bytes()
    (marker,) = mail.glob("dovecot-uidvalidity.*")
    assert os.fsencode(marker.name) == b"dovecot-uidvalidity." + counter
    (mail / "dovecot-uidvalidity").write_bytes(raise_counter(counter))
    marker.rename(mail / os.fsdecode(raise_marker(os.fsencode(marker.name)) or b""))
    root.check([*user, "mailbox", "create", "two"])
    answer = root.check([*user, "mailbox", "status", "uidvalidity", "one", "two"]).decode()
    found = {name: int(value) for name, value in (line.split("\t") for line in answer.splitlines()[1:])}
    assert found == {"one": int(counter, 16), "two": int(counter, 16) + 4096 + 1}
    assert len(list(mail.glob("dovecot-uidvalidity.*"))) == 1


def test_what_dovecot_wrote_itself_is_read_and_written_back_byte_by_byte(boxes: Path) -> None:
    for path in sorted(boxes.glob("*/mail/dovecot-uidlist")):
        data = path.read_bytes()
        if path.parent.parent.name not in {name.replace(" ", "-") for name in TORN}:
            listing = parse(data)
            assert not [problem for problem in listing.problems if problem.kind is not Kind.TWICE], path
            assert with_next(listing, listing.header.next_uid) == data
