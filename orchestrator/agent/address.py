"""An address that moves: where it stands, whether it is free, taken up, let go, told to the neighbours.

Each is a request, an act, and the proof of it, read back from the kernel. Nothing here remembers anything, and nothing
needs a conversation: the guard calls `remove` and `held` when its lease is lost, at boot and at its stop. They take a
few milliseconds; `add` and `probe` listen to the link for 0.3 s or 1 s.

Invariant: an address is added only where its link had a carrier all the while and nobody else claimed it; no other
address is ever removed, also where the kernel would remove the secondary ones of a network with their primary. Whether
this place may have the address isn't known here.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import time
from contextlib import ExitStack
from typing import Dict, Generator, Iterator, List, Optional, Sequence, Tuple, TypeVar, Union

from . import neighbours, netlink
from .cable import Cable
from .neighbours import Claim
from .netlink import Link, Standing
from .serve import Fault

T = TypeVar("T")
Waiting = Generator[float, None, T]
"""Yields the seconds to wait before it goes on; returns its answer."""

_OTHER_INTERFACE = "Correct `interface` in mm_vip, or take the address off that interface."
_RIGHTS = "It needs CAP_NET_ADMIN and CAP_NET_RAW: run the agent as root."


def held(address: str = "", interface: str = "") -> List[Standing]:
    """Where an address stands on this host, with its flags; without one, all. Only `usable` ones answer. Raises Fault.

    One that stands on another interface than is asked for isn't in the answer: ask without an interface for all.
    """
    wanted = _plain(address) if address else ""
    with _told("see addresses", interface):
        found = netlink.addresses()
    return [each for each in found if each.address == (wanted or each.address) and interface in ("", each.interface)]


def link(interface: str) -> Link:
    """The interface. Raises Fault where there is none."""
    with _told("see", interface):
        return netlink.link(interface)


def ready(interface: str) -> Link:
    """The interface, which is up, has a carrier and carries Ethernet. Raises Fault."""
    found = link(interface)
    if not found.ethernet:
        raise Fault("not-ethernet", f"{interface} isn't an Ethernet link", "Name the link that clients come by.")
    if not found.up:
        raise Fault("down", f"{interface} is down", f"Bring it up: ip link set {interface} up.")
    if not found.carrier:
        raise Fault("no-carrier", f"{interface} has no carrier", "See to the cable and to the switch's port.")
    return found


def rights(interface: str) -> Tuple[bool, bool]:
    """Whether this process may (change addresses, send frames on the link); tried, nothing is changed. Raises Fault."""
    found = link(interface)
    with _told("try", interface):
        may = netlink.may_change()
    try:
        Cable(found, "0.0.0.0").__exit__(None, None, None)
    except PermissionError:
        return may, False
    except OSError as error:
        if error.errno != errno.ENETDOWN:
            raise _fault("open", interface, error) from error
    return may, True


def probe(address: str, interface: str, quick: bool = False) -> Optional[Claim]:
    """Who else has the address on this link: None when nobody answered three probes in 0.3 s (`quick`) or 1 s.

    Raises Fault where that wouldn't be a proof: no carrier, one that came or went meanwhile, frames that were lost.
    """
    [claim] = driven(probing([address], interface, quick)).values()
    return claim


def add(address: str, interface: str, quick: bool = False, despite: Sequence[str] = ()) -> bool:
    """Take up ADDRESS/PREFIX, and announce it once; False when it stood here already. Raises Fault; then nothing new
    stands. The caller announces again, see `neighbours.announcing`.

    A claim of a MAC in `despite` doesn't count: that of a host which is proven shut, but whose kernel still answers.
    """
    return bool(driven(adding([address], interface, quick, despite)))


def remove(address: str, interface: str) -> bool:
    """Let an address go (a prefix behind it doesn't matter); False when it didn't stand. Proven by reading back that
    it stands nowhere on this host. Raises Fault where it does.
    """
    here = held(address, interface)
    for each in here:
        _drop(each)
    left = held(address)
    if left:
        where = ", ".join(sorted({each.interface for each in left}))
        raise Fault("still-held", f"{left[0].address} stands on {where}, not let go", _OTHER_INTERFACE)
    return bool(here)


def announce(address: str, interface: str) -> None:
    """Tell the link that the address is here. Raises Fault, not-held where it isn't."""
    found = ready(interface)
    if not any(each.usable for each in held(address, interface)):
        raise Fault("not-held", f"{_plain(address)} doesn't stand on {interface}", "Only its holder announces it.")
    _announce(found, _plain(address))


def driven(work: Waiting[T]) -> T:
    """The answer, waited for here."""
    while True:
        try:
            time.sleep(next(work))
        except StopIteration as end:
            answer: T = end.value
            return answer


# ---- pieces ------------------------------------------------------------------------------------------------------


def probing(
    addresses: List[str], interface: str, quick: bool, despite: Sequence[str] = ()
) -> Waiting[Dict[str, Optional[Claim]]]:
    """As `probe`, of several at once; between the waits the caller may do something else."""
    found = ready(interface)
    claims: Dict[str, Optional[Claim]] = dict.fromkeys(map(_plain, addresses))
    with _told("ask on", interface), ExitStack() as stack:
        cables = {address: stack.enter_context(Cable(found, address)) for address in claims}
        for wait in neighbours.QUICK if quick else neighbours.PATIENT:
            for address, cable in cables.items():
                cable.send(neighbours.probe(found.mac, address))
            yield wait
            for address, cable in cables.items():
                claims[address] = claims[address] or cable.heard(despite)
            if all(claims.values()):
                break
        if any(cable.dropped() for cable in cables.values()) and not all(claims.values()):
            raise Fault("overrun", f"{interface} brought more frames than could be heard", "Try again.")
    _unbroken(found)
    return claims


def adding(addresses: List[str], interface: str, quick: bool, despite: Sequence[str] = ()) -> Waiting[List[str]]:
    """As `add`, all of them or none; those that didn't stand here before."""
    wanted = [_interface_address(address) for address in addresses]
    found = ready(interface)
    new = [each for each in wanted if not _stands_here(str(each.ip), interface)]
    for address, claim in (yield from probing(addresses, interface, quick, despite)).items():
        if claim is not None:
            raise _taken(address, interface, claim)
    with ExitStack() as undo:
        for each in new:
            undo.callback(remove, str(each.ip), interface)
            _add(str(each.ip), each.network.prefixlen, found)
        _unbroken(found)
        for each in wanted:
            if not any(standing.usable for standing in held(str(each.ip), interface)):
                raise Fault("not-proven", f"{each} was added to {interface} and doesn't stand", "See `ip address`.")
        for each in wanted:
            _announce(found, str(each.ip))
        _unbroken(found)
        undo.pop_all()
    return [str(each) for each in new]


def _stands_here(address: str, interface: str) -> bool:
    """Whether it stands here, usable; what the kernel gave up on is taken off. Raises Fault for another interface."""
    standing = held(address)
    elsewhere = [each.interface for each in standing if each.interface != interface]
    if elsewhere:
        raise Fault("elsewhere", f"{address} stands on {elsewhere[0]}, not {interface}", _OTHER_INTERFACE)
    for each in standing:
        if not each.usable:
            _drop(each)
    return any(each.usable for each in standing)


def _taken(address: str, interface: str, claim: Claim) -> Fault:
    if not claim.holds:
        message = f"{claim.mac} is about to take {address} on {interface} as well"
        return Fault("taken", message, "Find out which host that is; two would serve.")
    return Fault(
        "taken",
        f"{address} is taken on {interface}: {claim.mac} answers for it",
        "Whoever has it hasn't let go: see `mailmirror vip show`. Nothing was changed.",
    )


def _add(address: str, prefix: int, found: Link) -> None:
    with _told("add to", found.name):
        try:
            netlink.add(address, prefix, found.number)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            # Another call of ours was as quick; the proof is in the reading back.


def _drop(standing: Standing) -> None:
    with _told("remove from", standing.interface), _keeping_others(standing):
        try:
            netlink.remove(standing)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV):
                raise
            # It went meanwhile; the proof is in the reading back.


