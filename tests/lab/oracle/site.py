"""What the outside client knows of a site: where its doors are, who lives there, and whose certificate to believe.

Invariant: it is read once and never changes; nothing in it tells the client which place is active. That is what the
client finds out. It looks up no name (`resolver` does) and opens no file but its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PORTS = {"smtp": 25, "submission": 587, "imap": 143, "imaps": 993, "pop3": 110, "sieve": 4190, "lmtp": 24}


@dataclass(frozen=True)
class User:
    address: str
    password: str


@dataclass(frozen=True)
class Exchange:
    """One mail exchanger; `address` is what to dial where no name server is named."""

    preference: int
    host: str
    address: str


@dataclass(frozen=True)
class Place:
    """A mail host, and the end of its cable in the lab's own namespace: what enters there, this place has said."""

    name: str
    address: str
    veth: str


@dataclass(frozen=True)
class Site:
    """`nameserver` is an address, or empty for a site without names; `ca` a file, or empty where nothing is checked.
    `ports` holds what differs from `PORTS`; LMTP is asked only where it is named there.
    """

    domain: str
    exchanges: tuple[Exchange, ...]
    service_name: str
    service_address: str
    users: tuple[User, ...]
    places: tuple[Place, ...] = ()
    ca: str = ""
    nameserver: str = ""
    ports: tuple[tuple[str, int], ...] = ()

    def port(self, protocol: str) -> int:
        """The port of a protocol of `PORTS`. Raises KeyError."""
        return dict(self.ports).get(protocol) or PORTS[protocol]

    def speaks(self, protocol: str) -> bool:
        """Whether the site names a port for it."""
        return bool(dict(self.ports).get(protocol))


class BadSite(ValueError):
    """site.json lacks something; the message names the key."""


def parse(text: str) -> Site:
    """A site from the JSON that the lab writes. Raises BadSite."""
    try:
        raw = json.loads(text)
        return Site(
            domain=raw["domain"],
            exchanges=tuple(Exchange(int(mx["preference"]), mx["host"], mx["address"]) for mx in raw["mx"]),
            service_name=raw["service"]["name"],
            service_address=raw["service"]["address"],
            users=tuple(User(user["address"], user["password"]) for user in raw["users"]),
            places=tuple(_place(name, place) for name, place in sorted(raw.get("places", {}).items())),
            ca=raw.get("ca") or "",
            nameserver=raw.get("nameserver") or "",
            ports=tuple(sorted((name, int(port)) for name, port in raw.get("ports", {}).items())),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadSite(
            f"site.json: {type(error).__name__} {error}; its keys stand in tests/lab/oracle/site.py"
        ) from error


def _place(name: str, raw: dict[str, Any]) -> Place:
    return Place(name, raw["address"], raw.get("veth") or "")


def load(path: str | Path) -> Site:
    """Raises BadSite, or OSError when there is no such file."""
    return parse(Path(path).read_text(encoding="utf-8"))
