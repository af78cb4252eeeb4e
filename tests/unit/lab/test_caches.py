"""A client's cache against what a server tells: each way to be misled, and none that isn't."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.oracle.caches import KINDS, Cache, Listing, Since, Uidls, plain

SEEN = frozenset({"\\seen"})
NONE: frozenset[str] = frozenset()


def cache() -> Cache:
    return Cache(7, 11, 40, {1: "a", 2: "b", 10: "c"}, {1: SEEN, 2: NONE, 10: NONE})


def listing(**fields: object) -> Listing:
    """What makes that cache true."""
    true = Listing(7, 11, 40, {1: SEEN, 2: NONE, 10: NONE}, {1: "a", 2: "b", 10: "c"})
    return replace(true, **fields)  # type: ignore[arg-type]


def found(told: Listing, since: Since | None = None) -> list[str]:
    return [trouble.kind for trouble in cache().faults(told, since)]


def test_a_true_cache_has_no_fault_nor_has_an_empty_one() -> None:
    assert found(listing(), Since({}, frozenset())) == []
    assert list(Cache().faults(listing())) == []


def test_new_mail_and_mail_that_went_away_are_no_faults() -> None:
    flags, ids = {1: SEEN, 2: NONE, 11: NONE}, {1: "a", 2: "b", 11: "d"}
    assert found(listing(uidnext=12, modseq=44, flags=flags, ids=ids)) == []


WRONG: dict[str, Listing] = {
    "uidvalidity": listing(validity=8),
    "reuse": listing(ids={1: "a", 2: "x", 10: "c"}),
    "renumbered": listing(uidnext=12, flags={1: SEEN, 2: NONE, 11: NONE}, ids={1: "a", 2: "b", 11: "c"}),
    "late uid": listing(flags={1: SEEN, 2: NONE, 5: NONE, 10: NONE}, ids={5: "d"}),
    "uidnext back": listing(uidnext=10),
    "modseq back": listing(modseq=39),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_misleads_a_client_is_found_and_called_by_its_name(kind: str) -> None:
    assert found(WRONG[kind]) == [kind]
    assert kind in KINDS


def test_a_modseq_is_not_expected_where_condstore_is_not_advertised() -> None:
    assert found(listing(modseq=0)) == []


def test_a_flag_change_that_changedsince_left_out_is_found() -> None:
    changed = listing(modseq=41, flags={1: SEEN, 2: SEEN, 10: NONE})
    assert found(changed, Since({2: SEEN})) == []
    assert found(changed, Since({})) == ["missed flags"]
    assert found(changed) == []  # nobody asked


def test_a_message_that_vanished_without_a_word_is_found() -> None:
    gone = listing(modseq=41, flags={1: SEEN, 10: NONE}, ids={1: "a", 10: "c"})
    assert found(gone, Since({}, frozenset({2}))) == []
    assert found(gone, Since({}, frozenset({3, 4}))) == ["missed vanished"]
    assert found(gone, Since({})) == []  # CONDSTORE alone doesn't tell


def test_flags_are_compared_without_case_and_without_recent() -> None:
    assert plain(["\\Seen", "$Label1", "\\Recent"]) == {"\\seen", "$label1"}


messages = st.dictionaries(st.integers(1, 30), st.sampled_from("abcdefgh"), max_size=8)


@given(messages, st.integers(1, 3), st.integers(1, 40), st.integers(1, 40))
def test_a_cache_that_took_a_listing_finds_no_fault_in_it(
    ids: dict[int, str], validity: int, uidnext: int, modseq: int
) -> None:
    told = Listing(validity, uidnext, modseq, dict.fromkeys(ids, NONE), ids)
    one = cache()
    one.take(told)
    assert list(one.faults(told, Since({}, frozenset()))) == [] and one.fresh(told) == set()


def test_identities_that_were_not_read_again_stay_known() -> None:
    one = cache()
    one.take(listing(ids={}))
    assert one.ids == cache().ids
    one.take(listing(validity=9, ids={1: "x"}))
    assert one.ids == {1: "x", 2: "", 10: ""}


def test_a_pop3_client_is_misled_by_a_uidl_for_another_message_and_by_a_new_one_for_the_same() -> None:
    one = Uidls({"u1": "a", "u2": "b"})
    assert list(one.faults({"u1": "a", "u3": "c"})) == []
    assert [trouble.kind for trouble in one.faults({"u1": "x", "u2": "b"})] == ["uidl reuse"]
    assert [trouble.kind for trouble in one.faults({"u1": "a", "u9": "b"})] == ["uidl changed"]
    assert list(one.faults({"u1": "a", "u2": "b", "u9": "b"})) == []  # twice isn't renamed
