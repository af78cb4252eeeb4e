"""What guards say to one another is taken only from who has the pair's key, and only by whom it was meant for."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.datagram import GRANT, KINDS, LONGEST, MAGIC, Message, Standing, Unsigned, parse, sealed

KEY, OTHER = b"k" * 32, b"o" * 32
WORD = Message(GRANT, "witness", "primary", Standing(3, "primary", 0, 17), 42, {"nonce": 42, "without_end": True})
WHOLE = sealed(WORD, "org", KEY)

pytestmark = pytest.mark.issue("4.2 grants with an HMAC: forged, changed, foreign, for another guard")


def signed(line: bytes, key: bytes = KEY) -> bytes:
    return MAGIC + hmac.new(key, line, hashlib.sha256).digest() + line


@given(
    kind=st.sampled_from(KINDS), epoch=st.integers(0, 2**53), nonce=st.integers(0, 2**64),
    words=st.dictionaries(st.text(max_size=9), st.integers() | st.booleans() | st.text(max_size=9), max_size=5),
)  # fmt: skip
def test_what_was_sealed_is_read_as_it_was(kind: str, epoch: int, nonce: int, words: dict[str, object]) -> None:
    message = Message(kind, "mirror", "primary", Standing(epoch, "primary", 0, 1), nonce, words)
    assert parse(sealed(message, "org", KEY), "org", "primary", KEY) == message


@given(at=st.integers(0, len(WHOLE) - 1), bit=st.integers(0, 7))
def test_one_changed_bit_anywhere_makes_it_nobodys_word(at: int, bit: int) -> None:
    changed = bytearray(WHOLE)
    changed[at] ^= 1 << bit
    with pytest.raises(Unsigned, match="no message that the pair's key has signed"):
        parse(bytes(changed), "org", "primary", KEY)


@given(st.binary(max_size=LONGEST))
def test_whatever_comes_is_no_message(raw: bytes) -> None:
    with pytest.raises(Unsigned):
        parse(raw, "org", "primary", KEY)


@pytest.mark.parametrize("cut", [0, 4, 35, 36, len(WHOLE) - 1])
def test_a_piece_of_one_is_none(cut: int) -> None:
    with pytest.raises(Unsigned):
        parse(WHOLE[:cut], "org", "primary", KEY)


def test_another_pairs_key_another_pair_and_another_guard_make_it_none() -> None:
    assert parse(WHOLE, "org", "primary", KEY) == WORD
    for raw, pair, place in (
        (sealed(WORD, "org", OTHER), "org", "primary"),
        (WHOLE, "net", "primary"),
        (WHOLE, "org", "mirror"),
        (sealed(WORD._replace(to="witness"), "org", KEY), "org", "witness"),  # its own, thrown back at it
        (sealed(WORD._replace(kind="order"), "org", KEY), "org", "primary"),
    ):
        with pytest.raises(Unsigned):
            parse(raw, pair, place, KEY)


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[1,2]", b"\xff", json.dumps(["org", "grant", "witness", "primary", [1], 1, {}]).encode()]
)
def test_what_the_key_signed_and_nobody_understands_is_told_as_another_versions(line: bytes) -> None:
    with pytest.raises(Unsigned, match="signed, and not of this version"):
        parse(signed(line), "org", "primary", KEY)


def test_one_that_would_be_fragmented_is_refused_where_it_is_made() -> None:
    with pytest.raises(ValueError, match="doesn't fit into a datagram"):
        sealed(WORD._replace(body={"why": "x" * LONGEST}), "org", KEY)
