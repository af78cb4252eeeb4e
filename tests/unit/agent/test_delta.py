"""What changed between two listings of a folder, and the digests that stand for placements."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.delta import CUR, NEW, Listing, compare, digest, listing, signed, unsigned

bases = st.sampled_from([b"a", b"b", b"c", b"d", b"\xff\n"])
places = st.tuples(st.integers(NEW, CUR), st.sampled_from([b"", b":2,", b":2,S"]), st.integers(1, 4))
listings = st.dictionaries(bases, places)


@given(listings, listings)
def test_a_delta_turns_what_was_known_into_what_was_listed(known: Listing, listed: Listing) -> None:
    change = compare(known, listed)
    result = dict(known)
    for base in change.missing:
        del result[base]
    for base in change.added + change.renamed + change.replaced:
        result[base] = listed[base]
    assert result == listed


@given(listings, listings)
def test_a_base_name_stands_in_one_place_of_the_answer(known: Listing, listed: Listing) -> None:
    named = [base for part in compare(known, listed) for base in part]
    assert len(named) == len(set(named))


@given(listings, listings)
def test_the_inode_tells_a_rename_from_another_file(known: Listing, listed: Listing) -> None:
    change = compare(known, listed)
    assert all(known[base][2] == listed[base][2] and known[base] != listed[base] for base in change.renamed)
    assert all(known[base][2] != listed[base][2] for base in change.replaced)


@given(listings)
def test_equal_listings_differ_in_nothing(known: Listing) -> None:
    assert not any(compare(known, dict(known)))


def test_a_message_that_moved_meanwhile_is_where_it_was_seen_last() -> None:
    found, twice = listing([(b"a", b"", 7, NEW), (b"b", b"", 8, NEW), (b"a", b":2,S", 7, CUR)])
    assert found == {b"a": (CUR, b":2,S", 7), b"b": (NEW, b"", 8)}
    assert twice == [b"a"]


@given(st.binary(max_size=30), st.integers(0, 1), st.binary(max_size=10))
def test_a_digest_survives_the_signed_numbers_of_a_database(base: bytes, sub: int, info: bytes) -> None:
    value = digest(base, sub, info)
    assert -(1 << 63) <= signed(value) < 1 << 63
    assert unsigned(signed(value)) == value


def test_digests_tell_name_folder_and_flags_apart() -> None:
    rows = [(b"a", 0, b""), (b"a", 1, b""), (b"a", 1, b":2,S"), (b"a:2,S", 1, b""), (b"b", 0, b"")]
    assert len({digest(*row) for row in rows}) == len(rows)
