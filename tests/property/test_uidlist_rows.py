"""Any bytes, and any sound list: reading never fails, and what is written back is what was read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.uidlist import UidList, parse, tail
from orchestrator.agent.uidwrite import STEP, raised, raised_next, with_next, with_rows
from tests.property.uidlists import HEADER, files, rows_of

SOUP = st.lists(
    st.sampled_from(
        [
            b"3 V1 N2 ",
            b"1 7 9",
            b"G" + b"a" * 32,
            b"\n",
            b" ",
            b":",
            b"5",
            b"S1",
            b"a",
            b"/",
            b"\0",
            b"\r",
            b"4294967295",
        ]
    ),
    max_size=40,
).map(b"".join)


def same_rows(one: UidList, other: UidList) -> bool:
    return (one.uids, one.bases) == (other.uids, other.bases)


@given(st.one_of(st.binary(max_size=300), SOUP, SOUP.map(lambda rest: HEADER + rest)))
def test_any_bytes_are_read_and_what_is_usable_survives_raising(data: bytes) -> None:
    listing = parse(data)
    assert data.startswith(listing.data)
    if listing.usable and listing.next_uid < 0xFFC00000:
        again = parse(raised(listing))
        assert again.usable and same_rows(again, listing)
        assert again.header.next_uid == again.next_uid == raised_next(listing.next_uid)
        assert again.data.split(b"\n", 1)[1] == listing.data.split(b"\n", 1)[1]
        assert [problem for problem in again.problems if problem.fatal] == []


@given(files())
def test_a_sound_file_is_read_as_it_was_written(data: bytes) -> None:
    listing = parse(data)
    assert listing.usable and not listing.problems and listing.data == data
    assert list(zip(listing.uids, listing.bases, strict=True)) == [(uid, base) for uid, base, _ in rows_of(data)]
    assert listing.lines(listing.uids) == [line for _, _, line in rows_of(data)]
    assert with_next(listing, listing.header.next_uid) == data


@given(files(), st.data())
def test_a_file_and_its_tail_are_the_whole_file(data: bytes, draw: st.DataObject) -> None:
    listing = parse(data)
    lines = [line for _, _, line in rows_of(data)]
    cut = draw.draw(st.integers(0, len(lines)))
    head = parse(data[: len(data) - sum(map(len, lines[cut:]))])
    rest = tail(b"".join(lines[cut:]), after=head.last_uid)
    assert rest.usable
    assert [*head.bases, *rest.bases] == listing.bases and [*head.uids, *rest.uids] == list(listing.uids)


@given(files(), st.data())
def test_rows_that_were_taken_out_can_be_put_back(data: bytes, draw: st.DataObject) -> None:
    rows = rows_of(data)
    kept = draw.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    header = data[: data.index(b"\n") + 1]
    thinned = parse(header + b"".join(line for (_, _, line), keep in zip(rows, kept, strict=True) if keep))
    out = [line for (_, _, line), keep in zip(rows, kept, strict=True) if not keep]
    assert with_rows(thinned, out) == data


@given(st.integers(1, 0xFFC00000), st.integers(1, 0xFFC00000))
def test_raising_keeps_the_order_and_leaves_room(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert raised_next(low) <= raised_next(high)
    assert STEP <= raised_next(one) - one < 2 * STEP
    assert raised_next(one) % STEP == 0
