"""One IMAP connection: commands out, answers in, within a deadline; it keeps no picture of a folder.

Invariant: a command has an answer, or it raises Lost and the connection is closed: then nobody knows whether it was
carried out. It enables nothing that the server doesn't advertise (`capabilities` are those after the login).
"""

from __future__ import annotations

import itertools
import ssl

from tests.lab.oracle.imapwords import Answer, Garbled, Line, literal, quoted
from tests.lab.oracle.wire import Link, Lost

SECONDS = 10.0


class Refused(Exception):
    """The server answered NO or BAD, or said BYE; the message is what it said."""


class Imap:
    """Connected, and logged in, when it is made. Raises Lost, or Refused by a server that answers."""

    def __init__(
        self,
        address: str,
        port: int,
        user: str,
        password: str,
        *,
        tls: ssl.SSLContext | None = None,
        name: str = "",
        seconds: float = SECONDS,
    ) -> None:
        """`tls`: STARTTLS with it, checked against `name`, where it is given or the server wants it."""
        self.seconds = seconds
        self._tags = itertools.count(1)
        self.link = Link(address, port, seconds)
        try:
            self._begin(user, password, tls, name)
        except BaseException:
            self.close()
            raise

    def _begin(self, user: str, password: str, tls: ssl.SSLContext | None, name: str) -> None:
        greeting = self.link.line()
        if not greeting.startswith(b"* OK"):
            raise Refused(greeting.decode(errors="replace"))
        if tls is not None:
            self.demand("STARTTLS")
            self.link.start_tls(tls, name)
        self.demand(f"LOGIN {quoted(user)} {quoted(password)}")
        told = self.demand("CAPABILITY")
        words = next((line.text for line in told.lines if line.text.startswith(b"* CAPABILITY ")), b"")
        self.capabilities = frozenset(words.decode().upper().split()[2:])

    def offers(self, capability: str) -> bool:
        return capability in self.capabilities

    def command(self, *parts: str | bytes) -> Answer:
        """Sends the parts of one command, text or a literal (bytes), and waits for its answer. Raises Lost."""
        tag = f"a{next(self._tags)}".encode()
        self.link.allow(self.seconds)
        try:
            return self._exchange(tag, parts)
        except (Lost, Garbled) as error:
            self.close()
            raise Lost(str(error)) from error

    def _exchange(self, tag: bytes, parts: tuple[str | bytes, ...]) -> Answer:
        lines: list[Line] = []
        out = tag + b" "
        for part in parts:
            if isinstance(part, str):
                out += part.encode("ascii")
                continue
            self.link.send(out + b"{%d}\r\n" % len(part))
            answer = self._read(tag, lines, may_go_on=True)
            if answer is not None:
                return answer
            out = part
        self.link.send(out + b"\r\n")
        answer = self._read(tag, lines)
        if answer is None:
            raise Garbled("the server asks for more than there is")
        return answer

    def _read(self, tag: bytes, lines: list[Line], *, may_go_on: bool = False) -> Answer | None:
        """Up to the tagged answer; None at a line that asks for the literal."""
        while True:
            line = self._line()
            if line.text.startswith(b"+") and may_go_on:
                return None
            if line.text.startswith(b"* BYE") and not line.text.lower().startswith(b"* bye logging out"):
                raise Lost(f"{self.link.name}: {line.text.decode(errors='replace')}")
            if line.text.startswith(tag + b" "):
                status, _, text = line.text[len(tag) + 1 :].partition(b" ")
                return Answer(status.decode().upper(), text, lines)
            if not line.text.startswith((b"* ", b"+")):
                raise Garbled(repr(line.text))
            lines.append(line)

    def _line(self) -> Line:
        text = tail = self.link.line()
        literals = []
        while (count := literal(tail)) is not None:
            literals.append(self.link.exact(count))
            tail = self.link.line()
            text += tail
        return Line(text, tuple(literals))

    def demand(self, *parts: str | bytes) -> Answer:
        """The same for what has to succeed. Raises Refused."""
        answer = self.command(*parts)
        if not answer.ok:
            said = answer.text.decode(errors="replace")
            raise Refused(f"{str(parts[0]).split(' ')[0]}: {answer.status} {said}")
        return answer

    def close(self) -> None:
        """Without a LOGOUT, as a client that loses its network."""
        self.link.close()
