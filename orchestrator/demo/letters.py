"""The letters that the demo sends: as varied as real mail, and the same for the same seed.

Kinds that have broken mail software before: MIME trees, attachments, raw 8-bit in two charsets, headers in
UTF-8, empty bodies, missing subjects, lines of 998 octets, lines that begin with a dot or with "From ",
hundreds of header lines, forwarded messages, and one of twenty megabytes. Pure: nothing is sent or written here.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime

CONSONANTS, VOWELS = "bcdfghklmnprstvw", "aeiou"
VERY_LARGE = "20 MB attachment"  # the kind that is written only when it is asked for
LARGE = 15_000_000  # octets of the attachment in the very large letter; base64 makes 20 MB of them


@dataclass(frozen=True)
class Letter:
    """One letter, ready for SMTP: `raw` has CRLF line ends; `identity` is its Message-ID."""

    kind: str
    identity: str
    raw: bytes


class Writer:
    """Writes letters in turn. `start` dates the first one; each next is a minute later."""

    def __init__(self, seed: int, start: datetime) -> None:
        self._random = random.Random(seed)
        self._seed = seed
        self._date = start
        self._count = 0

    def write(self, kind: str = "") -> Letter:
        """One letter of `kind`, or of the next kind in turn."""
        kind = kind or IN_TURN[self._count % len(IN_TURN)]
        self._count += 1
        self._date += timedelta(minutes=1)
        identity = f"<{self._seed}.{self._count}.{self._random.getrandbits(32):08x}@letters.example.net>"
        raw = KINDS[kind](self, identity)
        return Letter(kind, identity, raw)

    def prose(self, octets: int) -> str:
        lines, size = [], 0
        while size < octets:
            line = " ".join(self._word() for _ in range(12)).capitalize() + "."
            lines.append(line)
            size += len(line) + 2
        return "\n".join(lines) + "\n"

    def _word(self) -> str:
        pick = self._random.choice
        return "".join(pick(CONSONANTS) + pick(VOWELS) for _ in range(self._random.randint(1, 3))) + pick(CONSONANTS)

    def size(self) -> int:
        """Bodies are mostly small and sometimes not: a median of 2 kB, seldom above 60 kB."""
        return min(120_000, int(self._random.lognormvariate(7.6, 1.2)))

    def envelope(self, identity: str, subject: str) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message["From"] = Address("Zoë Ångström", "zoe", "example.net")
        message["To"] = Address("A reader", "reader", "example.org")
        message["Subject"] = subject
        message["Date"] = format_datetime(self._date)
        message["Message-ID"] = identity
        return message

    def finish(self, message: EmailMessage) -> bytes:
        """Boundaries come from the seed too; Python would draw them from its global generator."""
        for part in message.walk():
            if part.is_multipart() and part.get_content_maintype() == "multipart":
                part.set_boundary(f"={self._random.getrandbits(64):016x}=")
        return message.as_bytes(policy=SMTP)

    def blob(self, octets: int) -> bytes:
        return self._random.randbytes(octets)

    def head(self, identity: str, subject: bytes, *more: bytes) -> bytes:
        """A head that no library would write: raw octets as given."""
        date, identity_field = format_datetime(self._date).encode("ascii"), identity.encode("ascii")
        rows = [b"From: zoe@example.net", b"To: reader@example.org", b"Subject: " + subject]
        return b"\r\n".join([*rows, b"Date: " + date, b"Message-ID: " + identity_field, *more]) + b"\r\n\r\n"


def _plain(writer: Writer, identity: str) -> bytes:
    message = writer.envelope(identity, "Minutes of Tuesday's meeting")
    message.set_content(writer.prose(writer.size()))
    return writer.finish(message)


def _alternative(writer: Writer, identity: str) -> bytes:
    message = writer.envelope(identity, "Ihre Bestellung - Größe XL, 49 €")
    text = writer.prose(writer.size())
    message.set_content(text)
    message.add_alternative("<html><body><p>" + text.replace("\n", "<br>\n") + "</p></body></html>", subtype="html")
    return writer.finish(message)


def _attached(writer: Writer, identity: str) -> bytes:
    message = writer.envelope(identity, "The scans you asked for")
    message.set_content(writer.prose(600))
    name = 'Übersicht "final" (2) - 最終版.pdf'
    message.add_attachment(writer.blob(writer.size() * 4), maintype="application", subtype="pdf", filename=name)
    message.add_attachment(writer.blob(3000), maintype="image", subtype="png", filename="=?odd?.png")
    return writer.finish(message)


def _forwarded(writer: Writer, identity: str) -> bytes:
    inner = writer.envelope("<inner." + identity[1:], "Re: Re: Re: keys")
    inner.set_content(writer.prose(900))
    message = writer.envelope(identity, "Fwd: keys")
    message.set_content("See below.\n")
    message.add_attachment(inner)
    return writer.finish(message)


def _latin1(writer: Writer, identity: str) -> bytes:
    kind = b'Content-Type: text/plain; charset="iso-8859-1"'
    head = writer.head(
        identity, b"=?iso-8859-1?Q?Caf=E9?=", b"MIME-Version: 1.0", kind, b"Content-Transfer-Encoding: 8bit"
    )
    return head + "Ça va très bien, à bientôt.\r\n".encode("latin-1") * 40


def _utf8_head(writer: Writer, identity: str) -> bytes:
    message = EmailMessage(policy=SMTPUTF8)
    message["From"] = Address("Юлия", "yuliya", "example.net")
    message["Subject"] = "Привет 👋 こんにちは"
    message["Message-ID"] = identity
    message.set_content("Всё хорошо.\n" * 30, cte="8bit")
    return message.as_bytes(policy=SMTPUTF8)


def _empty(writer: Writer, identity: str) -> bytes:
    return writer.head(identity, b"(nothing follows)")


def _no_subject(writer: Writer, identity: str) -> bytes:
    return b"Message-ID: " + identity.encode("ascii") + b"\r\n\r\n" + writer.prose(200).replace("\n", "\r\n").encode()


def _long_lines(writer: Writer, identity: str) -> bytes:
    line = writer.blob(500).hex().encode("ascii")[:998] + b"\r\n"
    return writer.head(identity, b"Lines of 998 octets, and one of 30,000") + line * 5 + b"x" * 30_000 + b"\r\n"


def _dots(writer: Writer, identity: str) -> bytes:
    return writer.head(identity, b"Dots and From") + b".\r\n..\r\n.hidden\r\nFrom here on\r\n>From there\r\n.\r\n"


def _many_headers(writer: Writer, identity: str) -> bytes:
    more = [b"X-Hop-%d: %s" % (n, writer.blob(20).hex().encode("ascii")) for n in range(250)]
    folded = b"References:" + b"".join(
        b"\r\n <%s@example.net>" % writer.blob(12).hex().encode("ascii") for _ in range(60)
    )
    odd = b"X-Empty:", b"x-UPPER-lower: \t trailing \t", b"Comments: (nested (comment))"
    return writer.head(identity, b"An old thread", *more, folded, *odd) + b"Short.\r\n"


def _very_large(writer: Writer, identity: str) -> bytes:
    # Encoded by hand: the email package takes seconds for this much.
    kinds = b"MIME-Version: 1.0", b"Content-Type: application/zip", b"Content-Transfer-Encoding: base64"
    lines = base64.encodebytes(writer.blob(LARGE)).replace(b"\n", b"\r\n")
    return writer.head(identity, b"The whole project", *kinds) + lines


KINDS: dict[str, Callable[[Writer, str], bytes]] = {
    "plain text": _plain,
    "text and HTML": _alternative,
    "attachments with odd names": _attached,
    "forwarded message": _forwarded,
    "8-bit Latin-1": _latin1,
    "UTF-8 in the head": _utf8_head,
    "empty body": _empty,
    "no subject, no date": _no_subject,
    "very long lines": _long_lines,
    "leading dots and From lines": _dots,
    "hundreds of header lines": _many_headers,
    VERY_LARGE: _very_large,
}
IN_TURN = tuple(kind for kind in KINDS if kind != VERY_LARGE)
