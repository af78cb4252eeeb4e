"""What guards say to one another: one datagram a message, JSON behind an HMAC. Pure.

    b"MMG1" · HMAC-SHA256 (32 bytes) over what follows · JSON

The key is the pair's; the name of the pair, who speaks and to whom are in what is signed, so that a message of another
pair, or one that was meant for another guard, is none.

Invariant: `parse` returns a message only if its sender had the key; of all else it says nothing but that. A message
fits into a datagram that isn't fragmented. Old messages may be sent again by anybody: who acts on one has to look at
its nonce or to be content with what was true once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, Dict, NamedTuple, Tuple

MAGIC = b"MMG1"
LONGEST = 1400
ASK, GRANT, DENY, HELLO, WELL = KINDS = ("ask", "grant", "deny", "hello", "well")
"""A request for a grant, a grant, none (with the reason), a greeting, and the answer to it."""


class Unsigned(ValueError):
    """Not a message of this pair for this guard."""


class Standing(NamedTuple):
    """What every message tells of its sender's register."""

    epoch: int
    active: str
    tombstone: int
    generation: int


class Message(NamedTuple):
    """`to` and `by` are places. `body` depends on the kind: guard.py reads it."""

    kind: str
    by: str
    to: str
    standing: Standing
    nonce: int
    body: Dict[str, Any]


def sealed(message: Message, pair: str, key: bytes) -> bytes:
    """The datagram. Raises ValueError for one that is too long."""
    words = [pair, message.kind, message.by, message.to, list(message.standing), message.nonce, message.body]
    line = json.dumps(words, separators=(",", ":")).encode()
    if len(line) + 36 > LONGEST:
        raise ValueError(f"a message of {len(line)} bytes doesn't fit into a datagram")
    return MAGIC + hmac.new(key, line, hashlib.sha256).digest() + line


def parse(raw: bytes, pair: str, place: str, key: bytes) -> Message:
    """Raises Unsigned."""
    magic, digest, line = raw[:4], raw[4:36], raw[36:]
    if magic != MAGIC or not hmac.compare_digest(digest, hmac.new(key, line, hashlib.sha256).digest()):
        raise Unsigned("no message that the pair's key has signed")
    try:
        of_pair, kind, by, to, standing, nonce, body = json.loads(line)
        epoch, active, tombstone, generation = standing
        message = Message(
            str(kind), str(by), str(to), Standing(int(epoch), str(active), int(tombstone), int(generation)),
            int(nonce), dict(body),
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise Unsigned(f"signed, and not of this version: {error}") from error
    if (of_pair, message.to) != (pair, place) or message.kind not in KINDS or message.by == place:
        raise Unsigned(f"signed for {of_pair} and {message.to}: {message.kind} by {message.by}")
    return message


def addresses(peers: Dict[str, Any]) -> Dict[str, Tuple[str, int]]:
    """Of the settings' peers: place -> (address, port)."""
    return {place: (str(address), int(port)) for place, (address, port) in peers.items()}
