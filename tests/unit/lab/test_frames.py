"""Frames become streams: in order, once, or torn."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from tests.lab.oracle.frames import SYN, Segment, Stream, segment


def frame(data: bytes, *, sequence: int = 5, flags: int = 16, options: bytes = b"", padding: bytes = b"") -> bytes:
    tcp = struct.pack(">HHIIBBHHH", 143, 40000, sequence, 0, (5 + len(options) // 4) << 4, flags, 0, 0, 0) + options
    total = 20 + len(tcp) + len(data)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, total, 0, 0, 64, 6, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
    return bytes(12) + b"\x08\x00" + ip + tcp + data + padding


def test_a_frame_is_read_without_its_options_and_its_padding() -> None:
    found = segment(frame(b"* OK\r\n", options=bytes(12), padding=bytes(7)))
    assert found == Segment("10.0.0.1:143", "10.0.0.2:40000", 5, 16, b"* OK\r\n")


@given(st.binary(max_size=120))
def test_what_is_no_frame_of_tcp_is_none_and_never_an_error(data: bytes) -> None:
    segment(data)
    whole = frame(data)
    for cut in range(0, len(whole), 3):
        segment(whole[:cut])


@given(
    st.binary(min_size=1, max_size=200),
    st.integers(0, (1 << 32) - 1),
    st.lists(st.tuples(st.integers(0, 199), st.integers(1, 60)), max_size=40),
    st.randoms(use_true_random=False),
)
def test_a_stream_is_put_together_from_any_order_of_segments_and_of_those_sent_again(
    data: bytes, start: int, again: list[tuple[int, int]], dice: object
) -> None:
    """Segments of seven bytes cover all; others lie anywhere across them, as when a sender cuts anew."""
    pieces = [(place, 7) for place in range(0, len(data), 7)] + [(at % len(data), size) for at, size in again]
    dice.shuffle(pieces)  # type: ignore[attr-defined]
    stream = Stream()
    stream.take(Segment("a:1", "b:2", (start - 1) % (1 << 32), SYN, b""))
    out = b""
    for place, size in pieces:
        out += stream.take(Segment("a:1", "b:2", (start + place) % (1 << 32), 16, data[place : place + size]))
    assert out == data and not stream.torn


def test_a_stream_with_a_hole_is_torn_and_gives_nothing_behind_it() -> None:
    stream = Stream()
    stream.take(Segment("a:1", "b:2", 0, SYN, b""))
    assert stream.take(Segment("a:1", "b:2", 1, 16, b"abc")) == b"abc"
    behind = [stream.take(Segment("a:1", "b:2", 10 + number, 16, b"x")) for number in range(100)]
    assert set(behind) == {b""} and stream.torn


def test_a_connection_that_was_there_before_the_listener_is_torn_from_the_start() -> None:
    stream = Stream()
    assert stream.take(Segment("a:1", "b:2", 77, 16, b"a1 OK done\r\n")) == b"" and stream.torn
