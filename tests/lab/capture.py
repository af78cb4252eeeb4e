"""Who answered: the servers' TCP replies as they enter the lab's bridge, each with the cable that it came from.

    with Capture(site.switch.path) as capture:
        ...
        for reply in capture.replies(): print(reply.veth, reply.payload)

Invariant: it listens in the namespace of the bridge and says nothing there. Cables may go and come meanwhile. When it
can't keep up, the kernel counts what was lost (`lost`), and nothing is made up. It doesn't put streams together.
"""

from __future__ import annotations

import ctypes
import queue
import select
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType

from tests.lab.plan import PORTS
from tests.lab.switch import BRIDGE
from tests.support import kernel

_SNAP = 2048  # bytes kept of a frame
_ETH_P_ALL = 0x0003  # before the bridge takes the frame; those who ask for one protocol are asked after it
_ETH_P_IP = 0x0800
_SO_TIMESTAMPNS = 35
_SO_ATTACH_FILTER = 26
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_RCVBUFFORCE = 33


@dataclass(frozen=True)
class Reply:
    """A segment with payload from a server's port. `at` is the kernel's time.time(); `payload` is its beginning."""

    at: float
    veth: str
    server: tuple[str, int]
    client: tuple[str, int]
    sequence: int
    payload: bytes


class Capture:
    """`network` is a path of the bridge's namespace (site.switch.path); `ports` are the servers' ports of interest."""

    def __init__(self, network: str, ports: Iterable[int] = tuple(PORTS.values())) -> None:
        self._network = network
        self._ports = tuple(ports)
        self._replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self._stop, self._stopping = socket.socketpair()
        self._listening = threading.Event()
        self._failed: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self.lost = 0

    def __enter__(self) -> Capture:
        self._thread.start()
        self._listening.wait()
        if self._failed is not None:
            raise self._failed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.close()
        self._thread.join()
        self._stopping.close()

    def replies(self) -> Iterator[Reply]:
        """What was seen since the last call, in order; doesn't wait."""
        while not self._replies.empty():
            yield self._replies.get()

    def _run(self) -> None:
        """The thread's life: it moves into the bridge's namespace and stays; names of cables are those of there."""
        try:
            with open(self._network, "rb") as namespace:
                kernel.setns(namespace.fileno(), kernel.CLONE_NEWNET)
            listening = _socket(self._ports)
        except OSError as refused:
            self._failed = refused
            return
        finally:
            self._listening.set()
        with listening:
            while self._stopping not in select.select([listening, self._stopping], [], [])[0]:
                frame, ancillary, _, origin = listening.recvmsg(_SNAP, 64)
                self._take(frame, ancillary, origin[0])
            statistics = listening.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            self.lost = struct.unpack("II", statistics)[1]

    def _take(self, frame: bytes, ancillary: list[tuple[int, int, bytes]], veth: str) -> None:
        seconds, nanoseconds = struct.unpack("qq", ancillary[0][2][:16])
        reply = _parsed(frame, seconds + nanoseconds / 1e9, veth)
        if reply is not None and veth != BRIDGE:
            self._replies.put(reply)


def _socket(ports: tuple[int, ...]) -> socket.socket:
    listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))  # of every cable
    try:
        program = _program(ports)
        buffer = ctypes.create_string_buffer(program)
        head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))  # struct sock_fprog
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
        listening.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        listening.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
    except BaseException:
        listening.close()
        raise
    return listening


def _program(ports: tuple[int, ...]) -> bytes:
    """Classic BPF: a frame that comes in, with TCP over IPv4 without options, from one of the ports."""
    load_byte, load_half, equals, take = 0x30, 0x28, 0x15, 0x06
    beyond = len(ports) + 1  # from the test of the protocol to the line that drops
    packet_type = 0xFFFFF000 + 4  # SKF_AD_OFF + SKF_AD_PKTTYPE
    lines = [
        (load_byte, 0, 0, packet_type),
        (equals, beyond + 4, 0, 4),  # PACKET_OUTGOING: it left by this cable, and was seen where it entered
        (load_half, 0, 0, 12),
        (equals, 0, beyond + 2, _ETH_P_IP),
        (load_byte, 0, 0, 23),
        (equals, 0, beyond, socket.IPPROTO_TCP),
        (load_half, 0, 0, 34),
        *((equals, len(ports) - number, 0, port) for number, port in enumerate(ports)),
        (take, 0, 0, 0),
        (take, 0, 0, _SNAP),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _parsed(frame: bytes, at: float, veth: str) -> Reply | None:
    """None when the segment carries no payload."""
    head = 14 + (frame[14] & 0x0F) * 4
    total = struct.unpack_from("!H", frame, 16)[0]
    source, target, sequence = struct.unpack_from("!HHI", frame, head)
    body = head + (frame[head + 12] >> 4) * 4
    payload = frame[body : min(len(frame), 14 + total) if total else len(frame)]
    if not payload:
        return None
    server = (socket.inet_ntoa(frame[26:30]), source)
    client = (socket.inet_ntoa(frame[30:34]), target)
    return Reply(at, veth, server, client, sequence, payload)
