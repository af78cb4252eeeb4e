"""IMAP's answers as values (RFC 3501, 4315, 7162): pure, no socket.

Invariant: what it can't read raises Garbled, and is never half an answer. It knows only the forms that servers send to
what this client asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Value = bytes | list[Any] | None  # a string or atom, a parenthesised list of the same, NIL
_TOKEN = re.compile(rb'\s*(?:(\()|(\))|"((?:[^"\\]|\\.)*)"|\{(\d+)\}|((?:[^\s()"{\[\]]|\[[^\]]*\])+))')
_LITERAL = re.compile(rb"\{(\d+)\}$")
_CODE = re.compile(rb"\[([^\]]*)\]")


class Garbled(Exception):
    """The server said something that isn't IMAP, or not a form that we know."""


@dataclass(frozen=True)
class Line:
    """One response: its text, each literal's place marked by {n}, and the literals in order."""

    text: bytes
    literals: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Fetched:
    """One FETCH: `body` is the value of a BODY[...] item, None where none was asked for; `modseq` 0 likewise."""

    number: int
    uid: int
    flags: frozenset[str] | None
    modseq: int
    body: bytes | None


@dataclass
class Answer:
    """A command's outcome: `status` is OK, NO or BAD; `text` what stood behind it; `lines` what came before."""

    status: str
    text: bytes
    lines: list[Line] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.status == "OK"

    def numbers(self, name: bytes) -> list[int]:
        """Of each `* n NAME` line, such as EXISTS or EXPUNGE, in order."""
        found = (re.fullmatch(rb"\* (\d+) " + name, line.text) for line in self.lines)
        return [int(match[1]) for match in found if match]

    def code(self, name: bytes) -> bytes | None:
        """What stands behind NAME in a [response code] of any line; None when there is none."""
        for text in (self.text, *(line.text for line in self.lines)):
            match = _CODE.search(text)
            if match and match[1].split(b" ")[0].upper() == name:
                return match[1][len(name) :].strip()
        return None

    def number(self, name: bytes) -> int:
        """The number in a response code; 0 when there is none."""
        value = self.code(name)
        return int(value) if value and value.isdigit() else 0

    def fetched(self) -> list[Fetched]:
        """Raises Garbled."""
        found = ((re.match(rb"\* (\d+) FETCH ", line.text), line) for line in self.lines)
        return [_fetched(int(match[1]), line, match.end()) for match, line in found if match]

    def vanished(self, *, earlier: bool) -> set[int]:
        """The UIDs of VANISHED, those with (EARLIER) or those without."""
        start = b"* VANISHED (EARLIER) " if earlier else b"* VANISHED "
        sets = [line.text[len(start) :] for line in self.lines if line.text.startswith(start)]
        return {uid for text in sets if not text.startswith(b"(") for uid in uids(text)}

    def folders(self) -> list[tuple[bytes, bytes, frozenset[str]]]:
        """Of LIST: (name, separator, attributes in lower case)."""
        found = []
        for line in self.lines:
            if line.text.startswith(b"* LIST "):
                attributes, separator, name = values(Line(line.text[7:], line.literals))
                if not isinstance(attributes, list) or not isinstance(name, bytes):
                    raise Garbled(repr(line.text))
                words = frozenset(one.decode().lower() for one in attributes if isinstance(one, bytes))
                found.append((name, separator if isinstance(separator, bytes) else b"", words))
        return found


def literal(text: bytes) -> int | None:
    """How many bytes of a literal follow this line; None when none does."""
    match = _LITERAL.search(text)
    return int(match[1]) if match else None


def values(line: Line) -> list[Value]:
    """A sequence of values. Raises Garbled."""
    stack: list[list[Value]] = [[]]
    place = 0
    literals = iter(line.literals)
    text = line.text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise Garbled(repr(text))
        place = match.end()
        opens, closes, quoted, size, atom = match.groups()
        if opens:
            stack.append([])
        elif closes:
            if len(stack) < 2:
                raise Garbled(repr(text))
            inner = stack.pop()
            stack[-1].append(inner)
        elif quoted is not None:
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", quoted))
        elif size is not None:
            stack[-1].append(next(literals, b""))
        else:
            stack[-1].append(None if atom == b"NIL" else atom)
    if len(stack) != 1:
        raise Garbled(repr(text))
    return stack[0]


def _fetched(number: int, line: Line, start: int) -> Fetched:
    parsed = values(Line(line.text[start:], line.literals))
    if len(parsed) != 1 or not isinstance(parsed[0], list):
        raise Garbled(repr(line.text))
    items = parsed[0]
    found = {
        name.upper(): value for name, value in zip(items[::2], items[1::2], strict=False) if isinstance(name, bytes)
    }
    body = next((value for name, value in found.items() if name.startswith(b"BODY[")), None)
    flags, modseq, uid = found.get(b"FLAGS"), found.get(b"MODSEQ"), found.get(b"UID")
    return Fetched(
        number,
        int(uid) if isinstance(uid, bytes) else 0,
        frozenset(one.decode() for one in flags if isinstance(one, bytes)) if isinstance(flags, list) else None,
        int(modseq[0]) if isinstance(modseq, list) and isinstance(modseq[0], bytes) else 0,
        body if isinstance(body, bytes) else None,
    )


def uids(text: bytes) -> list[int]:
    """Of a set such as 1:3,7, in its order. Raises Garbled."""
    result: list[int] = []
    for part in text.strip().split(b","):
        low, _, high = part.partition(b":")
        try:
            first, last = int(low), int(high or low)
        except ValueError as error:
            raise Garbled(repr(text)) from error
        result += range(min(first, last), max(first, last) + 1)
    return result


def uid_set(numbers: Iterable[int]) -> str:
    """As short as it goes: 1:3,7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}:{b}" for a, b in runs)


def quoted(text: str) -> str:
    """A string for a command; only for names that hold no CR, LF or byte above 127."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def copied(code: bytes | None) -> Sequence[tuple[int, int, int]]:
    """Of [COPYUID validity from to]: (UIDVALIDITY there, UID here, UID there) for each message; also [APPENDUID
    validity uid], with 0 for the UID here. Empty when the server told nothing.
    """
    words = (code or b"").split()
    if len(words) == 2:
        return [(int(words[0]), 0, int(words[1]))]
    if len(words) != 3:
        return []
    return [(int(words[0]), here, there) for here, there in zip(uids(words[1]), uids(words[2]), strict=True)]
