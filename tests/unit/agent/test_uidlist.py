"""The uidlist: what is read, what is refused and why, what may follow what, what is written on a passive place."""

from __future__ import annotations

import time

import pytest

from orchestrator.agent import uidlist, uidwrite
from orchestrator.agent.uidlist import Header, Kind, Summary, UidList, parse, succession, tail
from orchestrator.agent.uidwrite import (
    Clash,
    Exhausted,
    raise_counter,
    raise_marker,
    raised,
    raised_next,
    render_header,
    with_rows,
)

GUID = b"0123456789abcdef0123456789abcdef"
HEADER = b"3 V1700000000 N5 G" + GUID + b"\n"
ROWS = b"1 S100 W102 :a,S=100\n2 :b\n4 W7 P1.x :c d\n"
GOOD = HEADER + ROWS


def found(data: bytes) -> list[tuple[int, Kind, bool]]:
    return [(problem.line, problem.kind, problem.fatal) for problem in parse(data).problems]


@pytest.mark.issue("2.5 uidlist validation")
def test_a_sound_file_is_read_whole() -> None:
    listing = parse(GOOD)
    assert listing.usable and not listing.problems
    assert (listing.uidvalidity, listing.header.next_uid, listing.guid) == (1700000000, 5, GUID)
    assert listing.by_base() == {b"a,S=100": 1, b"b": 2, b"c d": 4}
    assert listing.data == GOOD
    assert listing.summary == Summary(1700000000, 5, GUID)


def test_appended_rows_raise_the_real_next_uid() -> None:
    listing = parse(GOOD + b"9 :e\n")
    assert (listing.header.next_uid, listing.next_uid) == (5, 10)
    assert listing.certain.next_uid == 10
    assert parse(HEADER).certain.next_uid == 1


def test_old_rows_with_flags_in_the_name_are_known_by_their_base() -> None:
    assert parse(HEADER + b"1 :a:2,S\n").by_base() == {b"a": 1}


def test_unknown_header_fields_are_kept_in_their_order() -> None:
    line = b"3 V7 N9 X1.2 G" + GUID + b" P%u\n"
    listing = parse(line)
    assert listing.usable
    assert render_header(listing.header) == line
    assert raised(listing) == line.replace(b"N9", b"N2097152")


@pytest.mark.issue("2.5 Courier")
def test_version_one_is_read() -> None:
    listing = parse(b"1 1700000000 4\n1 a\n3 b c:2,S\n")
    assert listing.usable and listing.header.version == 1
    assert listing.by_base() == {b"a": 1, b"b c": 3}
    assert raised(listing) == b"1 1700000000 2097152\n1 a\n3 b c:2,S\n"


@pytest.mark.issue("2.P uidlist torn line")
@pytest.mark.parametrize("torn", [b"5", b"5 ", b"5 :", b"5 :e", b"5 S10 W", b"\0\0\0"])
def test_a_torn_line_is_cut_off_and_the_rest_is_good(torn: bytes) -> None:
    listing = parse(GOOD + torn)
    assert listing.usable and listing.data == GOOD
    assert found(GOOD + torn) == [(5, Kind.TORN, False)]


@pytest.mark.issue("2.P uidlist garbage line")
@pytest.mark.parametrize(
    "line",
    [
        *(b"garbage", b"", b" 5 :e", b"5", b"5 ", b"5 :", b"5 S1", b"5:e", b"5\t:e", b"-5 :e", b"5 :sub/e", b"5 ::2,S"),
        *(b"4294967295 :e", b"99999999999 :e", b"05 :e", b"5 :e\r", b"5 :e\0", b"\0" * 40, b"5 e", b"5 S1 e"),
    ],
)
def test_a_line_that_is_no_row_makes_the_file_unusable(line: bytes) -> None:
    assert found(GOOD + line + b"\n6 :f\n") == [(5, Kind.GARBAGE, True)]


def test_what_dovecot_drops_by_itself_is_only_noted() -> None:
    listing = parse(GOOD + b"5  S1  x9 :e\n6 :f\n")
    assert listing.usable and listing.by_base()[b"e"] == 5
    assert [problem.kind for problem in listing.problems] == [Kind.FIELD]


