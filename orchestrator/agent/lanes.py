"""More channels for bodies than one, where one sshd window (2 MiB) would be the limit.

sshd takes at most 2 MiB ahead on each channel, so a single one moves 20 MB/s over a
round trip of 100 ms. A *lane* is a further command on the same SSH connection: a short
process (`lend`) that hands its standard input to the agent at the other end of a Unix
socket, and then only stays. The agent (`LaneListener`) reads frames from all of them.

Frames of different streams overtake one another. So from then on each but PING carries
its number in its head ("seq": n, from 0), whichever way it goes, and `Order` puts them back
into the order in which they were sent. Number 0 goes by the main stream, behind all that was
sent without a number, so that no lane overtakes that either.

Invariant: nobody but a process of our own user can hand in a lane, and only while it knows
the token; a lane is lent to nobody else, whoever took the name; what comes in is delivered
once, in order, or the conversation ends.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
import stat
import struct
import sys
import threading
from typing import Callable, Dict, List

from .wire import Decoder, Frame, Garbled, Kind, encode

MAX_LANES = 16
MAX_AHEAD = 256 << 20
"""Bytes that wait for one that was sent before them; the controller's credit is far smaller."""
READ_SIZE = 1 << 18
PEER = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED

Deliver = Callable[[Frame], None]


class Order:
    """Frames in, in any order; frames out as they were sent. Pure but for what `deliver` does."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._next = 0
        self._early: Dict[int, Frame] = {}
        self._bytes = 0

    def put(self, frame: Frame) -> None:
        """A numbered frame. Raises Garbled for one that can't have been sent."""
        number = frame.head.get("seq")
        if not isinstance(number, int) or number < self._next or number in self._early:
            raise Garbled(f"a frame numbered {number!r:.20} where {self._next} is next")
        self._early[number] = frame
        self._bytes += len(frame.blob)
        if self._bytes > MAX_AHEAD:
            raise Garbled(f"{self._bytes} bytes on lanes wait for a frame that doesn't come")
        while self._next in self._early:
            ready = self._early.pop(self._next)
            self._next += 1
            self._bytes -= len(ready.blob)
            self._deliver(ready)


class LaneListener:
    """The agent's end. `deliver` gets every frame in order, one at a time, on some thread; `broken` hears once why a
    lane failed: the conversation can't go on then. Raises OSError where there are no abstract Unix sockets.
    """

    def __init__(self, deliver: Deliver, broken: Callable[[str], None]) -> None:
        self.token = secrets.token_hex(16)
        self._deliver = deliver
        self._order = Order(deliver)
        self._broken = broken
        self._lock = threading.Lock()
        self._closed = False
        self._lanes = 0
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._door.bind(_address(self.token))
        self._door.listen(MAX_LANES)
        threading.Thread(target=self._admit, name="lanes", daemon=True).start()

    def main(self, frame: Frame) -> None:
        """Every frame of the main stream from now on, but PING and HELLO: kept back while what was sent before it is
        missing. Raises Garbled.
        """
        with self._lock:
            if "seq" in frame.head:
                self._order.put(frame)
            else:  # sent before there were lanes; the first numbered frame comes behind it, on the same stream
                self._deliver(frame)

    def close(self) -> None:
        """No lane is taken, and none is missed, from now on. Threads end with their lanes."""
        self._closed = True
        _shut(self._door)

    def _admit(self) -> None:
        with self._door:
            while not self._closed:
                try:
                    peer, _ = self._door.accept()
                except OSError:
                    return
                self._take(peer)

    def _take(self, peer: socket.socket) -> None:
        peer.settimeout(5.0)
        try:
            _, lent, _, _ = socket.recv_fds(peer, 1, 1)
        except OSError:
            lent = []
        if not _ours(peer) or len(lent) != 1 or self._lanes >= MAX_LANES or not _stream(lent[0]):
            for fd in lent:
                os.close(fd)
            peer.close()
            return
        self._lanes += 1
        peer.sendall(b"+")
        threading.Thread(target=self._read, args=(peer, lent[0]), name="lane", daemon=True).start()

    def _read(self, peer: socket.socket, fd: int) -> None:
        why, decoder = "a lane ended", Decoder()
        try:
            while True:
                try:
                    data = os.read(fd, READ_SIZE)
                except BlockingIOError:
                    select.select([fd], [], [])
                    continue
                if not data:
                    break
                for frame in decoder.feed(data):
                    if frame.kind is not Kind.BODY:
                        raise Garbled(f"a {frame.kind.name} on a lane")
                    with self._lock:
                        self._order.put(frame)
        except (OSError, Garbled) as error:
            why = f"a lane failed: {error}"
        os.close(fd)
        peer.close()
        if not self._closed:
            self.close()
            self._broken(why)


def lend(arguments: List[str]) -> int:
    """The whole life of a lane's process: hand standard input to the agent that made the token, which is the last of
    `arguments`, greet the controller, and stay until either of them leaves. Returns the exit status.
    """
    token = arguments[-1]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        try:
            agent.connect(_address(token))
            if not _ours(agent):  # abstract names can be read and taken by anybody, once the agent has left
                sys.stderr.write("mailmirror agent: another user listens for this lane\n")
                return 77
            socket.send_fds(agent, [b"+"], [0])
            accepted = agent.recv(1) == b"+"
        except OSError as error:
            sys.stderr.write(f"mailmirror agent: no agent takes this lane: {error}\n")
            return 75
        if not accepted:
            sys.stderr.write("mailmirror agent: the agent refused this lane\n")
            return 77
        # The agent reads it from now on; two readers would share the bytes between them.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.write(1, encode(Frame(Kind.HELLO, 0, {"lane": True})))
        agent.recv(1)
    return 0


def _address(token: str) -> bytes:
    """An abstract name: no file, nothing to clean up, gone with its owner."""
    return b"\0mailmirror-lane-" + token.encode("ascii", "replace")


def _ours(peer: socket.socket) -> bool:
    """Whether who connected, or listens, at the other end is our own user (unix(7), SO_PEERCRED)."""
    _, uid, _ = PEER.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    return bool(uid == os.geteuid())


def _stream(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        sock.close()


if __name__ == "__main__":
    sys.exit(lend(sys.argv))
