"""What a cursor lacks, offered; and the bodies that are asked for, from the very files that were offered."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent.beneath import Root
from orchestrator.agent.bundle import BUNDLE
from orchestrator.agent.log import Log
from orchestrator.agent.offer import Offers, Wanted
from orchestrator.agent.scan import Scanner
from orchestrator.agent.serve import Answer, Desk, Fault, Outlet, Work
from orchestrator.agent.wire import Decoder, Frame, Kind, inflate, pack, unpack
from tests.unit.agent.receiving import arrived


class Offering:
    """A store with one account, its offers, and what they send."""

    def __init__(self, base: Path) -> None:
        self.cur = base / "store/ann/cur"
        for sub in ("cur", "new", "tmp"):
            (base / "store/ann" / sub).mkdir(parents=True)
        self._ours, self._theirs = socket.socketpair()
        fd = self._theirs.fileno()
        self._theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        desk = Desk(fd, Outlet(fd), {})
        self.root, self.log = Root(str(base / "store")), Log(str(base / "log.sqlite"))
        self.scanner = Scanner(self.root, self.log, None, lambda _path: None)
        self.offers = Offers(self.root, self.log, self.scanner, desk, "store")
        self._decoder = Decoder()

    def close(self) -> None:
        for each in (self.root, self.log, self._ours, self._theirs):
            each.close()

    def put(self, name: str, body: bytes) -> Path:
        (self.cur / name).write_bytes(body)
        return self.cur / name

    def scan(self) -> None:
        self.scanner.audit()
        while self.scanner.pending:
            time.sleep(self.scanner.step() or 0.0)

    def offer(self, live: int = 0, dead: int = 0, rows: int = 100, size: int = 1 << 20, number: int = 1) -> Answer:
        return self.offers.offer(Wanted(number, live, dead, rows, size, True), unfinished=False)

    def fetch(self, wanted: dict[str, Any], number: int = 1, group: int = 7) -> Work:
        blob, deflated = pack(wanted)
        return self.offers.fetch(number, group, Frame(Kind.REQUEST, 1, {}, blob, deflated), None)

    def arrived(self) -> list[Frame]:
        """The BODY frames that came since the last call."""
        self._ours.setblocking(False)
        return arrived(self._ours, self._decoder)

    def bodies(self, wanted: dict[str, Any], level: int = 0) -> list[Frame]:
        """The BODY frames of a fetch, with all credit that it needs."""
        self.offers.credit(7, 1 << 30)
        self.offers.compress(7, level)
        for _ in self.fetch(wanted):
            pass
        return self.arrived()


@pytest.fixture
def offering(tmp_path: Path) -> Iterator[Offering]:
    made = Offering(tmp_path)
    yield made
    made.close()


def offered(answer: Answer) -> Any:
    return unpack(Frame(Kind.REPLY, 1, {}, answer.blob, answer.deflated))


def test_an_offer_is_cut_by_rows_and_by_bytes_and_goes_on_from_its_cursor(offering: Offering) -> None:
    for number in range(10):
        offering.put(f"{number}.host:2,", bytes(100))
    offering.scan()
    first = offering.offer(rows=4)
    assert (first.head["rows"], first.head["more"]) == (4, True)
    second = offering.offer(live=first.head["live"], size=250, number=2)
    assert (second.head["rows"], second.head["more"]) == (2, True)
    third = offering.offer(live=second.head["live"], number=3)
    assert (third.head["rows"], third.head["more"]) == (4, False)
    last = offering.offer(live=third.head["live"], number=4)
    assert last.head["changes"] == 0


def test_a_larger_message_than_a_batch_may_hold_is_a_batch_of_its_own(offering: Offering) -> None:
    offering.put("1.host:2,", bytes(5_000))
    offering.put("2.host:2,", bytes(5_000))
    offering.scan()
    assert offering.offer(size=10).head["rows"] == 1


def test_removals_come_when_nothing_live_is_left(offering: Offering) -> None:
    paths = [offering.put(f"{number}.host:2,", b"x") for number in range(4)]
    offering.scan()
    paths[0].unlink()
    offering.put("5.host:2,", b"y")
    offering.scan()
    first = offering.offer(rows=2)
    assert (first.head["more"], offered(first)["removals"], first.head["deaths"]) == (True, [], [])
    last = offering.offer(live=first.head["live"])
    assert [row[2] for row in offered(last)["removals"]] == ["0.host"]
    assert last.head["deaths"] == [("ann", 1, 4)]


def test_bodies_come_whole_in_bundles_and_large_ones_in_parts(offering: Offering) -> None:
    small, large = os.urandom(3_000), os.urandom(BUNDLE * 2 + 5)
    offering.put("1.host:2,", small)
    offering.put("2.host:2,", large)
    offering.scan()
    answer = offering.offer(size=1 << 30)
    names = [row[0] for _, rows in offered(answer)["placements"] for row in rows]
    whole, parts = names.index("1.host"), names.index("2.host")
    frames = offering.bodies({"plain": [[0, 1]]})
    pieces: dict[int, bytes] = {}
    for frame in frames:
        at = 0
        for item, size in zip(frame.head.get("w", [])[::2], frame.head.get("w", [])[1::2], strict=True):
            pieces[item] = bytes(frame.blob[at : at + size])
            at += size
        for item, start, size, total in frame.head.get("p", []):
            assert (len(pieces.get(item, b"")), total) == (start, len(large))
            pieces[item] = pieces.get(item, b"") + frame.blob[at : at + size]
            at += size
    assert pieces == {whole: small, parts: large}


def _two_batches(offering: Offering) -> None:
    for number in range(8):
        offering.put(f"{number}.host:2,", bytes(BUNDLE))
    offering.scan()
    first = offering.offer(rows=4, size=1 << 30)
    offering.offer(live=first.head["live"], rows=4, size=1 << 30, number=2)


def test_batches_of_a_group_go_out_in_their_order_and_hold_up_no_other_group(offering: Offering) -> None:
    _two_batches(offering)
    all_of_it = {"plain": [[0, 3]]}
    for group in (7, 8):
        offering.offers.credit(group, 1 << 30)
    first, second, elsewhere = (
        offering.fetch(all_of_it, 1),
        offering.fetch(all_of_it, 2),
        offering.fetch(all_of_it, 1, 8),
    )
    works = [first, second, elsewhere]
    seen = {id(work): 0 for work in works}
    while works:
        for work in list(works):
            if next(work, "over") == "over":
                works.remove(work)
            seen[id(work)] += len(offering.arrived())
            assert not seen[id(second)] or seen[id(first)] == 4
    assert set(seen.values()) == {4}


def test_a_fetch_that_fails_lets_the_next_one_go_on(offering: Offering) -> None:
    _two_batches(offering)
    offering.offers.credit(7, 1 << 30)
    first, second = offering.fetch({"plain": [[0, 3]]}, 1), offering.fetch({"plain": [[0, 3]]}, 2)
    next(first)
    next(second)
    first.close()
    assert sum(1 for _ in second) > 0
    assert len(offering.arrived()) == 4


def test_a_level_that_is_told_later_counts_for_what_is_still_on_its_way(offering: Offering) -> None:
    _two_batches(offering)
    offering.offers.credit(7, 1 << 30)
    offering.offers.compress(7, 0)
    work = offering.fetch({"plain": [[0, 3]]})
    while not (before := offering.arrived()):
        next(work)
    offering.offers.compress(7, 6)
    for _ in work:
        pass
    assert [frame.deflated for frame in before] == [False]
    assert offering.arrived()[-1].deflated


def test_flags_that_changed_since_the_offer_change_no_body(offering: Offering) -> None:
    path = offering.put("1.host:2,", b"body")
    offering.scan()
    offering.offer()
    path.rename(offering.cur / "1.host:2,S")
    offering.scan()
    (frame,) = offering.bodies({"plain": [[0, 0]]})
    assert (frame.head["w"], frame.blob) == ([0, 4], b"body")


@pytest.mark.parametrize("change", ["gone", "another file", "longer"])
def test_what_isnt_the_offered_file_any_more_has_vanished(offering: Offering, change: str) -> None:
    path = offering.put("1.host:2,", b"body")
    offering.scan()
    offering.offer()
    if change == "gone":
        path.unlink()
    elif change == "another file":
        offering.put("2.tmp", b"ydob").rename(path)
    else:
        path.write_bytes(b"body and more")
    (frame,) = offering.bodies({"plain": [[0, 0]]})
    assert (frame.head["v"], frame.blob) == ([0], b"")
    assert "w" not in frame.head


def test_a_body_that_the_other_end_has_is_named_by_its_digest(offering: Offering) -> None:
    offering.put("1.host:2,", b"body")
    offering.scan()
    offering.offer()
    digest = hashlib.sha256(b"body").hexdigest()
    (frame,) = offering.bodies({"unless": [[0, ["0" * 64, digest]]]})
    assert (frame.head["s"], frame.blob) == ([[0, 1]], b"")


def test_compression_is_used_where_it_helps(offering: Offering) -> None:
    offering.put("1.host:2,", b"the same again " * 1_000)
    offering.scan()
    offering.offer()
    (frame,) = offering.bodies({"plain": [[0, 0]]}, level=6)
    assert frame.deflated
    assert inflate(frame) == b"the same again " * 1_000


@pytest.mark.issue("2.3 windows under an application credit")
def test_nothing_is_sent_beyond_the_credit(offering: Offering) -> None:
    for number in range(4):
        offering.put(f"{number}.host:2,", bytes(BUNDLE))
    offering.scan()
    offering.offer(size=1 << 30)
    offering.offers.credit(7, BUNDLE)
    work = offering.fetch({"plain": [[0, 3]]})
    waits = [next(work) for _ in range(12)]
    assert waits[-5:] == [1.0] * 5, "it waits"
    assert sum(wait is None for wait in waits) == 3, "one frame within the credit, one that ends it, and a third waits"
    offering.offers.credit(7, 100 * BUNDLE)
    with pytest.raises(StopIteration) as end:
        while True:
            next(work)
    assert end.value.value.head["bytes"] == 4 * BUNDLE


@pytest.mark.parametrize("wanted", [{"plain": [[0, 5]]}, {"from": [[-1, 0]]}, {"unless": [[9, []]]}])
def test_what_wasnt_offered_isnt_sent(offering: Offering, wanted: dict[str, Any]) -> None:
    offering.put("1.host:2,", b"body")
    offering.scan()
    offering.offer()
    with pytest.raises(Fault, match="was offered"):
        offering.bodies(wanted)


def test_a_batch_of_another_conversation_is_unknown(offering: Offering) -> None:
    with pytest.raises(Fault, match="wasn't offered"):
        next(offering.fetch({"plain": [[0, 0]]}, number=99))