@pytest.mark.issue("2.P uidlist UID clash")
def test_one_uid_for_two_messages_is_a_clash() -> None:
    assert found(GOOD + b"4 :e\n") == [(5, Kind.CLASH, True)]


def test_uids_that_do_not_ascend_are_refused() -> None:
    assert found(GOOD + b"3 :e\n") == [(5, Kind.DISORDER, True)]
    assert found(GOOD + b"4 W7 P1.x :c d\n") == [(5, Kind.DISORDER, True)]


def test_a_message_that_was_moved_back_has_two_rows_and_the_last_counts() -> None:
    listing = parse(GOOD + b"5 :a,S=100\n")
    assert listing.usable and listing.by_base()[b"a,S=100"] == 5
    assert found(GOOD + b"5 :a,S=100\n") == [(5, Kind.TWICE, False)]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", Kind.HEADER),
        (b"3 V1700000000 N5", Kind.HEADER),
        (b"\n", Kind.HEADER),
        (b"2 V1 N1\n", Kind.HEADER),
        (b"3V1 N1\n", Kind.HEADER),
        (b"3 N5 G" + GUID + b"\n", Kind.HEADER),
        (b"3 V5 G" + GUID + b"\n", Kind.HEADER),
        (b"3 V1 V2 N5 G" + GUID + b"\n", Kind.HEADER),
        (b"3 Vx N5 G" + GUID + b"\n", Kind.HEADER),
        (b"3 V4294967296 N5 G" + GUID + b"\n", Kind.HEADER),
        (b"3 V1 N5 Gshort\n", Kind.HEADER),
        (b"3 V1 N5 G\n", Kind.HEADER),
        (b"3 V0 N5 G" + GUID + b"\n", Kind.ZERO),
        (b"3 V1 N0 G" + GUID + b"\n", Kind.ZERO),
        (b"1 5\n", Kind.HEADER),
        (b"1 0 5\n", Kind.ZERO),
        (b"1 5 2\n2 a\n", Kind.HEADER),
        (b"\0" * 4096, Kind.HEADER),
    ],
)
def test_a_header_that_cannot_be_used_makes_the_file_unusable(data: bytes, kind: Kind) -> None:
    listing = parse(data)
    assert not listing.usable
    assert [(problem.line, problem.kind) for problem in listing.problems if problem.fatal] == [(1, kind)]


def test_a_missing_guid_is_only_noted() -> None:
    listing = parse(b"3 V1 N5\n1 :a\n")
    assert listing.usable and [problem.kind for problem in listing.problems] == [Kind.HEADER]


def test_a_uid_of_zero_is_named_as_such() -> None:
    assert found(HEADER + b"0 :a\n") == [(2, Kind.ZERO, True)]


def test_line_numbers_are_right_behind_lines_that_are_no_rows() -> None:
    assert found(GOOD + b"x\ny\n4 :e\n") == [
        (5, Kind.GARBAGE, True),
        (6, Kind.GARBAGE, True),
        (7, Kind.CLASH, True),
    ]
    assert found(GOOD + b"4 :e\nx\n") == [(6, Kind.GARBAGE, True), (5, Kind.CLASH, True)]


@pytest.mark.issue("2.4 a hostile peer can't make either end grow without bound")
def test_a_file_full_of_garbage_yields_a_bounded_list_that_still_says_fatal() -> None:
    notes = b"".join(b"%d x :n%d\n" % (uid, uid) for uid in range(5, 305))
    listing = parse(GOOD + notes + b"garbage\n")
    assert len(listing.problems) == uidlist.MAX_PROBLEMS + 1
    assert not any(problem.fatal for problem in listing.problems[:-1])
    assert not listing.usable and "201 more" in listing.problems[-1].what


