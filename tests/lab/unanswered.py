"""Sessions that are one line short of a positive answer as G2 defines it, one for each protocol that has one.

Invariant: every session was greeted, and was told nothing positive yet. TLS sessions are checked against the lab's
authority. Nothing here judges.
"""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from tests.lab.host import Host
from tests.lab.plan import DOMAIN, PORTS, User
from tests.lab.post import STRANGER
from tests.lab.site import CA, Site

PATIENCE = 10.0  # seconds, for what has to come


@dataclass
class Session:
    """`last` is the line that `positive` begins the answer to."""

    name: str
    there: socket.socket
    last: bytes
    positive: bytes

    def speak(self) -> None:
        self.there.sendall(self.last)

    def answer(self, within: float = PATIENCE) -> bytes:
        """What comes out; nothing when the connection is reset, has ended, or is silent for so long."""
        self.there.settimeout(within)
        try:
            return self.there.recv(500)
        except OSError:
            return b""

    def is_positive(self, answer: bytes) -> bool:
        return self.positive in answer


def sessions(site: Site, host: Host, user: User, undo: ExitStack) -> list[Session]:
    """Of the client with a host, all open at once; closed with `undo`."""
    login = base64.b64encode(f"\0{user.address}\0{user.password}".encode())

    def begun(port: str, *steps: bytes | Callable[[socket.socket], socket.socket]) -> socket.socket:
        with site.client.network():
            there = undo.enter_context(socket.create_connection((host.address, PORTS[port]), PATIENCE))
        _heard(there)
        for step in steps:
            if isinstance(step, bytes):
                there.sendall(step + b"\r\n")
                _heard(there)
            else:
                there = undo.enter_context(step(there))
        return there

    def encrypted(there: socket.socket) -> socket.socket:
        context = ssl.create_default_context(cafile=str(site.client.path(CA)))
        return context.wrap_socket(there, server_hostname=f"{host.name}.{DOMAIN}")

    envelope = (b"MAIL FROM:<%s>" % STRANGER.encode(), b"RCPT TO:<%s>" % user.address.encode(), b"DATA")
    letter = b"From: <%s>\r\nSubject: unanswered\r\n\r\nHello.\r\n.\r\n" % STRANGER.encode()
    hello = b"EHLO client.test"
    submitting = begun("submission", hello, b"STARTTLS", encrypted, hello, b"AUTH PLAIN " + login, *envelope)
    return [
        Session("imap", begun("imap"), b"a LOGIN %s %s\r\n" % (user.address.encode(), user.password.encode()), b"a OK"),
        Session(
            "pop3", begun("pop3", b"USER " + user.address.encode()), b"PASS %s\r\n" % user.password.encode(), b"+OK"
        ),
        Session("sieve", begun("sieve"), b'AUTHENTICATE "PLAIN" "%s"\r\n' % login, b"OK"),
        Session("lmtp", begun("lmtp", b"LHLO client.test", *envelope), letter, b"250 "),
        Session("smtp", begun("smtp", hello, *envelope), letter, b"250 "),
        Session(
            "login", begun("submission", hello, b"STARTTLS", encrypted, hello), b"AUTH PLAIN %s\r\n" % login, b"235"
        ),
        Session("submission", submitting, letter, b"250 "),
    ]


def _heard(there: socket.socket) -> bytes:
    """A whole answer: a line of SMTP, LMTP or POP3 without a hyphen, of IMAP any, of ManageSieve its OK."""
    answer = b""
    while not _is_whole(answer):
        piece = there.recv(4096)
        if not piece:
            raise ConnectionError(f"the server hung up after {answer!r}")
        answer += piece
    return answer


def _is_whole(answer: bytes) -> bool:
    lines = answer.split(b"\r\n")
    if len(lines) < 2 or lines[-1]:
        return False
    last = lines[-2]
    if answer.startswith(b'"'):
        return last.startswith(b"OK")
    return not (last[:3].isdigit() and last[3:4] == b"-")
