"""The SSH packets of a body, sealed and sent together, so that a gigabyte costs the controller a third less.

sshd takes at most 32 KiB of data in a packet, 31,000 packets a gigabyte. paramiko builds each by itself: a message,
four copies, a poll and a send. Here a stretch of data becomes many packets at once: one copy and the sealing of each,
one system call for all. `Batching` is given to paramiko as its packetizer (`packetizer_class`): it replaces what sends.

It applies to AES-GCM, where a packet needs no number and no MAC of ours (RFC 5647); with any other cipher, and before
the first keys, paramiko's own way is taken. A rekey agrees on the same cipher again, both ends offering what they did.

Invariant: what goes out is what paramiko would have sent, packet by packet and in the same order; keys are renewed
before they have sealed `RENEW` bytes. Reads nothing, knows no windows and waits for nothing but room in the socket.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from paramiko.message import Message
    from paramiko.packet import Packetizer
else:
    Packetizer = object

RENEW = 16 << 30
"""Bytes that a key seals. RFC 4344 allows 64 GiB with AES, as OpenSSH does; paramiko stops for three round trips after
every half of one."""
DATA = struct.Struct(">BBII")
"""Before data: padding's length, SSH_MSG_CHANNEL_DATA, channel, data's length (RFC 4253 6, RFC 4254 5.2)."""
SSH_MSG_CHANNEL_DATA = 94
LENGTH = struct.Struct(">I")
BLOCK = 16


class Pipe(Protocol):
    """What packets leave by."""

    def send_all(self, buffers: list[bytes | memoryview]) -> None: ...


class Batch(NamedTuple):
    """Data for one channel, which the window has room for; `most` of its bytes go into one packet."""

    channel: int
    most: int
    data: memoryview


class Batching(Packetizer):
    """paramiko's packetizer, which also sends a `Batch` as if it were a message."""

    REKEY_BYTES = RENEW  # what we receive, and what paramiko sends in its own way

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        self._pipe: Pipe = pipe
        self._turn = threading.Lock()
        self._engine: Any = None
        self._fixed, self._counter = b"", 0  # of the nonce
        self._sealed = 0  # bytes, with the present key

    @property
    def batches(self) -> bool:
        """Whether a batch may be sent: the cipher is AES-GCM."""
        return self._engine is not None

    def set_outbound_cipher(
        self, block_engine: Any, block_size: int, mac_engine: Any, mac_size: int, mac_key: Any,
        sdctr: bool = False, etm: bool = False, aead: bool = False, iv_out: bytes | None = None,
    ) -> None:  # fmt: skip
        """Called by paramiko at each change of keys, while nobody else sends."""
        super().set_outbound_cipher(
            block_engine, block_size, mac_engine, mac_size, mac_key, sdctr=sdctr, etm=etm, aead=aead, iv_out=iv_out
        )
        with self._turn:
            self._sealed = 0
            self._engine = None
            if aead and iv_out is not None:
                self._engine = block_engine
                self._fixed, self._counter = iv_out[:4], int.from_bytes(iv_out[4:], "big")

    def send_message(self, data: Message | Batch) -> None:
        """Send it whole, after all that was sent before it. Raises EOFError when that can't be."""
        if isinstance(data, Batch):
            self._send(_data_packets(data))
        elif self.batches:
            self._send(iter((_packet(data.asbytes()),)))
        else:
            super().send_message(data)

    def _send(self, packets: Iterator[bytes]) -> None:
        with self._turn:
            buffers: list[bytes | memoryview] = []
            for packet in packets:
                length = LENGTH.pack(len(packet))
                nonce = self._fixed + self._counter.to_bytes(8, "big")
                buffers += (length, self._engine.encrypt(nonce, packet, length))
                self._counter = (self._counter + 1) & 0xFFFFFFFFFFFFFFFF
                self._sealed += len(packet)
            try:
                self._pipe.send_all(buffers)
            except OSError as error:
                raise EOFError from error
            if self._sealed >= RENEW and not self.need_rekey():
                self._trigger_rekey()  # type: ignore[attr-defined]  # the stubs leave it out


@cache
def packetizer(library: ModuleType) -> type[Batching]:
    """`Batching` upon the packetizer of paramiko, which is imported late."""
    return type("BatchingPacketizer", (Batching, library.packet.Packetizer), {})


def _padding(size: int) -> bytes:
    """Four bytes or more: with them and their length's byte, `size` bytes fill blocks (RFC 5647 7.2)."""
    return os.urandom(3 + BLOCK - (size + 4) % BLOCK)


def _packet(payload: bytes) -> bytes:
    padding = _padding(len(payload))
    return b"".join((bytes((len(padding),)), payload, padding))


def _data_packets(batch: Batch) -> Iterator[bytes]:
    for at in range(0, len(batch.data), batch.most):
        data = batch.data[at : at + batch.most]
        padding = _padding(DATA.size - 1 + len(data))
        yield b"".join((DATA.pack(len(padding), SSH_MSG_CHANNEL_DATA, batch.channel, len(data)), data, padding))