def test_a_tail_is_read_like_the_rest() -> None:
    rows = tail(b"5 :e\n6 S1 :f\n7 :g", after=4, line=9)
    assert (list(rows.uids), rows.bases, rows.size) == ([5, 6], [b"e", b"f"], 13)
    assert rows.usable and [(problem.line, problem.kind) for problem in rows.problems] == [(11, Kind.TORN)]
    assert not tail(b"5 :e\n", after=5).usable
    assert tail(b"").usable
    assert list(tail(b"5 e\n", version=1).uids) == [5]


def test_raw_rows_are_found_by_uid() -> None:
    assert parse(GOOD).lines([4, 3, 1, 1, 99]) == [b"1 S100 W102 :a,S=100\n", b"4 W7 P1.x :c d\n"]


# What may follow what


def kinds(old: UidList | Summary, new: bytes) -> list[tuple[Kind, bool]]:
    return [(problem.kind, problem.fatal) for problem in succession(old, parse(new))]


def test_appending_and_dropping_rows_is_a_lawful_succession() -> None:
    old = parse(GOOD)
    assert kinds(old, GOOD + b"5 :e\n") == []
    assert kinds(old, HEADER + b"2 :b\n") == []
    assert kinds(old, HEADER.replace(b"N5", b"N99") + b"98 :z\n") == []


@pytest.mark.issue("2.P uidlist lower next UID")
def test_a_lower_real_next_uid_is_refused() -> None:
    assert kinds(parse(GOOD), GOOD.replace(b"N5", b"N4").replace(b"4 W7 P1.x :c d\n", b"")) == [(Kind.LOWER_NEXT, True)]
    assert kinds(Summary(1700000000, 6, GUID), GOOD) == [(Kind.LOWER_NEXT, True)]
    assert kinds(parse(GOOD), GOOD.replace(b"N5", b"N2")) == []


@pytest.mark.issue("2.P uidlist UID clash")
def test_a_uid_that_would_name_another_message_is_refused() -> None:
    assert kinds(parse(GOOD), GOOD.replace(b":b", b":other")) == [(Kind.CLASH, True)]
    assert kinds(parse(GOOD), GOOD.replace(b"2 :b\n", b"2 :b\n3 :filled\n")) == [(Kind.CLASH, True)]
    swapped = HEADER + b"1 :b\n2 :a,S=100\n4 :c d\n"
    assert kinds(parse(GOOD), swapped) == [(Kind.CLASH, True), (Kind.CLASH, True)]


def test_a_message_that_comes_back_under_a_new_uid_is_noted_and_its_old_row_may_linger() -> None:
    moved_back = GOOD + b"5 :b\n"
    assert kinds(parse(GOOD), moved_back) == [(Kind.RENUMBERED, False)]
    assert kinds(parse(moved_back), moved_back + b"6 :e\n") == []


def test_uidvalidity_may_rise_but_not_fall() -> None:
    old = parse(GOOD)
    newer = b"3 V1700000001 N2 G" + GUID + b"\n1 :z\n"
    assert kinds(old, newer) == [(Kind.NEW_VALIDITY, False)]
    assert kinds(parse(newer), GOOD) == [(Kind.LOWER_VALIDITY, True)]


def test_another_folder_guid_is_noted_and_the_rest_judged_as_ever() -> None:
    other = GOOD.replace(GUID, GUID[::-1])
    assert kinds(parse(GOOD), other) == [(Kind.NEW_GUID, False)]
    assert kinds(parse(GOOD), other.replace(b":b", b":x")) == [(Kind.NEW_GUID, False), (Kind.CLASH, True)]
    assert kinds(parse(GOOD), GOOD.replace(GUID, GUID.upper())) == []


def test_the_old_rows_may_be_a_lookup() -> None:
    known = {b"a,S=100": 1, b"b": 2, b"c d": 4}
    assert succession(Summary(1700000000, 5), parse(GOOD), known.get) == []
    assert succession(Summary(1700000000, 5), parse(GOOD)) == []
    known[b"b"] = 3
    clash = succession(Summary(1700000000, 5), parse(GOOD), known.get)
    assert [(problem.line, problem.kind) for problem in clash] == [(3, Kind.CLASH)] and "UID 3" in clash[0].what


# What a passive place writes


