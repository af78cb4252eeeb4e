"""The line protocols that need no parser: SMTP, LMTP and POP3, in the client's words.

Invariant: a reply is read to its end before the next command is sent (nothing is pipelined), so each outcome belongs to
one command; all of a session stays within the deadline of its link. What a failure means is left to the caller.
"""

from __future__ import annotations

import base64
import ssl

from tests.lab.oracle.wire import Link, Lost

EHLO = "client.test"


class Smtp:
    """A session after its EHLO, in the clear or behind STARTTLS. Raises Lost when it can't be had."""

    def __init__(self, address: str, port: int, seconds: float, hello: str = "EHLO") -> None:
        self.link = Link(address, port, seconds)
        self._hello = hello
        try:
            self._greet()
        except BaseException:
            self.link.close()
            raise

    def _greet(self) -> None:
        code, text = self.reply()
        if code == 220:
            code, text = self.command(f"{self._hello} {EHLO}")
        if code not in (220, 250):
            raise Lost(f"{self.link.name}: {code} {text}")

    def reply(self) -> tuple[int, str]:
        """The code, and the last line's text."""
        while True:
            line = self.link.line()
            if len(line) < 3 or not line[:3].isdigit():
                raise Lost(f"{self.link.name}: not a reply: {line[:80]!r}")
            if line[3:4] != b"-":
                return int(line[:3]), line[4:].decode(errors="replace")

    def command(self, words: str) -> tuple[int, str]:
        self.link.send(words.encode() + b"\r\n")
        return self.reply()

    def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        code, text = self.command("STARTTLS")
        if code != 220:
            raise Lost(f"{self.link.name}: STARTTLS: {code} {text}")
        self.link.start_tls(context, name)
        self.command(f"{self._hello} {EHLO}")

    def login(self, user: str, password: str) -> tuple[int, str]:
        """AUTH PLAIN (RFC 4616); 235 when it is believed."""
        words = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        return self.command(f"AUTH PLAIN {words}")

    def envelope(self, sender: str, recipient: str) -> tuple[int, str]:
        """MAIL, RCPT and DATA: the first reply that isn't good, or the 354 to DATA."""
        for words, good in ((f"MAIL FROM:<{sender}>", 250), (f"RCPT TO:<{recipient}>", 250), ("DATA", 354)):
            code, text = self.command(words)
            if code != good:
                break
        return code, text

    def content(self, message: bytes) -> tuple[int, str]:
        """After the 354: the message, and the reply to its last dot."""
        doubled = message.replace(b"\r\n.", b"\r\n..")
        self.link.send(doubled + b".\r\n")
        return self.reply()

    def close(self) -> None:
        self.link.close()


class Pop:
    """A session after its login. Raises Lost, also for -ERR."""

    def __init__(
        self, address: str, port: int, user: str, password: str, seconds: float, tls: ssl.SSLContext | None, name: str
    ) -> None:
        self.link = Link(address, port, seconds)
        try:
            self._one_line()
            if tls is not None:
                self.command("STLS")
                self.link.start_tls(tls, name)
            self.command(f"USER {user}")
            self.command(f"PASS {password}")
        except BaseException:
            self.link.close()
            raise

    def _one_line(self) -> str:
        line = self.link.line()
        if not line.startswith(b"+OK"):
            raise Lost(f"{self.link.name}: {line.decode(errors='replace')}")
        return line.decode(errors="replace")

    def command(self, words: str) -> str:
        """The line of the answer. Raises Lost for -ERR."""
        self.link.send(words.encode() + b"\r\n")
        return self._one_line()

    def text(self, words: str) -> list[bytes]:
        """A command with a multi-line answer: its lines, dots undone."""
        self.command(words)
        lines = []
        while (line := self.link.line()) != b".":
            lines.append(line.removeprefix(b"."))
        return lines

    def close(self) -> None:
        self.link.close()
