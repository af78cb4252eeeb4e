"""Names as an outside client learns them: MX and A, asked of the site's name server each time they are needed.

Invariant: an answer is believed for its own time to live and no longer, so a client goes where the zone says. A site
without a name server has the addresses of site.json for ever. No caching resolver stands between: what those add is
the world's business, not the site's.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from tests.lab.oracle.site import Exchange, Site

A, MX = 1, 15
SECONDS = 1.0
_HEADER = struct.Struct(">6H")


class NoName(Exception):
    """The name server didn't answer, or answered that there is none."""


class Found(NamedTuple):
    """One record: `value` is an address, or a host; `preference` 0 but for MX."""

    value: str
    preference: int
    ttl: int


def question(number: int, name: str, kind: int) -> bytes:
    """A DNS query over UDP (RFC 1035 4)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split("."))
    return _HEADER.pack(number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", kind, 1)


def answers(packet: bytes, number: int, kind: int) -> list[Found]:
    """The records of this kind. Raises NoName, also for a packet that can't be read."""
    try:
        return _answers(packet, number, kind)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise NoName(f"an answer that is no DNS: {error}") from error


def _answers(packet: bytes, number: int, kind: int) -> list[Found]:
    got, flags, questions, count, _, _ = _HEADER.unpack_from(packet)
    if got != number or not flags & 0x8000:
        raise NoName("an answer to another question")
    if flags & 0xF:
        raise NoName(f"the name server answered with rcode {flags & 0xF}")
    place = _HEADER.size
    for _ in range(questions):
        place = _name(packet, place)[1] + 4
    found = []
    for _ in range(count):
        place = _name(packet, place)[1]
        got_kind, _, ttl, length = struct.unpack_from(">HHIH", packet, place)
        place += 10
        if got_kind == kind == A:
            found.append(Found(socket.inet_ntoa(packet[place : place + 4]), 0, ttl))
        elif got_kind == kind == MX:
            (preference,) = struct.unpack_from(">H", packet, place)
            found.append(Found(_name(packet, place + 2)[0], preference, ttl))
        place += length
    return found


def _name(packet: bytes, place: int) -> tuple[str, int]:
    """A name, compressed or not, and where the next field begins."""
    labels: list[str] = []
    after = 0
    for _ in range(128):
        length = packet[place]
        if length >= 0xC0:
            after = after or place + 2
            place = (length & 0x3F) << 8 | packet[place + 1]
        elif length:
            labels.append(packet[place + 1 : place + 1 + length].decode("ascii"))
            place += 1 + length
        else:
            return ".".join(labels), after or place + 1
    raise NoName("a name that points at itself")


class Resolver:
    """Any thread may ask."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int], tuple[float, list[Found]]] = {}

    def service(self) -> str:
        """The address where users go now. Raises NoName."""
        if not self._site.nameserver:
            return self._site.service_address
        return self._ask(self._site.service_name, A)[0].value

    def exchanges(self) -> Sequence[Exchange]:
        """The mail exchangers now, unordered; one whose host has no address is left out. Raises NoName."""
        if not self._site.nameserver:
            return self._site.exchanges
        found = []
        for record in self._ask(self._site.domain, MX):
            try:
                addresses = self._ask(record.value, A)
            except NoName:
                continue
            found += [Exchange(record.preference, record.value, address.value) for address in addresses]
        return found

    def _ask(self, name: str, kind: int) -> list[Found]:
        now = time.monotonic()
        with self._lock:
            until, found = self._known.get((name, kind), (0.0, []))
        if now >= until:
            found = query(self._site.nameserver, name, kind)
            with self._lock:
                self._known[name, kind] = (now + min(record.ttl for record in found), found)
        return found


def query(server: str, name: str, kind: int, port: int = 53) -> list[Found]:
    """At least one record, in the server's order. Raises NoName after two tries of a second."""
    number = random.SystemRandom().randrange(1 << 16)
    last: Exception = NoName("not asked")
    for _ in range(2):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(SECONDS)
            try:
                udp.connect((server, port))
                udp.send(question(number, name, kind))
                found = answers(udp.recv(4096), number, kind)
            except (OSError, NoName) as error:
                last = error
                continue
        if found:
            return found
        last = NoName(f"{name} has no such record")
    raise NoName(f"{name}: {last}") from last
