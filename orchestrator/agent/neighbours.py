"""Frames by which hosts on one link agree on who has an address: ARP for IPv4, neighbour discovery for IPv6. Pure.

A *probe* asks whether anybody has an address, and teaches nobody anything (RFC 5227 2.1.1; RFC 4862 5.4.2). An
*announcement* tells everybody who has it now: ARP as request and as reply, since some listen to only one of them; for
IPv6 an unsolicited advertisement with the override flag and the link-layer address (RFC 4861 7.2.6).

Invariant: no frame of our own, whoever sends it back, counts as a claim.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Collection, NamedTuple, Optional, Tuple

ARP, IPV6 = 0x0806, 0x86DD
ANNOUNCE_AFTER = (0.0, 1.0, 2.0, 5.0, 30.0)
"""Seconds after an address was added, or after the cable came back, at which it is announced: frames get lost."""
CONTESTED = 1.0
QUICK = (0.1, 0.1, 0.1)
"""Seconds of listening after each of three probes, where the old holder's removal is proven."""
PATIENT = (0.35, 0.35, 0.3)
"""The same where it isn't: 1 s."""

_BROADCAST = b"\xff" * 6
_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")  # hardware, protocol, lengths, operation, sender, target
_REQUEST, _REPLY = 1, 2
_ETHER_IP = (1, 0x0800, 6, 4)
_IP6 = struct.Struct("!IHBB16s16s")
_ICMP, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136
_OVERRIDE = 0x20000000
_ALL_NODES = ipaddress.IPv6Address("ff02::1").packed
_NOBODY = bytes(16)


class Claim(NamedTuple):
    """Who has an address, or (`holds` is false) is looking for a double of it just now, in order to take it."""

    mac: str
    holds: bool = True


class Told(NamedTuple):
    """What the link was told of an address: how often since a moment, and how often its carrier had changed by then."""

    since: float
    changes: int
    times: int = 0


def announcing(told: Optional[Told], now: float, changes: int, contested: bool = False) -> Tuple[bool, Told]:
    """Whether a held address is to be announced now, and what has been told if it is. None: it was never announced.

    `now` is of any clock that doesn't jump, `changes` the link's (`netlink.Link`). Once the carrier came back, or a
    bridge port began to forward, the neighbours may have learned something else meanwhile: all begins anew. While an
    address is `contested`, since another kernel answers for it as well, it is told every CONTESTED seconds.
    """
    if told is None or told.changes != changes:
        told = Told(now, changes)
    if contested and told.times:
        late = now - told.since >= CONTESTED
        return late, Told(now, changes, 1) if late else told
    if told.times >= len(ANNOUNCE_AFTER) or now - told.since < ANNOUNCE_AFTER[told.times]:
        return False, told
    return True, told._replace(times=told.times + 1)


def shown(mac: bytes) -> str:
    """As in 02:00:0a:14:00:0b."""
    return ":".join(f"{byte:02x}" for byte in mac)


def protocol(address: str) -> int:
    """The kind of frame that is spoken about an address."""
    return IPV6 if ":" in address else ARP


def probe(mac: bytes, address: str) -> bytes:
    """Does anybody have this address? Asked without having one."""
    packed = ipaddress.ip_address(address).packed
    if protocol(address) == ARP:
        return _arp(mac, _REQUEST, bytes(4), bytes(6), packed)
    to = _solicited(packed)
    body = struct.pack("!I16s", 0, packed)
    return _icmp(mac, _SOLICITATION, _NOBODY, to, body)


def announcements(mac: bytes, address: str) -> Tuple[bytes, ...]:
    """The frames that tell everybody on the link that this address is here."""
    packed = ipaddress.ip_address(address).packed
    if protocol(address) == ARP:
        # Linux takes a reply for an announcement only where the target's hardware is the sender's (net/ipv4/arp.c).
        return _arp(mac, _REQUEST, packed, bytes(6), packed), _arp(mac, _REPLY, packed, mac, packed)
    body = struct.pack("!I16sBB6s", _OVERRIDE, packed, 2, 1, mac)
    return (_icmp(mac, _ADVERTISEMENT, packed, _ALL_NODES, body),)


def group(address: str) -> Optional[bytes]:
    """The link-layer group in which others look for a double of an IPv6 address; None for IPv4, which is broadcast."""
    return None if protocol(address) == ARP else _group(_solicited(ipaddress.ip_address(address).packed))


def claim(frame: bytes, own: Collection[bytes], address: str) -> Optional[Claim]:
    """What a frame says about who else has this address; None where it says nothing. `own` are this host's MACs: Linux
    answers for an address on every link, also on a second one to the same switch.
    """
    packed = ipaddress.ip_address(address).packed
    if len(frame) < _ETHERNET.size:
        return None
    _, source, kind = _ETHERNET.unpack_from(frame)
    if kind != protocol(address):
        return None
    found = (_claim_by_arp if kind == ARP else _claim_by_icmp)(frame[_ETHERNET.size :], source, packed)
    return None if found is None or source in own or found.mac in map(shown, own) else found


def _claim_by_arp(body: bytes, _: bytes, packed: bytes) -> Optional[Claim]:
    """RFC 5227 2.1.1: whoever speaks by the address, and whoever else probes for it."""
    if len(body) < _ARP.size:
        return None
    hardware, kind, hardware_size, size, operation, mac, sender, _mac, target = _ARP.unpack_from(body)
    if (hardware, kind, hardware_size, size) != _ETHER_IP:
        return None
    if sender == packed:
        return Claim(shown(mac))
    if operation == _REQUEST and sender == bytes(4) and target == packed:
        return Claim(shown(mac), holds=False)
    return None


def _claim_by_icmp(body: bytes, source: bytes, packed: bytes) -> Optional[Claim]:
    """RFC 4862 5.4.3 and 5.4.4; 255 hops say that it comes from this link (RFC 4861 7.1)."""
    if len(body) < _IP6.size + 24:
        return None
    _, _, following, hops, sender, _ = _IP6.unpack_from(body)
    kind, code, _, _, target = struct.unpack_from("!BBHI16s", body, _IP6.size)
    if (following, hops, code, target) != (_ICMP, 255, 0, packed):
        return None
    if kind == _ADVERTISEMENT:
        told = body[_IP6.size + 24 : _IP6.size + 32]
        return Claim(shown(told[2:] if len(told) == 8 and told[:2] == b"\x02\x01" else source))
    if kind == _SOLICITATION and sender == _NOBODY:
        return Claim(shown(source), holds=False)
    return None


def _arp(mac: bytes, operation: int, sender: bytes, target_mac: bytes, target: bytes) -> bytes:
    return _ETHERNET.pack(_BROADCAST, mac, ARP) + _ARP.pack(*_ETHER_IP, operation, mac, sender, target_mac, target)


def _solicited(packed: bytes) -> bytes:
    """The solicited-node group of an address (RFC 4291 2.7.1)."""
    return ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13] + packed[13:]


def _group(address: bytes) -> bytes:
    return b"\x33\x33" + address[12:]


def _icmp(mac: bytes, kind: int, source: bytes, to: bytes, body: bytes) -> bytes:
    message = struct.pack("!BBH", kind, 0, 0) + body
    summed = checksum(source + to + struct.pack("!II", len(message), _ICMP) + message)
    message = struct.pack("!BBH", kind, 0, summed) + body
    head = _IP6.pack(6 << 28, len(message), _ICMP, 255, source, to)
    return _ETHERNET.pack(_group(to), mac, IPV6) + head + message


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
