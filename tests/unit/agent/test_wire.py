"""The codec: frames or Garbled, whatever the bytes and however they are cut; and never more memory than was sent."""

from __future__ import annotations

import itertools
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.wire import (
    HEADER,
    MAX_HEAD,
    MAX_PAYLOAD,
    Decoder,
    Frame,
    Garbled,
    Kind,
    encode,
    inflate,
    pack,
    raw,
    text,
    unpack,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 63) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
frames = st.builds(
    Frame,
    st.sampled_from(Kind),
    st.integers(0, (1 << 32) - 1),
    st.dictionaries(st.text(max_size=8), values, max_size=4),
    st.binary(max_size=400),
    st.booleans(),
)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data in pieces, cut at these places (modulo its length)."""
    spots = sorted({0, len(data), *(each % (len(data) + 1) for each in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(spots)]


def fed(pieces: list[bytes]) -> list[Frame]:
    decoder = Decoder()
    return [frame for piece in pieces for frame in decoder.feed(piece)]


@pytest.mark.issue("2.4 a framed protocol whose codec does no I/O")
@given(st.lists(frames, max_size=5), st.lists(st.integers(0, 10_000), max_size=12))
def test_frames_come_out_as_they_went_in_however_they_are_cut(sent: list[Frame], cuts: list[int]) -> None:
    assert fed(cut(b"".join(map(encode, sent)), cuts)) == sent


@pytest.mark.issue("2.4 codec fuzzed")
@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=8))
def test_any_bytes_are_frames_or_garbled_and_nothing_else(data: bytes, cuts: list[int]) -> None:
    decoder = Decoder()
    taken = 0
    try:
        for piece in cut(data, cuts):
            taken += len(piece)
            list(decoder.feed(piece))
            assert decoder.pending <= taken
    except Garbled:
        assert decoder.pending <= taken


@pytest.mark.issue("2.4 codec fuzzed")
@given(st.lists(frames, min_size=1, max_size=3), st.data())
def test_a_damaged_frame_is_another_frame_or_garbled(sent: list[Frame], data: st.DataObject) -> None:
    whole = bytearray(b"".join(map(encode, sent)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    try:
        for frame in fed([bytes(whole)]):
            assert isinstance(frame.head, dict)
            unpack(frame)
    except Garbled:
        return


@pytest.mark.issue("2.P hostile frames: swollen")
@pytest.mark.parametrize(
    "header",
    [
        HEADER.pack(MAX_PAYLOAD + 1, 0, Kind.BODY, 0, 1),
        HEADER.pack(0xFFFFFFFF, 0, Kind.BODY, 0, 1),
        HEADER.pack(10, 11, Kind.BODY, 0, 1),
        HEADER.pack(0, 0, Kind.BODY, 0x80, 1),
    ],
    ids=["larger than allowed", "4 GiB", "a head beyond its payload", "unknown flags"],
)
def test_a_header_that_lies_is_refused_before_its_payload_comes(header: bytes) -> None:
    with pytest.raises(Garbled):
        fed([header])


@pytest.mark.issue("2.P hostile frames: cut")
@given(frames, st.integers(0, 10_000))
def test_a_frame_that_is_cut_short_is_no_frame(frame: Frame, at: int) -> None:
    whole = encode(frame)
    decoder = Decoder()
    assert list(decoder.feed(whole[: at % len(whole)])) == []
    assert decoder.pending == at % len(whole)


@pytest.mark.parametrize("head", [b"[]", b"1", b"{", b"\xff", b"[" * 5_000], ids=str)
def test_a_head_must_be_an_object(head: bytes) -> None:
    with pytest.raises(Garbled):
        fed([HEADER.pack(len(head), len(head), Kind.NOTICE, 0, 1) + head])


def test_an_unknown_kind_is_garbled() -> None:
    with pytest.raises(Garbled, match="kind 77"):
        fed([HEADER.pack(0, 0, 77, 0, 1)])


@given(values)
def test_what_is_packed_is_unpacked(value: object) -> None:
    blob, deflated = pack(value)
    frame = Frame(Kind.REPLY, 1, {}, blob, deflated)
    assert unpack(frame) == json.loads(json.dumps(value))


def test_a_bomb_is_defused() -> None:
    bomb = zlib.compress(bytes(50 << 20), 9)
    assert len(bomb) < 100_000
    with pytest.raises(Garbled, match="inflates beyond"):
        inflate(Frame(Kind.BODY, 1, {}, bomb, True), limit=1 << 20)


@pytest.mark.parametrize("blob", [b"", b"x", zlib.compress(b"abc")[:-1], zlib.compress(b"abc") + b"more"])
def test_a_blob_that_isnt_what_it_says_is_garbled(blob: bytes) -> None:
    with pytest.raises(Garbled):
        inflate(Frame(Kind.BODY, 1, {}, blob, True))


def test_what_is_too_large_isnt_sent() -> None:
    with pytest.raises(ValueError, match="too large"):
        encode(Frame(Kind.BODY, 1, {}, bytes(MAX_PAYLOAD + 1)))
    with pytest.raises(ValueError, match="too large"):
        encode(Frame(Kind.BODY, 1, {"x": "y" * MAX_HEAD}))


@given(st.binary(max_size=300))
def test_any_name_survives_json(name: bytes) -> None:
    assert raw(json.loads(json.dumps(text(name)))) == name


@pytest.mark.parametrize("wrong", ["\u0100", "a\U0001f4e7", None, 7])
def test_what_cant_be_a_name_is_garbled(wrong: object) -> None:
    with pytest.raises(Garbled):
        raw(wrong)  # type: ignore[arg-type]