@pytest.mark.issue("2.5 raised next UID")
@pytest.mark.parametrize(
    ("given", "expected"),
    [(1, 2097152), (3, 2097152), (1048576, 2097152), (1048577, 3145728), (2097152, 3145728), (0x7FFFFFFF, 0x80100000)],
)
def test_the_next_uid_is_raised_to_a_multiple_of_2_20_plus_2_20(given: int, expected: int) -> None:
    assert raised_next(given) == expected


@pytest.mark.issue("2.5 raised next UID")
def test_raising_stops_before_uids_end() -> None:
    assert raised_next(0xFFE00000) == 0xFFF00000
    with pytest.raises(Exhausted):
        raised_next(0xFFE00001)
    with pytest.raises(Exhausted):
        raised(HEADER + b"4294967290 :a\n")


@pytest.mark.issue("2.5 raised next UID")
def test_a_raised_file_differs_in_its_next_uid_alone() -> None:
    assert raised(GOOD + b"9 :e\n1") == HEADER.replace(b"N5", b"N2097152") + ROWS + b"9 :e\n"
    with pytest.raises(ValueError, match="not a row"):
        raised(GOOD + b"garbage\n")


def test_a_header_can_be_made_from_nothing() -> None:
    assert render_header(Header(3, 7, 9, GUID)) == b"3 V7 N9 G" + GUID + b"\n"
    assert render_header(Header(3, 7, 9, b"")) == b"3 V7 N9\n"
    assert render_header(Header(1, 7, 9, b"")) == b"1 7 9\n"


@pytest.mark.issue("2.5 a row stays while its deletion waits")
def test_rows_of_waiting_deletions_are_put_in_at_their_place() -> None:
    kept = parse(GOOD).lines([1, 4])
    new = parse(HEADER + b"2 :b\n7 :g\n")
    assert with_rows(new, kept) == HEADER + b"1 S100 W102 :a,S=100\n2 :b\n4 W7 P1.x :c d\n7 :g\n"
    assert with_rows(parse(HEADER), kept) == HEADER + b"".join(kept)
    assert with_rows(new, []) == new.data
    assert with_rows(new, [b"2 :b\n"]) == new.data
    with pytest.raises(Clash):
        with_rows(new, [b"2 :other\n"])
    for rows in ([b"4 :x\n", b"1 :y\n"], [b"4 :x"], [b"x\n"], [b"4 :x\n5 :y\n"]):
        with pytest.raises(ValueError, match="not rows"):
            with_rows(new, rows)


@pytest.mark.issue("2.5 raised uidvalidity counters")
def test_uidvalidity_counters_are_raised_by_2_12() -> None:
    assert raise_counter(b"6553f1a0") == b"655401a0"
    assert raise_counter(b"6553F1A0\n") == b"655401a0"
    assert raise_marker(b"dovecot-uidvalidity.6553f1a0") == b"dovecot-uidvalidity.655401a0"
    assert raise_marker(b"dovecot-uidvalidity") is None
    assert raise_marker(b"dovecot-uidvalidity.6553f1a0.tmp") is None
    for content in (b"", b"6553", b"6553f1a0f", b"xyzxyzxy", b"-553f1a0", b"6553f1_0"):
        with pytest.raises(ValueError, match="not a uidvalidity counter"):
            raise_counter(content)
    with pytest.raises(Exhausted):
        raise_counter(b"fffff800")


@pytest.mark.issue("2.5 500,000 messages in a folder: the uidlist and its tail are read quickly")
def test_half_a_million_rows_are_read_in_about_a_second() -> None:
    rows = [b"%d S%d W%d :%d.M%dP7.mail1,S=%d\n" % (uid, uid, uid, uid, uid, uid) for uid in range(1, 500_001)]
    data = HEADER.replace(b"N5", b"N500001") + b"".join(rows)
    began = time.process_time()
    listing = parse(data)
    spent = time.process_time() - began
    assert listing.usable and len(listing.uids) == 500_000 and not listing.problems
    assert spent < 3.0, f"{spent:.2f} s of processor time; a quiet machine needs 0.6"
    assert uidwrite.with_next(listing, 500_002).endswith(rows[-1])
