"""Connections whose every wait ends at one deadline, for talking to servers that may hang, drip or babble.

A timeout of a socket counts from each call: a server that sends a byte a second never runs into it. Here each call gets
what is left until the deadline. The standard library's smtplib, imaplib and poplib talk over these sockets.

Invariant: no call on a connection returns later than its deadline, give or take the machine's own stalls. A name's
look-up is the exception (getaddrinfo(3) can't be bounded): who must not wait for it gives an address.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import Any, Optional, Tuple, Union

from .certificate import not_after

Address = Union[Tuple[str, int], str]
"""(host, port), or the path of a Unix socket."""


def left(deadline: float) -> float:
    """Seconds until `deadline` (CLOCK_MONOTONIC). Raises TimeoutError when none are left."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the time for the whole probe is over")
    return seconds


class Plain(socket.socket):
    """A stream socket with a deadline."""

    deadline = 0.0

    def recv_into(self, *words: Any, **named: Any) -> int:
        self.settimeout(left(self.deadline))
        return super().recv_into(*words, **named)

    def recv(self, *words: Any, **named: Any) -> bytes:
        self.settimeout(left(self.deadline))
        return super().recv(*words, **named)

    def sendall(self, *words: Any, **named: Any) -> None:
        self.settimeout(left(self.deadline))
        super().sendall(*words, **named)


class Secured(ssl.SSLSocket):
    """The same under TLS. `Context.wrap_socket` makes it, and gives it its deadline."""

    deadline = 0.0

    def read(self, *words: Any, **named: Any) -> Any:
        # recv and recv_into come here, whoever calls them.
        self.settimeout(left(self.deadline))
        return super().read(*words, **named)

    def send(self, *words: Any, **named: Any) -> int:
        # sendall comes here once for each piece.
        self.settimeout(left(self.deadline))
        return super().send(*words, **named)


class Context(ssl.SSLContext):
    """A client's TLS, whose sockets keep the deadline of the one that they are made from. With `verify` the server must
    show a certificate that this host trusts for the name that is asked for; without, any will do.
    """

    sslsocket_class = Secured

    def __new__(cls, verify: bool) -> Context:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, verify: bool) -> None:
        if verify:
            self.load_default_certs()
        else:
            self.check_hostname = False
            self.verify_mode = ssl.CERT_NONE

    def wrap_socket(self, sock: socket.socket, *words: Any, **named: Any) -> ssl.SSLSocket:
        deadline = sock.deadline if isinstance(sock, (Plain, Secured)) else 0.0
        sock.settimeout(left(deadline))
        made = super().wrap_socket(sock, *words, **named)
        if isinstance(made, Secured):
            made.deadline = deadline
        return made


def dial(address: Address, deadline: float) -> Plain:
    """Connect, to the first of a name's addresses that takes the connection; each gets its share of the time. Raises
    OSError, its TimeoutError too.
    """
    if isinstance(address, str):
        return _connected(socket.AF_UNIX, address, deadline, 1)
    problem: Optional[OSError] = None
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    for at, (family, _, _, _, target) in enumerate(found):
        try:
            return _connected(family, target, deadline, len(found) - at)
        except OSError as error:
            problem = problem or error
    raise problem or OSError(f"{address[0]} has no address")


def _connected(family: int, target: Any, deadline: float, share: int) -> Plain:
    made = Plain(family, socket.SOCK_STREAM)
    made.deadline = deadline
    try:
        made.settimeout(left(deadline) / share)
        made.connect(target)
    except BaseException:
        made.close()
        raise
    return made


def expires(sock: socket.socket) -> Optional[float]:
    """When the certificate that the server showed ends, in seconds since 1970; None without TLS."""
    shown = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
    return not_after(shown) if shown else None
