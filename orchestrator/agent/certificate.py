"""When a certificate ends, read from its DER form. Pure.

The standard library tells it of verified certificates only, and one that has run out, or that a company made itself, is
never verified: the very ones to be told of. Source: RFC 5280 sections 4.1 and 4.1.2.5, X.690 section 8.1.

Invariant: whatever the bytes are, it answers or raises ValueError.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Tuple

SEQUENCE, UTC_TIME, GENERALIZED_TIME, VERSION = 0x30, 0x17, 0x18, 0xA0
_FORMS = {UTC_TIME: "%y%m%d%H%M%SZ", GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}


def not_after(der: bytes) -> float:
    """The end of its validity in seconds since 1970. Raises ValueError for what isn't an X.509 certificate."""
    certificate, _ = _value(der, SEQUENCE)
    rest, _ = _value(certificate, SEQUENCE)  # tbsCertificate
    if rest[:1] == bytes([VERSION]):
        _, rest = _value(rest, VERSION)
    for _ in range(3):  # serialNumber, signature, issuer
        _, _, rest = _element(rest)
    validity, _ = _value(rest, SEQUENCE)
    _, _, rest = _element(validity)  # notBefore
    tag, value, _ = _element(rest)
    if tag not in _FORMS:
        raise ValueError(f"its end is of type {tag:#x}, not a time")
    return datetime.strptime(value.decode("ascii"), _FORMS[tag]).replace(tzinfo=timezone.utc).timestamp()


def _value(data: bytes, expected: int) -> Tuple[bytes, bytes]:
    tag, value, rest = _element(data)
    if tag != expected:
        raise ValueError(f"type {tag:#x} stands where {expected:#x} should")
    return value, rest


def _element(data: bytes) -> Tuple[int, bytes, bytes]:
    """(tag, value, what follows) of the first element."""
    if len(data) < 2:
        raise ValueError("it ends early")
    tag, size, start = data[0], data[1], 2
    if size >= 0x80:
        count = size & 0x7F
        size, start = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if start + size > len(data):
        raise ValueError("it ends early")
    return tag, data[start : start + size], data[start + size :]
