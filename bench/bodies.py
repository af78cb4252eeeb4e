"""Message bodies as varied as real mail, made from a seed.

Invariant: the same (seed, serial, size) gives the same bytes, on any machine. Every body is made afresh from a
vocabulary and from random bytes: there is no pool of bodies that a compressor with a long window could find again.
Doesn't aim at valid cryptography: the signature headers only look (and compress) like signatures.
"""

from __future__ import annotations

import base64
import random
from array import array
from functools import lru_cache

BRIEF_BELOW = 1500  # bytes; shorter messages get a handful of headers, else the headers would be all of it
TABLE = 65536
SYLLABLES = """
an ar be ber bo ca con da de den der di do du e el en er fa fer fi for ga ge hal i im in is ka ker
la le lo ma mit mo na ne ni no o per pla po ra re ri ro sa sche se si so sta ta te ter ti to tra un
ur va ve ver vi wa wer zu
"""


@lru_cache(maxsize=4)
def vocabulary(seed: int) -> tuple[str, ...]:
    """Return 65,536 words in which each word stands as often as Zipf's law says, so that 16 random bits pick one."""
    rng, syllables = random.Random(f"vocabulary {seed}"), SYLLABLES.split()
    words = sorted({_word(rng, syllables) for _ in range(14000)})
    rng.shuffle(words)
    weights = [1 / (rank + 2.7) ** 1.02 for rank in range(len(words))]
    return tuple(rng.choices(words, weights, k=TABLE))


def _word(rng: random.Random, syllables: list[str]) -> str:
    word = "".join(rng.choices(syllables, k=rng.choice((1, 1, 2, 2, 2, 3, 3, 4))))
    return word.capitalize() if rng.random() < 0.15 else word


def _words(rng: random.Random, table: tuple[str, ...], count: int) -> list[str]:
    return list(map(table.__getitem__, array("H", rng.randbytes(2 * count))))


def text(rng: random.Random, table: tuple[str, ...], size: int) -> bytes:
    """Return about `size` bytes (never fewer) of lines of words."""
    words = _words(rng, table, size // 5 + 12)
    lines = [" ".join(words[start : start + 12]) for start in range(0, len(words), 12)]
    return ("\n".join(lines) + "\n").encode()


def html(rng: random.Random, table: tuple[str, ...], size: int) -> bytes:
    """Return about `size` bytes (never fewer) of the kind of HTML that mail programs write."""
    words = _words(rng, table, size // 8 + 16)
    parts = ['<html><head><meta http-equiv="Content-Type" content="text/html; charset=utf-8"></head><body>']
    for start in range(0, len(words), 16):
        line = " ".join(words[start : start + 16])
        shade = rng.randrange(1 << 24)
        parts.append(f'<p style="margin:0;color:#{shade:06x}"><span class="f{shade % 97}">{line}</span></p>')
    return "\n".join(parts).encode()


def message(seed: int, serial: int, size: int) -> bytes:
    """Return one whole message of exactly `size` bytes (at least about 200), LF line ends as Dovecot stores them."""
    rng = random.Random(seed * (1 << 40) + serial)
    table = vocabulary(seed)
    head = _brief_head(rng, table) if size < BRIEF_BELOW else _head(rng, table)
    room = size - len(head)
    if size > 24000 and rng.random() < 0.9:
        body = _with_attachment(rng, table, room)
    elif size > 4000 and rng.random() < 0.7:
        plain = text(rng, table, min(room // 3, 3000))
        body = plain + b"\n--=_b\nContent-Type: text/html; charset=utf-8\n\n" + html(rng, table, room)
    else:
        body = text(rng, table, room)
    return (head + body)[: size - 1] + b"\n"


def _with_attachment(rng: random.Random, table: tuple[str, ...], room: int) -> bytes:
    plain = text(rng, table, min(room // 6, 6000))
    head = b"\n--=_b\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n"
    return plain + head + base64.encodebytes(rng.randbytes(room * 3 // 4))


def _brief_head(rng: random.Random, table: tuple[str, ...]) -> bytes:
    words = _words(rng, table, 4)
    unique = f"{rng.getrandbits(64):x}@a"
    return f"From: {words[0]}@example.org\nSubject: {words[1]} {words[2]}\nMessage-ID: <{unique}>\n\n".encode()


def _head(rng: random.Random, table: tuple[str, ...]) -> bytes:
    words = _words(rng, table, 12)
    signature = base64.b64encode(rng.randbytes(192)).decode()
    hop = f"{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}"
    return (
        f"Return-Path: <{words[0]}@{words[1]}.example>\n"
        f"Received: from mx{rng.randrange(9)}.{words[1]}.example ([198.{hop}])\n\tby mail1.example.org with ESMTPS id "
        f"{rng.getrandbits(60):X}\n\tfor <{words[2]}@example.org>; Tue, 14 Nov 2023 22:13:20 +0000\n"
        f"DKIM-Signature: v=1; a=rsa-sha256; d={words[1]}.example; s=s{rng.randrange(9)};\n\tb={signature}\n"
        f"From: {words[3]} {words[4]} <{words[0]}@{words[1]}.example>\nTo: {words[2]}@example.org\n"
        f"Subject: {' '.join(words[5:11])}\nMessage-ID: <{rng.getrandbits(96):x}@{words[1]}.example>\n"
        f'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="=_b"\n\n--=_b\nContent-Type: text/plain\n\n'
    ).encode()
