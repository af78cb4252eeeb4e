"""A link's cable, for the frames that are spoken about one address (`neighbours`): packet(7).

Only such frames are queued: a mail server's traffic would push an answer out of the socket's buffer, and an address
that is taken would look free. What is pushed out all the same is counted.

Invariant: what this host sends itself is never heard.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from types import TracebackType
from typing import Optional, Sequence

from . import neighbours, netlink
from .neighbours import Claim
from .netlink import Link

_SOL_PACKET, _ADD_MEMBERSHIP, _STATISTICS = 263, 1, 6
_MULTICAST = 0
_ATTACH_FILTER = 26
# linux/filter.h: load a byte, compare, return. Next header 58, then types 135 and 136; offsets from the Ethernet head.
_DISCOVERY = b"".join(
    struct.pack("=HBBI", *step)
    for step in (
        (0x30, 0, 0, 20), (0x15, 0, 4, 58), (0x30, 0, 0, 54), (0x15, 1, 0, 135), (0x15, 0, 1, 136),
        (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0),
    )
)  # fmt: skip


class Cable:
    """A context. Raises OSError: EPERM without CAP_NET_RAW, ENETDOWN where the interface is down."""

    def __init__(self, link: Link, address: str) -> None:
        self._link = link
        self._address = address
        self._own = netlink.macs()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            self._plug()
        except BaseException:
            self._socket.close()
            raise

    def _plug(self) -> None:
        self._socket.setblocking(False)
        group = neighbours.group(self._address)
        if group is not None:
            steps = ctypes.create_string_buffer(_DISCOVERY)
            program = struct.pack("HL", len(_DISCOVERY) // 8, ctypes.addressof(steps))
            self._socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
            member = struct.pack("iHH8s", self._link.number, _MULTICAST, len(group), group)
            self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)
        self._socket.bind((self._link.name, neighbours.protocol(self._address)))

    def __enter__(self) -> Cable:
        return self

    def __exit__(self, kind: Optional[type], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self._socket.close()

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def heard(self, despite: Sequence[str] = ()) -> Optional[Claim]:
        """The first claim of somebody else among what has come in, those of the MACs in `despite` not counted; one who
        holds it goes before one who looks.
        """
        found: Optional[Claim] = None
        with contextlib.suppress(BlockingIOError):  # nothing more is there
            while found is None or not found.holds:
                frame, (_, _, sort, *_) = self._socket.recvfrom(2048)
                if sort != socket.PACKET_OUTGOING:
                    claim = neighbours.claim(frame, self._own, self._address)
                    found = claim if claim is not None and claim.mac not in despite else found
        return found

    def dropped(self) -> int:
        """Frames that came and found no room, since this was asked last."""
        said = self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8)
        count: int = struct.unpack("II", said)[1]
        return count
