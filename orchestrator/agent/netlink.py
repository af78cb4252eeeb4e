"""The kernel's table of links and addresses, read and changed by rtnetlink(7): no program is started for it.

Every answer is whole: a dump that the kernel calls interrupted is asked for again. What is refused is an OSError with
the kernel's own number.

Invariant: `add`, `remove` and `set_promotes` change the one thing that they are told, and wait for the kernel's word
on it. Whether that is wise is for `address` to say. Numbers are of linux/rtnetlink.h, if_addr.h, if_link.h, ip.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Dict, FrozenSet, Iterator, List, NamedTuple, Tuple

SECONDS = 2.0
"""For one exchange with the kernel, which answers within the call."""
FOREVER = 0xFFFFFFFF

_GETLINK, _SETLINK, _NEWADDR, _DELADDR, _GETADDR = 18, 19, 20, 21, 22
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _INTERRUPTED, _EXCL, _CREATE = 0x1, 0x4, 0x300, 0x10, 0x200, 0x400
_HEAD = struct.Struct("=IHHII")  # length, kind, flags, number, port
_ATTRIBUTE = struct.Struct("=HH")
_IFINFO = struct.Struct("=BxHiII")  # family, hardware, index, flags, change
_IFADDR = struct.Struct("=BBBBI")  # family, prefix, flags, scope, index
_IFLA_ADDRESS, _IFLA_AF_SPEC, _IFLA_EXT_MASK, _IFLA_CARRIER_CHANGES = 1, 26, 29, 35
_IFA_ADDRESS, _IFA_LOCAL, _IFA_CACHEINFO, _IFA_FLAGS = 1, 2, 6, 8
_INET_CONF, _PROMOTE_SECONDARIES = 1, 20
_SKIP_STATISTICS = 8
_UP, _LOWER_UP = 0x1, 0x10000
_ETHERNET = 1
SECONDARY, NODAD, DADFAILED, DEPRECATED, TENTATIVE, PERMANENT = 0x01, 0x02, 0x08, 0x20, 0x40, 0x80
_WORDS = {
    SECONDARY: "secondary",
    NODAD: "nodad",
    DADFAILED: "dadfailed",
    DEPRECATED: "deprecated",
    TENTATIVE: "tentative",
    PERMANENT: "permanent",
}


class Link(NamedTuple):
    """A network interface. `changes` counts the times that its carrier came or went."""

    number: int
    name: str
    mac: bytes
    ethernet: bool
    up: bool  # as an operator set it
    carrier: bool
    changes: int
    promotes: bool  # the kernel keeps secondary addresses when their primary goes (promote_secondaries)


class Standing(NamedTuple):
    """An address as the kernel has it. `flags` are its IFA_F_ bits."""

    address: str
    prefix: int
    interface: str
    number: int
    flags: int

    @property
    def usable(self) -> bool:
        """Whether the kernel answers by it: not while it is still looking for a double, or found one (IPv6)."""
        return not self.flags & (TENTATIVE | DADFAILED)

    @property
    def words(self) -> List[str]:
        """Its flags, as ip(8) names them."""
        return [word for bit, word in _WORDS.items() if self.flags & bit]


def link(name: str) -> Link:
    """An interface by name. Raises OSError, ENODEV where there is none."""
    try:
        index = socket.if_nametoindex(name)
    except OSError as error:  # it has no number of its own
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from error
    asked = _IFINFO.pack(socket.AF_UNSPEC, 0, index, 0, 0) + _attribute(
        _IFLA_EXT_MASK, struct.pack("=I", _SKIP_STATISTICS)
    )
    [body] = _ask(_GETLINK, 0, asked)
    _, hardware, index, flags, _ = _IFINFO.unpack_from(body)
    found = dict(_attributes(body[_IFINFO.size :]))
    [changes] = struct.unpack("=I", found.get(_IFLA_CARRIER_CHANGES, bytes(4)))
    return Link(
        index, name, found.get(_IFLA_ADDRESS, b""), hardware == _ETHERNET, bool(flags & _UP), bool(flags & _LOWER_UP),
        changes, _promotes(found.get(_IFLA_AF_SPEC, b"")),
    )  # fmt: skip


def macs() -> FrozenSet[bytes]:
    """The link-layer addresses of all interfaces. Raises OSError."""
    asked = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    asked += _attribute(_IFLA_EXT_MASK, struct.pack("=I", _SKIP_STATISTICS))
    found = (dict(_attributes(body[_IFINFO.size :])) for body in _ask(_GETLINK, _DUMP, asked))
    return frozenset(known[_IFLA_ADDRESS] for known in found if _IFLA_ADDRESS in known)


def addresses() -> List[Standing]:
    """All addresses of this host's network namespace. Raises OSError."""
    found = []
    for body in _ask(_GETADDR, _DUMP, _IFADDR.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        family, prefix, flags, _, index = _IFADDR.unpack_from(body)
        known = dict(_attributes(body[_IFADDR.size :]))
        packed = known.get(_IFA_LOCAL) or known.get(_IFA_ADDRESS)
        if family not in (socket.AF_INET, socket.AF_INET6) or packed is None:
            continue
        if _IFA_FLAGS in known:
            [flags] = struct.unpack("=I", known[_IFA_FLAGS])
        found.append(Standing(socket.inet_ntop(family, packed), prefix, _name(index), index, flags))
    return found


def add(address: str, prefix: int, index: int) -> None:
    """Add an address, IPv6 without the kernel's own look for a double, and never chosen as a source by itself
    (preferred lifetime 0, RFC 4862 5.5.4). Raises OSError, EEXIST where it stands already.
    """
    more = b""
    if _family(address) == socket.AF_INET6:
        more = _attribute(_IFA_FLAGS, struct.pack("=I", NODAD))
        more += _attribute(_IFA_CACHEINFO, struct.pack("=4I", 0, FOREVER, 0, 0))
    _ask(_NEWADDR, _CREATE | _EXCL | _ACK, _address(address, prefix, index) + more)


def remove(standing: Standing) -> None:
    """Remove just this. Raises OSError, EADDRNOTAVAIL where it is gone."""
    _ask(_DELADDR, _ACK, _address(standing.address, standing.prefix, standing.number))


def set_promotes(index: int, value: bool) -> None:
    """Whether this interface keeps secondary addresses when their primary goes. Raises OSError."""
    word = _attribute(_PROMOTE_SECONDARIES, struct.pack("=I", int(value)))
    nested = _attribute(_IFLA_AF_SPEC, _attribute(socket.AF_INET, _attribute(_INET_CONF, word)))
    _ask(_SETLINK, _ACK, _IFINFO.pack(socket.AF_UNSPEC, 0, index, 0, 0) + nested)


def may_change() -> bool:
    """Whether this process may change addresses, tried by a change that can't apply: the kernel looks at the right
    first, and at the address, which is missing, after it. Raises OSError.
    """
    try:
        _ask(_NEWADDR, _ACK, _IFADDR.pack(socket.AF_INET, 32, 0, 0, 0))
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENODEV):
            return True
        if error.errno not in (errno.EPERM, errno.EACCES):
            raise
    return False


