"""Which bytes from a server are positive answers, as G2 defines them. Pure: bytes of both directions in, answers out.

A *positive answer* is an OK or +OK after an IMAP, POP3 or ManageSieve login (the login's own included), a 235 or a 250
after data on submission, a 250 after data on LMTP and on port 25. Whether a place's final transports were held, so that
its 250 on port 25 is only a queue's, can't be told from the wire (see `verdict.held_apart`).

Invariant: what isn't understood is no answer, and is never an answer of another kind; after STARTTLS nothing is read
any more: `encrypted` is set, and all that can be said is that the place carried that session. BDAT isn't followed: its
250 isn't counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_LITERAL = re.compile(rb"\{(\d+)\+?\}$")


@dataclass
class Lines:
    """Bytes cut into lines; literals after {n} are left out."""

    literals: bool = False
    _rest: bytes = b""
    _skip: int = 0

    def feed(self, data: bytes) -> list[bytes]:
        self._rest += data
        found: list[bytes] = []
        while True:
            skipped = min(self._skip, len(self._rest))
            self._rest, self._skip = self._rest[skipped:], self._skip - skipped
            end = self._rest.find(b"\n")
            if self._skip or end < 0:
                return found
            line, self._rest = self._rest[:end].rstrip(b"\r"), self._rest[end + 1 :]
            found.append(line)
            match = _LITERAL.search(line) if self.literals else None
            self._skip = int(match[1]) if match else 0


@dataclass
class Ear:
    """What it is to listen to one connection of any protocol; the kinds differ in `client_said` and `server_said`."""

    protocol: str
    encrypted: bool = False
    _client: Lines = field(default_factory=Lines)
    _server: Lines = field(default_factory=Lines)

    def from_client(self, data: bytes) -> None:
        if _is_tls(data):
            self.encrypted = True
        if not self.encrypted:
            for line in self._client.feed(data):
                self.client_said(line)

    def from_server(self, data: bytes) -> list[str]:
        """The positive answers in it, in their own words."""
        if _is_tls(data):
            self.encrypted = True
        if self.encrypted:
            return []
        return [line.decode(errors="replace")[:60] for line in self._server.feed(data) if self.server_said(line)]

    def client_said(self, line: bytes) -> None:
        raise NotImplementedError

    def server_said(self, line: bytes) -> bool:
        raise NotImplementedError


def _is_tls(data: bytes) -> bool:
    """A handshake record; no line of these protocols begins with byte 22."""
    return data[:2] == b"\x16\x03"


@dataclass
class SmtpEar(Ear):
    """SMTP, submission and LMTP, pipelined or not; LMTP gives one reply for each recipient after the dot."""

    _asked: list[bytes] = field(default_factory=lambda: [b"(greeting)"])
    _in_data: bool = False
    _expects: int = 0  # replies to come for what was sent as data
    _accepted: int = 0  # recipients of this message

    def client_said(self, line: bytes) -> None:
        if not self._in_data:
            self._asked.append(line[:4].upper())
        elif line == b".":
            self._in_data = False
            self._expects = max(1, self._accepted) if self.protocol == "lmtp" else 1
            self._accepted = 0

    def server_said(self, line: bytes) -> bool:
        code = line[:3]
        if line[3:4] == b"-" or not code.isdigit():
            return False
        if self._expects:
            self._expects -= 1
            return code == b"250"
        asked = self._asked.pop(0) if self._asked else b""
        self._in_data = self._in_data or (asked == b"DATA" and code == b"354")
        self._accepted += asked == b"RCPT" and code == b"250"
        return code == b"235" and self.protocol == "submission"


@dataclass
class ImapEar(Ear):
    """IMAP: tagged OKs from the login's own on."""

    _logins: set[bytes] = field(default_factory=set)
    _in: bool = False

    def __post_init__(self) -> None:
        self._client.literals = self._server.literals = True

    def client_said(self, line: bytes) -> None:
        tag, _, rest = line.partition(b" ")
        if rest[:6].upper() in (b"LOGIN ", b"LOGIN") or rest[:12].upper() == b"AUTHENTICATE":
            self._logins.add(tag)

    def server_said(self, line: bytes) -> bool:
        if line.startswith(b"* PREAUTH"):
            self._in = True
            return True
        tag, _, rest = line.partition(b" ")
        if tag in (b"*", b"+") or rest[:3].upper() not in (b"OK ", b"OK"):
            return False
        self._in = self._in or tag in self._logins
        return self._in


@dataclass
class PopEar(Ear):
    """POP3: +OK from the one to PASS, AUTH or APOP on; the lines of a longer answer are none."""

    _in: bool = False
    _asked: bytes = b""
    _words: int = 0
    _multi: bool = False

    def client_said(self, line: bytes) -> None:
        self._asked = line[:4].upper().strip()
        self._words = len(line.split())

    def server_said(self, line: bytes) -> bool:
        if self._multi:
            self._multi = line != b"."
            return False
        if not line.startswith(b"+OK"):
            return False
        if self._asked in (b"RETR", b"TOP", b"CAPA") or (self._asked in (b"LIST", b"UIDL") and self._words == 1):
            self._multi = True
        self._in = self._in or self._asked in (b"PASS", b"AUTH", b"APOP")
        return self._in


@dataclass
class SieveEar(Ear):
    """ManageSieve (RFC 5804): OK from the one to AUTHENTICATE on. The greeting's OK comes before it."""

    _in: bool = False
    _asked: bytes = b""

    def __post_init__(self) -> None:
        self._client.literals = self._server.literals = True

    def client_said(self, line: bytes) -> None:
        if line[:1].isalpha():
            self._asked = line.split()[0].upper()

    def server_said(self, line: bytes) -> bool:
        if line[:2].upper() != b"OK":
            return False
        self._in = self._in or self._asked == b"AUTHENTICATE"
        return self._in


EARS: dict[str, type[Ear]] = {
    "smtp": SmtpEar,
    "submission": SmtpEar,
    "lmtp": SmtpEar,
    "imap": ImapEar,
    "pop3": PopEar,
    "sieve": SieveEar,
}


def ear(protocol: str) -> Ear:
    """For a protocol of `EARS`; any other is taken for one inside TLS from its first byte."""
    kind = EARS.get(protocol)
    return kind(protocol) if kind is not None else SmtpEar(protocol, encrypted=True)
