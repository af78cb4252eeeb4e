"""What is sent as a batch reads as what paramiko would have sent: by paramiko's own reader, packet by packet."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import paramiko
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from paramiko.common import cMSG_CHANNEL_DATA
from paramiko.message import Message
from paramiko.packet import Packetizer

from orchestrator.remote import packets
from orchestrator.remote.packets import Batch, Batching, packetizer
from orchestrator.remote.ssh import _Socket

KEY, NONCE = os.urandom(16), b"abcd" + b"\0" * 7 + b"\xfd"
"""A counter whose last byte runs over within a few packets."""


class Ends:
    """A sender of ours and paramiko's reader, with the same keys."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.sockets = (ours, theirs)
        self.sender: Batching = packetizer(paramiko)(_Socket(ours))
        self.reader: Any = Packetizer(theirs)  # whose stubs know no AEAD
        self.renew()

    def renew(self, key: bytes = KEY) -> None:
        self.sender.set_outbound_cipher(AESGCM(key), 16, None, 16, None, aead=True, iv_out=NONCE)
        self.reader.set_inbound_cipher(AESGCM(key), 16, None, 16, None, aead=True, iv_in=NONCE)

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()

    def while_reading(self, send: Callable[[], None], count: int) -> list[tuple[int, Message]]:
        """Send on a thread of its own; the next `count` messages as (type, the rest)."""
        thread = threading.Thread(target=send)
        thread.start()
        try:
            return [self.reader.read_message() for _ in range(count)]
        except BaseException:
            self.close()  # or the sender waits for room for ever
            raise
        finally:
            thread.join()


def message(text: bytes) -> Message:
    made = Message()
    made.add_byte(cMSG_CHANNEL_DATA)
    made.add_int(7)
    made.add_string(text)
    return made


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5000)), min_size=1, max_size=8), st.integers(1, 1700))
def test_batches_and_messages_arrive_as_data_in_their_order(sizes: list[tuple[bool, int]], most: int) -> None:
    ends = Ends()
    bodies = [os.urandom(size) for _, size in sizes]

    def send() -> None:
        for (batched, _), body in zip(sizes, bodies, strict=True):
            ends.sender.send_message(Batch(7, most, memoryview(body)) if batched else message(body))

    count = sum(-(-size // most) if batched else 1 for batched, size in sizes)
    got = b""
    for kind, rest in ends.while_reading(send, count):
        assert (kind, rest.get_int()) == (packets.SSH_MSG_CHANNEL_DATA, 7)
        data = rest.get_string()
        assert rest.get_remainder() == b""
        got += data
    assert got == b"".join(bodies)
    ends.close()


@given(st.integers(0, 200))
def test_packets_fill_blocks_with_at_least_four_bytes(size: int) -> None:
    packet = packets._packet(bytes(size))
    assert len(packet) % packets.BLOCK == 0 and packet[0] >= 4
    assert len(packet) == 1 + size + packet[0]


def test_a_key_that_has_sealed_enough_asks_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packets, "RENEW", 10_000)
    ends = Ends()
    body = memoryview(bytes(6_000))
    ends.while_reading(lambda: ends.sender.send_message(Batch(7, 6_000, body)), 1)
    assert not ends.sender.need_rekey()
    ends.while_reading(lambda: ends.sender.send_message(Batch(7, 6_000, body)), 1)
    assert ends.sender.need_rekey()
    ends.renew(os.urandom(16))
    reader: Any = ends.sender
    reader.set_inbound_cipher(AESGCM(KEY), 16, None, 16, None, aead=True, iv_in=NONCE)
    assert not ends.sender.need_rekey(), "it has both new keys"
    ends.while_reading(lambda: ends.sender.send_message(Batch(7, 6_000, body)), 1)
    assert not ends.sender.need_rekey(), "counted from nothing"
    ends.close()


def test_a_socket_that_is_gone_is_told_as_paramiko_tells_it() -> None:
    ends = Ends()
    ends.sockets[1].close()
    with pytest.raises(EOFError):
        ends.sender.send_message(Batch(7, 100, memoryview(bytes(1000))))
    ends.close()


def test_a_full_socket_gets_the_rest_when_there_is_room() -> None:
    ends = Ends()
    ends.sockets[0].settimeout(0.01)
    ends.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    body = os.urandom(300_000)
    thread = threading.Thread(target=lambda: ends.sender.send_message(Batch(7, 30_000, memoryview(body))))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive(), "it waits for room"
    got = [ends.reader.read_message()[1] for _ in range(10)]
    thread.join()
    assert b"".join((each.get_int(), each.get_string())[1] for each in got) == body
    ends.close()


def test_without_gcm_paramiko_has_its_own_way() -> None:
    ends = Ends()
    ends.sender.set_outbound_cipher(None, 8, None, 0, None)
    plain = Packetizer(ends.sockets[1])
    ends.sender.send_message(message(b"in the clear"))
    kind, rest = plain.read_message()
    assert (kind, rest.get_int(), rest.get_string()) == (packets.SSH_MSG_CHANNEL_DATA, 7, b"in the clear")
    assert not ends.sender.batches
    ends.close()
