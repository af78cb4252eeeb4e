"""The streams of bytes that conversations run over, as far as this machine alone can make them.

A `Duplex` is the least that a conversation needs; a `Line` also says why it ended and can
be cut at once. `SocketLine` is a connected socket (an agent's Unix socket), `ChildLine` an
agent that runs as a child process over a socket pair.

Invariant: a line owns what it opened; after `close` or `abort` no file descriptor and no
process of it is left. Lines don't know frames, and start no threads.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

TICK = 1.0
"""Seconds after which an idle `recv` raises TimeoutError, so that its reader can look at the clock."""
ROOM = 4 << 20
"""Bytes of socket buffer that we ask for; the kernel gives what `net.core.wmem_max` allows."""
PIECE = 1 << 20
"""Bytes received at once: the kernel has no more, and Python makes room for all that is asked for."""
LAST_WORDS = 16 << 10
"""Bytes of standard error that are kept: the newest, since a traceback's point is its last line."""
PATIENCE = 3.0
"""Seconds that a child gets to end by itself after its standard input has ended."""


class Duplex(Protocol):
    """Bytes both ways. `recv` gives b"" at the end and may raise TimeoutError when nothing came for a while."""

    def recv(self, size: int, /) -> bytes: ...

    def sendall(self, data: bytes | memoryview, /) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class Line(Duplex, Protocol):
    """A duplex whose `recv` raises TimeoutError after `TICK` idle seconds.

    `close` ends it in good order within a few seconds, `abort` at once, both from any thread;
    `settle` is called last, by the reader: it frees what is left and tells what is known of why it ended.
    """

    def abort(self) -> None: ...

    def settle(self) -> str: ...


class SocketLine:
    """A connected stream socket as a line."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._incoming = select.poll()
        self._incoming.register(sock, select.POLLIN)
        self._outgoing = select.poll()
        self._outgoing.register(sock, select.POLLOUT)
        self._shut = threading.Event()

    def recv(self, size: int, /) -> bytes:
        while not self._shut.is_set():
            try:
                return self._sock.recv(min(size, PIECE))
            except BlockingIOError:
                if not self._wait():
                    raise TimeoutError from None
        return b""

    def _wait(self) -> bool:
        """Until something can be received, but not longer than a tick."""
        return bool(self._incoming.poll(TICK * 1000))

    def sendall(self, data: bytes | memoryview, /) -> None:
        rest = memoryview(data)
        while rest:
            if self._shut.is_set():
                raise ConnectionAbortedError("the line was cut here")
            try:
                rest = rest[self._sock.send(rest) :]
            except BlockingIOError:
                self._outgoing.poll(TICK * 1000)

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        """Wakes whoever receives or sends. The descriptor stays valid until the last of them has left."""
        self._shut.set()
        with suppress(OSError):  # the peer was faster
            self._sock.shutdown(socket.SHUT_RDWR)

    def settle(self) -> str:
        self._sock.close()
        return ""


class ChildLine(SocketLine):
    """An agent as a child process: its standard input and output are one socket, its standard error is kept."""

    def __init__(self, argv: Sequence[str]) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        self._errors, write_end = os.pipe()
        try:
            # A session of its own: Ctrl-C on the terminal is the controller's affair; the agent ends with its input.
            self._child = subprocess.Popen(
                argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=write_end, cwd="/", start_new_session=True
            )
        except OSError:
            ours.close()
            os.close(self._errors)
            raise
        finally:
            theirs.close()
            os.close(write_end)
        super().__init__(ours)
        os.set_blocking(self._errors, False)
        self._incoming.register(self._errors, select.POLLIN)
        self._said = bytearray()
        self._end = threading.Lock()

    @property
    def pid(self) -> int:
        return self._child.pid

    def _wait(self) -> bool:
        """As above; what the child says on standard error is taken off its hands meanwhile."""
        deadline = time.monotonic() + TICK
        while True:
            ready = self._incoming.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if any(fd == self._errors for fd, _ in ready):
                self._listen()
            if any(fd != self._errors for fd, _ in ready):
                return True
            if not ready:
                return False

    def _listen(self) -> None:
        try:
            heard = os.read(self._errors, 64 << 10)
        except BlockingIOError:
            return
        if not heard:
            with suppress(KeyError):  # its end was seen before
                self._incoming.unregister(self._errors)
        self._said += heard
        del self._said[:-LAST_WORDS]

    def close(self) -> None:
        with suppress(OSError):  # the child was faster
            self._sock.shutdown(socket.SHUT_WR)
        try:
            self._child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.kill()
        self.abort()

    def abort(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
        super().abort()

    def settle(self) -> str:
        """Its exit status and the end of its standard error. Reaps the child."""
        with self._end:
            try:
                status = self._child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._child.kill()
                status = self._child.wait()
            if self._errors >= 0:
                self._listen()
                os.close(self._errors)
                self._errors = -1
            super().settle()
        return words(status, bytes(self._said))


def words(status: int | None, said: bytes) -> str:
    """How a process ended, as a sentence: its exit status (negative: a signal; None: untold) and what it said last."""
    how = "" if status is None else f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    text = said.decode(errors="replace").strip()
    return "; ".join(filter(None, (how, f"it said:\n{text}" if text else "")))


def house() -> str:
    """The directory that holds the package: a checkout, or site-packages."""
    return str(Path(__file__).resolve().parent.parent.parent)


def agent_command(arguments: Sequence[str] = ()) -> list[str]:
    """The agent of this very installation as a command line.

    `-I -S`: neither the environment nor site-packages' start-up files reach it (12 ms less); the
    house is the last place that is looked at, so that nothing beside it hides the standard library.
    """
    start = (
        "import sys; sys.path.append(sys.argv.pop(1)); from orchestrator.agent.main import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-I", "-S", "-c", start, house(), *arguments]


def local_socket(path: Path) -> SocketLine | None:
    """A line to the agent that listens at `path`; None when there is no such socket. Raises OSError when it refuses."""
    if not path.is_socket():
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(TICK * 5)
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
    return SocketLine(sock)
