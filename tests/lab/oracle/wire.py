"""A connection with one deadline for all that is done on it, and no buffer that anybody else sees.

Invariant: no call returns later than the deadline (plus the time of one system call); after `Lost` the connection is
of no use any more. Whether what was sent arrived is not known here, and isn't guessed.
"""

from __future__ import annotations

import socket
import ssl
import time

LONGEST = 16 << 20


class Lost(Exception):
    """The connection ended, was refused, or the deadline passed; the message says which."""


class Link:
    """Opened when it is made; `until` is a time of time.monotonic(), raised by `allow`."""

    def __init__(self, address: str, port: int, seconds: float) -> None:
        """Raises Lost."""
        self.until = time.monotonic() + seconds
        self.encrypted = False
        self._waiting = b""
        try:
            self._socket = socket.create_connection((address, port), timeout=seconds)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            near, far = self._socket.getsockname(), self._socket.getpeername()
        except OSError as error:
            raise Lost(f"{address}:{port}: {error}") from error
        self.name = f"{near[0]}:{near[1]}>{far[0]}:{far[1]}"

    def allow(self, seconds: float) -> None:
        """A new deadline, from now on."""
        self.until = time.monotonic() + seconds

    def _arm(self) -> None:
        left = self.until - time.monotonic()
        if left <= 0:
            raise Lost(f"{self.name}: the deadline passed")
        self._socket.settimeout(left)

    def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """Raises Lost, also when the certificate is refused."""
        try:
            self._arm()
            self._socket = context.wrap_socket(self._socket, server_hostname=name)
        except OSError as error:
            raise Lost(f"{self.name}: no TLS: {error}") from error
        self.encrypted = True
        self._waiting = b""  # what came in the clear before the handshake isn't to be believed (CVE-2011-0411)

    def send(self, data: bytes) -> None:
        """All of it, or Lost."""
        try:
            self._arm()
            self._socket.sendall(data)
        except OSError as error:
            raise Lost(f"{self.name}: {error}") from error

    def line(self) -> bytes:
        """Up to and without the next CRLF."""
        while b"\n" not in self._waiting:
            self._more()
        line, _, self._waiting = self._waiting.partition(b"\n")
        return line.rstrip(b"\r")

    def exact(self, count: int) -> bytes:
        while len(self._waiting) < count:
            self._more()
        data, self._waiting = self._waiting[:count], self._waiting[count:]
        return data

    def _more(self) -> None:
        if len(self._waiting) > LONGEST:
            raise Lost(f"{self.name}: a line of more than {LONGEST} bytes")
        try:
            self._arm()
            data = self._socket.recv(1 << 16)
        except OSError as error:
            raise Lost(f"{self.name}: {error}") from error
        if not data:
            raise Lost(f"{self.name}: the server closed the connection")
        self._waiting += data

    def close(self) -> None:
        self._socket.close()


def trusting(ca: str) -> ssl.SSLContext:
    """For clients: believes this authority, or anybody where none is named."""
    context = ssl.create_default_context(cafile=ca or None)
    if not ca:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