# ---- messages ----------------------------------------------------------------------------------------------------


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _address(address: str, prefix: int, index: int) -> bytes:
    family = _family(address)
    packed = socket.inet_pton(family, address)
    return _IFADDR.pack(family, prefix, 0, 0, index) + _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)


def _name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:  # it went between the two questions
        return f"interface {index}, which is gone"


def _promotes(spec: bytes) -> bool:
    conf: Dict[int, bytes] = dict(_attributes(dict(_attributes(spec)).get(socket.AF_INET, b"")))
    values = conf.get(_INET_CONF, b"")
    at = (_PROMOTE_SECONDARIES - 1) * 4
    return len(values) >= at + 4 and struct.unpack_from("=I", values, at)[0] != 0


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _attribute(kind: int, value: bytes) -> bytes:
    return _padded(_ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value)


def _attributes(data: bytes) -> Iterator[Tuple[int, bytes]]:
    """(kind, value) of each; ends at what can't be one."""
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            return
        yield kind & 0x3FFF, data[_ATTRIBUTE.size : length]
        data = data[length + (-length % 4) :]


def _ask(kind: int, flags: int, body: bytes) -> List[bytes]:
    """The bodies of the kernel's answer. Raises OSError."""
    for _ in range(20):
        answer, whole = _exchange(kind, flags, body)
        if whole:
            return answer
    raise OSError(errno.EBUSY, "the kernel's table of addresses doesn't hold still")


def _exchange(kind: int, flags: int, body: bytes) -> Tuple[List[bytes], bool]:
    """(bodies, whether they are all of one moment)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(SECONDS)
        kernel.bind((0, 0))
        kernel.send(_HEAD.pack(_HEAD.size + len(body), kind, flags | _REQUEST, 1, 0) + body)
        found: List[bytes] = []
        whole = True
        while True:
            for said, marks, answer in _messages(kernel.recv(1 << 18)):
                whole = whole and not marks & _INTERRUPTED
                if said == _ERROR:
                    [code] = struct.unpack_from("=i", answer)
                    if code:
                        raise OSError(-code, os.strerror(-code))
                    return found, whole
                if said == _DONE:
                    return found, whole
                found.append(answer)
                if not flags & (_DUMP | _ACK):
                    return found, whole


def _messages(data: bytes) -> Iterator[Tuple[int, int, bytes]]:
    """(kind, flags, body) of each."""
    while len(data) >= _HEAD.size:
        length, kind, flags, _, _ = _HEAD.unpack_from(data)
        if length < _HEAD.size:
            return
        yield kind, flags, data[_HEAD.size : length]
        data = data[length + (-length % 4) :]
