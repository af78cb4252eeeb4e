"""A message that can be recognised anywhere: its id says what its body has to be.

Invariant: the body follows from the id alone, so a reader needs no copy to tell whether a message came whole; two ids
never give one body. Servers may add header lines and change the ends of lines; the body's words stay.
"""

from __future__ import annotations

import hashlib
import random
import re

DOMAIN = "oracle.invalid"
_ID = re.compile(rb"^message-id:\s*<([^>]+)@" + re.escape(DOMAIN.encode()) + rb">", re.I | re.M)
_WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "nobody", "reads", "mail")


def body(identity: str) -> bytes:
    """Between 40 bytes and 20 KiB of lines, ended by CRLF; some begin with a dot, since SMTP treats that apart."""
    dice = random.Random(f"body {identity}")
    lines = [f"This is {identity}."]
    for _ in range(int(dice.paretovariate(0.9)) % 250):
        start = "." if dice.random() < 0.05 else ""
        lines.append(start + " ".join(dice.choices(_WORDS, k=dice.randint(1, 12))))
    return "".join(f"{line}\r\n" for line in lines).encode()


def compose(identity: str, sender: str, recipient: str) -> bytes:
    """The whole message, lines ended by CRLF, dots not yet doubled."""
    head = (
        f"Message-ID: <{identity}@{DOMAIN}>",
        f"From: {sender}",
        f"To: {recipient}",
        f"Subject: {identity}",
        "Date: Tue, 24 Nov 2026 08:00:00 +0000",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=us-ascii",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body(identity)


def identity(header: bytes) -> str:
    """Whose message it is, from its header or the whole; empty for one that isn't ours."""
    found = _ID.search(header)
    return found[1].decode(errors="replace") if found else ""


def digest(message: bytes) -> str:
    """Of the body's words, whatever the ends of its lines; 16 hexadecimal digits."""
    plain = message.replace(b"\r\n", b"\n")
    return _digest(plain.partition(b"\n\n")[2])


def expected(identity: str) -> str:
    """The digest that the message of this id has when it came whole."""
    return _digest(body(identity).replace(b"\r\n", b"\n"))


def _digest(plain: bytes) -> str:
    return hashlib.sha256(plain.rstrip(b"\n")).hexdigest()[:16]
