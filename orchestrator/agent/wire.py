"""Frames between controller and agent: bytes in, frames out, no I/O.

A frame is a 14-byte header (payload length, head length, kind, flags, request id), a
head (a JSON object) and a blob (opaque bytes). The head is for whoever routes the frame;
the blob is for its last receiver, so that a controller in the middle relays message
bodies without looking at them. File names are bytes: they stand in JSON as their
Latin-1 decoding (`text`), which loses nothing.

Invariant: a decoder never holds more than one frame beyond what it was fed, and a peer
can't make it build more than `MAX_PAYLOAD` bytes; anything else raises `Garbled` and the
conversation ends. This module doesn't compress on its own: `deflated` is a property of a
blob, and `inflate` bounds what comes out.
"""

from __future__ import annotations

import json
import struct
import zlib
from enum import IntEnum
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple, Union

HEADER = struct.Struct(">IIBBI")
MAX_PAYLOAD = 8 << 20
MAX_HEAD = 4 << 20
"""Some heads have a row for each account that did something lately."""
MAX_INFLATED = 64 << 20
FLAG_DEFLATED = 1


class Kind(IntEnum):
    """What a frame is. A request is answered by exactly one reply or fault of its id."""

    HELLO = 1
    REQUEST = 2
    REPLY = 3
    FAULT = 4  # the answer to a request that failed: head has code, message, remedy
    BODY = 5  # message bodies on their way; id is the fetch request's
    CREDIT = 6  # head: {"bytes": n}, room for n more bytes of BODY of that id
    NOTICE = 7  # unasked: something changed
    PING = 8
    PONG = 9


class Garbled(ValueError):
    """The peer sent what isn't a frame. The conversation can't go on."""


Bytes = Union[bytes, memoryview]


class Frame(NamedTuple):
    """`blob` may be a view of a larger buffer: bodies are relayed without a copy."""

    kind: Kind
    id: int
    head: Dict[str, Any]
    blob: Bytes = b""
    deflated: bool = False


def text(raw: bytes) -> str:
    """Bytes of a file name as the string that stands for them in JSON."""
    return raw.decode("latin-1")


def raw(string: str) -> bytes:
    """The file name that `text` made a string of. Raises Garbled for any other string."""
    try:
        return string.encode("latin-1")
    except (UnicodeEncodeError, AttributeError) as error:
        raise Garbled(f"not a byte string: {string!r:.60}") from error


def encode(frame: Frame) -> bytes:
    """The frame as bytes. Raises as `halves` does."""
    return b"".join(halves(frame))


def halves(frame: Frame) -> Tuple[bytes, Bytes]:
    """The frame as what stands before its blob, and the blob. Raises ValueError when it is larger than a peer takes."""
    head = json.dumps(frame.head, separators=(",", ":"), ensure_ascii=False).encode() if frame.head else b""
    size = len(head) + len(frame.blob)
    if size > MAX_PAYLOAD or len(head) > MAX_HEAD:
        raise ValueError(f"a frame of {size} bytes (head {len(head)}) is too large")
    flags = FLAG_DEFLATED if frame.deflated else 0
    return HEADER.pack(size, len(head), frame.kind, flags, frame.id) + head, frame.blob


def pack(value: Any, level: int = 1) -> "tuple[bytes, bool]":
    """A value as (blob, deflated): JSON, deflated where that makes it smaller."""
    plain = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    if level and len(plain) > 512:
        small = zlib.compress(plain, level)
        if len(small) < len(plain):
            return small, True
    return plain, False


def inflate(frame: Frame, limit: int = MAX_INFLATED) -> Bytes:
    """The frame's blob, inflated if it was deflated. Raises Garbled beyond `limit` bytes."""
    if not frame.deflated:
        return frame.blob
    engine = zlib.decompressobj()
    try:
        plain = engine.decompress(frame.blob, limit)
    except zlib.error as error:
        raise Garbled(f"a damaged blob: {error}") from error
    if engine.unconsumed_tail or not engine.eof or engine.unused_data:
        raise Garbled(f"a blob that is cut short or inflates beyond {limit} bytes")
    return plain


def unpack(frame: Frame, limit: int = MAX_INFLATED) -> Any:
    """The value that `pack` made the frame's blob of; None for an empty blob."""
    return _load(inflate(frame, limit)) if frame.blob else None


def _load(plain: Bytes) -> Any:
    try:
        return json.loads(bytes(plain))
    except (ValueError, RecursionError) as error:
        raise Garbled(f"not JSON: {error}") from error


class Decoder:
    """Bytes as they come in; frames as they are complete."""

    def __init__(self) -> None:
        self._chunks: List[Bytes] = []
        self._have = 0
        self._need = HEADER.size

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Every frame that `data` completes. Raises Garbled for what can't be a frame."""
        self._chunks.append(data)
        self._have += len(data)
        if self._have < self._need:
            return
        # One join a frame, not one a chunk; what is cut out of it below are views.
        buffer = memoryview(self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks))
        at = 0
        try:
            while True:
                self._need = HEADER.size
                if len(buffer) - at < self._need:
                    break
                size, head_size, kind, flags, number = HEADER.unpack_from(buffer, at)
                if size > MAX_PAYLOAD or head_size > size or flags & ~FLAG_DEFLATED:
                    raise Garbled(f"a header that announces {size} bytes, head {head_size}, flags {flags}")
                self._need += size
                if len(buffer) - at < self._need:
                    break
                start = at + HEADER.size
                at += self._need
                yield _frame(kind, flags, number, buffer[start : start + head_size], buffer[start + head_size : at])
        finally:
            self._chunks = [buffer[at:]]
            self._have = len(buffer) - at

    @property
    def pending(self) -> int:
        """Bytes of a frame that isn't complete yet."""
        return self._have


def _frame(kind: int, flags: int, number: int, head: memoryview, blob: memoryview) -> Frame:
    try:
        known = Kind(kind)
    except ValueError as error:
        raise Garbled(f"a frame of unknown kind {kind}") from error
    value = _load(head) if head else {}
    if not isinstance(value, dict):
        raise Garbled("a head that is no object")
    # Only bodies are worth a view: it keeps the whole buffer alive.
    return Frame(known, number, value, blob if known is Kind.BODY else bytes(blob), bool(flags & FLAG_DEFLATED))