@contextlib.contextmanager
def _keeping_others(standing: Standing) -> Iterator[None]:
    """The kernel takes the secondary addresses of a network away with its primary, and with the last address every
    route, unless the interface promotes them.
    """
    beside = [
        each
        for each in netlink.addresses()
        if each.number == standing.number and each.flags & netlink.SECONDARY and _network(each) == _network(standing)
    ]
    if ":" in standing.address or not beside or netlink.link(standing.interface).promotes:
        yield
        return
    netlink.set_promotes(standing.number, True)
    try:
        yield
    finally:
        netlink.set_promotes(standing.number, False)


def _network(standing: Standing) -> Union[ipaddress.IPv4Network, ipaddress.IPv6Network]:
    return ipaddress.ip_interface(f"{standing.address}/{standing.prefix}").network


def _unbroken(before: Link) -> None:
    """The carrier was there all the while. Raises Fault."""
    now = ready(before.name)
    if (now.number, now.changes) != (before.number, before.changes):
        raise Fault("flapped", f"the carrier of {before.name} went and came meanwhile", "Wait until it holds still.")


def _announce(found: Link, address: str) -> None:
    with _told("announce on", found.name), Cable(found, address) as cable:
        for frame in neighbours.announcements(found.mac, address):
            cable.send(frame)


def _plain(address: str) -> str:
    """As the kernel writes it, without a prefix."""
    return str(_interface_address(address).ip)


def _interface_address(address: str) -> Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]:
    try:
        return ipaddress.ip_interface(address)
    except ValueError as error:
        raise Fault("bad-request", f"no address: {address!r:.60}", "Write it as 192.0.2.10/24.") from error


@contextlib.contextmanager
def _told(act: str, interface: str) -> Iterator[None]:
    """What the kernel refuses, as a Fault with a remedy."""
    try:
        yield
    except OSError as error:
        raise _fault(act, interface, error) from error


def _fault(act: str, interface: str, error: OSError) -> Fault:
    if error.errno in (errno.ENODEV, errno.ENXIO):
        return Fault("no-interface", f"this host has no interface {interface!r:.40}", "Correct `interface` in mm_vip.")
    if error.errno in (errno.ENETDOWN, errno.ENETUNREACH):
        return Fault("down", f"{interface} is down", f"Bring it up: ip link set {interface} up.")
    if error.errno == errno.EACCES:
        remedy = f"Is IPv6 switched off there? See /proc/sys/net/ipv6/conf/{interface}/disable_ipv6."
        return Fault("not-allowed-there", f"the kernel doesn't let this {act} {interface}: {error}", remedy)
    if error.errno == errno.EPERM:
        return Fault("not-permitted", f"this agent may not {act} {interface}: {error}", _RIGHTS)
    return Fault("os", f"can't {act} {interface}: {error}", "See the kernel's log there.")
