"""Pinned host keys: what a known_hosts file says of one host. Pure; no network, no paramiko.

Form: sshd(8), section "SSH_KNOWN_HOSTS FILE FORMAT": plain names, `[host]:port`, `*` and `?`,
negation, names hashed with HMAC-SHA1. `@revoked` keys are never accepted. `@cert-authority`
lines are passed over: a host certificate isn't a pin.

Invariant: a key is pinned only by a line that names the host and carries exactly that key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

DEFAULT_PORT = 22


class Key(NamedTuple):
    """A public key: its type as SSH names it, and its wire form (RFC 4253, 6.6)."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


@dataclass(frozen=True)
class Pins:
    """What the file says of one host."""

    keys: tuple[Key, ...] = ()
    revoked: tuple[Key, ...] = ()

    def accept(self, key: Key) -> bool:
        return key in self.keys and key not in self.revoked

    @property
    def kinds(self) -> tuple[str, ...]:
        """The key types that are pinned, in the file's order: the server is asked for one of these."""
        return tuple(dict.fromkeys(key.kind for key in self.keys))


def file_name(address: str, port: int) -> str:
    """The name under which OpenSSH files a host's key."""
    return address if port == DEFAULT_PORT else f"[{address}]:{port}"


def pins(lines: Iterable[str], names: Iterable[str]) -> Pins:
    """The keys that `lines` of a known_hosts file give to the first of `names` that has any.

    A line that can't be read is passed over, as OpenSSH does: it pins nothing.
    """
    entries = list(_entries(lines))
    for name in names:
        mine = [(marker, key) for marker, patterns, key in entries if _names(patterns, name)]
        kept = tuple(key for marker, key in mine if not marker)
        if kept:
            return Pins(kept, tuple(key for marker, key in mine if marker == "@revoked"))
    return Pins()


def _entries(lines: Iterable[str]) -> Iterator[tuple[str, str, Key]]:
    for line in lines:
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        if len(fields) < 3:
            continue
        try:
            yield marker, fields[0], Key(fields[1], base64.b64decode(fields[2], validate=True))
        except ValueError:
            continue


def _names(patterns: str, name: str) -> bool:
    """Whether the first field of a line means this host."""
    if patterns.startswith("|1|"):
        return _hashed(patterns, name)
    wanted, found = name.lower(), False
    for pattern in patterns.lower().split(","):
        if pattern.startswith("!") and _matches(pattern[1:], wanted):
            return False
        found = found or _matches(pattern, wanted)
    return found


def _matches(pattern: str, name: str) -> bool:
    # fnmatch would read [host]:port as a set of characters; OpenSSH knows only * and ?.
    return fnmatchcase(name, pattern.replace("[", "[[]"))


def _hashed(field: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in field[3:].split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)
