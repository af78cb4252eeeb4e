"""The links that alerts carry: what was asked of whom, signed, for a day. Pure.

A link is a right by itself: whoever has it may answer, as with a password. It names the question of one pair by a
nonce; that it is answered once only is its reader's matter, which keeps the nonces that were used.

Invariant: nothing is read from a text that this key didn't sign, for this purpose. What is wrong with a link is told
without saying what it holds.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple

from itsdangerous import BadData, URLSafeSerializer

from orchestrator.errors import Refused, UsageError

LASTS = 24 * 3600.0
"""Seconds for which a link can be used."""
SKEW = 60.0
"""Seconds by which the clock may have been put back since."""
LONGEST = 2_000
"""Characters; a longer text isn't one of ours."""


class Link(NamedTuple):
    """`channel`: the one that it was sent by; `made`: seconds since 1970."""

    pair: str
    channel: str
    made: float
    nonce: str


class Seen(NamedTuple):
    """What a page showed when its buttons were drawn: the question, and what could be lost by its answer."""

    nonce: str
    loss: str


def fresh(pair: str, channel: str, now: float) -> Link:
    """A link that nobody has."""
    return Link(pair, channel, now, secrets.token_hex(8))


def signed(key: bytes, link: Link) -> str:
    """As text for the path of a URL (RFC 3986, unreserved characters only)."""
    return _signer(key, "link").dumps(list(link))


def read(key: bytes, text: str, now: float) -> Link:
    """Raises UsageError for what isn't one of ours, Refused for one that is too old."""
    try:
        pair, channel, made, nonce = _read(key, text, "link")
        link = Link(str(pair), str(channel), float(made), str(nonce))
    except (ValueError, TypeError, BadData) as error:
        raise UsageError("This is no link of ours.", remedy="Take it whole from the alert.") from error
    if not -SKEW <= now - link.made <= LASTS:
        raise Refused("This link is older than a day.", remedy="Use the newest alert's, or `mailmirror failover`.")
    return link


def signed_form(key: bytes, seen: Seen) -> str:
    return _signer(key, "form").dumps(list(seen))


def read_form(key: bytes, text: str) -> Seen:
    """Raises UsageError for what no page of ours had."""
    try:
        nonce, loss = _read(key, text, "form")
        return Seen(str(nonce), str(loss))
    except (ValueError, TypeError, BadData) as error:
        raise UsageError("This answer came from no page of ours.", remedy="Open the link again, and answer.") from error


def _signer(key: bytes, purpose: str) -> URLSafeSerializer:
    return URLSafeSerializer(
        key, salt=f"mailmirror {purpose}", signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
    )


def _read(key: bytes, text: str, purpose: str) -> list[str | int | float]:
    if len(text) > LONGEST:
        raise ValueError("too long")
    told = _signer(key, purpose).loads(text)
    if not isinstance(told, list):
        raise TypeError("not a list")
    return told
