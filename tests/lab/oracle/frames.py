"""From frames to two streams of bytes a connection: IPv4 and TCP, as much of it as a listener needs. Pure.

Invariant: bytes come out in order and once, whatever was sent again. Where the listener missed a segment the stream is
`torn` from there on, and says so: it never glues two ends together.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

_ETHERNET, _IPV4, _TCP = 14, 0x0800, 6
_IP = struct.Struct(">BBHHHBBH4s4s")
_TCP_HEADER = struct.Struct(">HHIIBBH")
FIN, SYN, RST = 1, 2, 4
HALF = 1 << 31
KEPT = 64  # segments that wait for one before them


@dataclass(frozen=True)
class Segment:
    """`source` and `target` are address:port."""

    source: str
    target: str
    sequence: int
    flags: int
    data: bytes


def segment(frame: bytes) -> Segment | None:
    """None for what isn't TCP in IPv4, or is cut short."""
    if len(frame) < _ETHERNET + 40 or struct.unpack_from(">H", frame, 12)[0] != _IPV4:
        return None
    version, _, total, _, fragment, _, protocol, _, source, target = _IP.unpack_from(frame, _ETHERNET)
    start = _ETHERNET + (version & 0xF) * 4
    if version >> 4 != 4 or protocol != _TCP or fragment & 0x1FFF or len(frame) < start + 20:
        return None
    near, far, sequence, _, offset, flags, _ = _TCP_HEADER.unpack_from(frame, start)
    data = frame[start + (offset >> 4) * 4 : _ETHERNET + total]
    return Segment(f"{_dotted(source)}:{near}", f"{_dotted(target)}:{far}", sequence, flags, data)


def _dotted(address: bytes) -> str:
    return ".".join(str(byte) for byte in address)


@dataclass
class Stream:
    """One direction of a connection. `torn`: the rest is unknown."""

    torn: bool = False
    _next: int | None = None
    _early: dict[int, bytes] = field(default_factory=dict)

    def take(self, one: Segment) -> bytes:
        """The bytes that are new and in order by this segment."""
        if one.flags & SYN:
            self._next = (one.sequence + 1) % (1 << 32)
            self._early.clear()
            self.torn = False
            return b""
        if self.torn or not one.data:
            return b""
        if self._next is None:  # the listener came later than the connection
            self.torn = True
            return b""
        self._early[one.sequence] = max(one.data, self._early.get(one.sequence, b""), key=len)
        return self._in_order()

    def _in_order(self) -> bytes:
        out = b""
        found = True
        while found:
            found = False
            for sequence in sorted(self._early, key=self._distance):
                ahead = self._distance(sequence)
                if ahead > 0:
                    break
                data = self._early.pop(sequence)[-ahead:]
                if data:
                    out += data
                    assert self._next is not None
                    self._next = (self._next + len(data)) % (1 << 32)
                found = True
        self.torn = len(self._early) > KEPT
        return out

    def _distance(self, sequence: int) -> int:
        """How far it lies behind the next expected one; negative for what was sent before."""
        assert self._next is not None
        return (sequence - self._next + HALF) % (1 << 32) - HALF
