"""What the keys must mean together. Pure: pairs in, violations out, all of them.

Invariant: an inventory without violations names, for each pair, one primary and one mirror on different
hosts, and roots that can be mirrored without one reaching into another.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from orchestrator.inventory import windows
from orchestrator.inventory.model import ARCHIVE, MIRROR, PLACES, PRIMARY, WITNESS, Fence, Host, Pair, Smarthost

SOME_DAY = 1_767_225_600.0
"""From when on windows are tried out: 2026-01-01. Any day would do; the same one always gives the same answer."""


@dataclass(frozen=True)
class Violation:
    """A broken law, and the narrowest thing that can be changed: a pair's key, a host, a host's key."""

    pair: str
    what: str
    hint: str
    host: str = ""
    key: str = ""


def check_laws(pairs: Sequence[Pair]) -> list[Violation]:
    """Every violation in these pairs; an empty list for an inventory that can be used."""
    found: list[Violation] = []
    for pair in pairs:
        for law in (
            _places,
            _addresses,
            _moving,
            _stores,
            _local_ends,
            _state,
            _fences,
            _names,
            _looks,
            _windows,
            _alerts,
        ):
            found += law(pair)
    across = (
        _reached(pairs),
        _one_pair_each(pairs),
        _one_holder_each(pairs),
        _one_daemon(pairs),
        _one_outlet_each(pairs),
        _guards_apart(pairs),
    )
    return [*found, *(violation for law in across for violation in law)]


def _places(pair: Pair) -> Iterator[Violation]:
    for place in PLACES:
        names = [host.name for host in pair.hosts.values() if host.place == place]
        if not names and place in (PRIMARY, MIRROR):
            hint = f"give one host mm_place: {place}"
            yield Violation(pair.name, f"no host has mm_place: {place}", hint, key="mm_place")
        for name in names[1:]:
            what = f"{place} is taken by {names[0]}; a pair has one {place}"
            yield Violation(pair.name, what, "give it another place, or another pair", name, "mm_place")
    if pair.lease is not None and pair.witness is None:
        hint = "give one host mm_place: witness, or remove mm_lease"
        yield Violation(pair.name, "a lease takes a witness", hint, key="mm_lease")


def _spot(host: Host) -> tuple[str, int]:
    try:
        return str(ipaddress.ip_address(host.address)), host.port
    except ValueError:
        return host.address.rstrip(".").lower(), host.port


def _addresses(pair: Pair) -> Iterator[Violation]:
    seen: dict[tuple[str, int], str] = {}
    for host in pair.hosts.values():
        first = seen.setdefault(_spot(host), host.name)
        if first != host.name:
            what = f"the same address and port as {first}: {host.address}, port {host.port}"
            hint = "each place of a pair is a host of its own: correct ansible_host or ansible_port"
            yield Violation(pair.name, what, hint, host.name, "ansible_host")


def _moving(pair: Pair) -> Iterator[Violation]:
    """Addresses that move are nobody's own: a host that lost it couldn't be reached any more."""
    own = {_spot(host)[0]: host.name for host in pair.hosts.values()}
    plain = _plain_addresses(pair)
    for at, address in enumerate(plain):
        if address in own:
            what = f"{address} is the address by which {own[address]} is reached; it would move away from it"
            hint = "give the host an address of its own for ansible_host; docs/vip.md tells how"
            yield Violation(pair.name, what, hint, key="mm_vip")
        if address in plain[:at]:
            yield Violation(pair.name, f"{address} is named twice", "name it once", key="mm_vip")
    for host in pair.hosts.values():
        if host.vip_interface is not None and pair.vip is None:
            hint = "say mm_vip with its addresses at the pair, or remove it here"
            yield Violation(pair.name, "an interface for addresses that the pair lacks", hint, host.name, "mm_vip")


def _plain_addresses(pair: Pair) -> list[str]:
    return [str(ipaddress.ip_interface(written).ip) for written in pair.vip.addresses] if pair.vip else []


def _mail_hosts(pair: Pair) -> list[Host]:
    return [host for host in pair.hosts.values() if host.place in (PRIMARY, MIRROR)]


def _inside(inner: str, outer: str) -> bool:
    return PurePosixPath(inner).is_relative_to(outer)


def _stores(pair: Pair) -> Iterator[Violation]:
    if not pair.stores:
        hint = "name the roots that hold the mail, as mm_stores: [/var/vmail]"
        yield Violation(pair.name, "mm_stores is missing", hint, key="mm_stores")
    for host in pair.hosts.values():
        own = host.stores is not pair.stores
        if own and pair.stores and len(host.stores) != len(pair.stores):
            what = f"{_count(host.stores)} here, {_count(pair.stores)} at the pair"
            yield Violation(pair.name, what, "name every root of the pair, in the same order", host.name, "mm_stores")
        if own:
            yield from _nested(pair.name, [store.root for store in host.stores], host.name)
    yield from _nested(pair.name, [store.root for store in pair.stores], "")


def _count(stores: Sequence[object]) -> str:
    return f"{len(stores)} root{'' if len(stores) == 1 else 's'}"


def _nested(pair: str, roots: Sequence[str], host: str) -> Iterator[Violation]:
    for at, root in enumerate(roots):
        for other in roots[:at]:
            if root == other:
                yield Violation(pair, f"{root} is named twice", "name it once", host, "mm_stores")
            elif _inside(root, other) or _inside(other, root):
                inner, outer = (root, other) if _inside(root, other) else (other, root)
                yield Violation(pair, f"{inner} lies inside {outer}", "name the outer one alone", host, "mm_stores")


def _local_ends(pair: Pair) -> Iterator[Violation]:
    local = [host for host in _mail_hosts(pair) if host.local]
    if len(local) == 2 and any(
        _inside(one.root, two.root) or _inside(two.root, one.root) for one in local[0].stores for two in local[1].stores
    ):
        what = f"the same root as {local[0].name}, and both are this host (ansible_connection: local)"
        hint = "give one of them its own mm_stores, or reach it by ssh"
        yield Violation(pair.name, what, hint, local[1].name, "ansible_connection")
    for host in pair.hosts.values():
        if host.forced and host.local:
            hint = "remove mm_forced: no key is used on this host"
            yield Violation(pair.name, "a forced command needs ssh", hint, host.name, "mm_forced")


def _state(pair: Pair) -> Iterator[Violation]:
    roots = [store.root for host in _mail_hosts(pair) if host.local for store in host.stores]
    state = str(pair.state_dir)
    inside = [root for root in dict.fromkeys(roots) if _inside(state, root)]
    if inside:
        what = f"the state directory {state} lies inside the store {inside[0]}"
        yield Violation(pair.name, what, "move it out of the mail", key="mm_state_dir")


def _fences(pair: Pair) -> Iterator[Violation]:
    for host in pair.hosts.values():
        if host.fences and host.place not in (PRIMARY, MIRROR, ""):
            what = f"the {host.place} is never fenced: it serves no mailboxes that are written"
            yield Violation(pair.name, what, "remove mm_fence here", host.name, "mm_fence")
        for fence in host.fences:
            said = fence.exec
            if said and said.says_on == said.says_off:
                what = f"says_on and says_off are the same: {said.says_on}"
                hint = "write what the command prints in each state"
                yield Violation(pair.name, what, hint, host.name, "mm_fence")


def _one_outlet_each(pairs: Sequence[Pair]) -> Iterator[Violation]:
    """Two hosts on one outlet: fencing one would take the other with it, or prove nothing of it."""
    seen: list[tuple[str, Fence]] = []
    for pair in pairs:
        for host in pair.hosts.values():
            for fence in host.fences:
                plain = replace(fence, level=0, within=0.0)
                first = next((name for name, other in seen if name != host.name and other == plain), None)
                if first is not None:
                    what = f"the same device with the same parameters as at {first}"
                    hint = "name this host's own outlet or machine: plug, ip, systems_uri, or what the agent has for it"
                    yield Violation(pair.name, what, hint, host.name, "mm_fence")
                seen.append((host.name, plain))


def _names(pair: Pair) -> Iterator[Violation]:
    mx = pair.dns.mx if pair.dns else None
    if pair.dns is None or mx is None:
        return
    zone = pair.dns.zone.rstrip(".").lower()
    if mx.name.rstrip(".") != zone and not mx.name.rstrip(".").endswith("." + zone):
        what = f"mx: {mx.name} doesn't lie in the zone {pair.dns.zone}"
        yield Violation(pair.name, what, "name a domain of that zone: it is changed in the same update", key="mm_dns")
    if mx.active >= mx.passive:
        what = f"mx: the active host's preference {mx.active} isn't lower than the passive one's, {mx.passive}"
        yield Violation(pair.name, what, "mail goes to the lowest first: give active the lower number", key="mm_dns")
    for host in _mail_hosts(pair):
        if "." not in host.name.rstrip(".") or _is_address(host.name):
            what = f"mx: {host.name} is no full name, so it can't be a mail exchanger"
            yield Violation(pair.name, what, "name the mail hosts as their MX records do", host.name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _looks(pair: Pair) -> Iterator[Violation]:
    """Of a pair that only replicates nothing is asked: it may inherit these keys from all pairs."""
    if not pair.services:
        return
    if pair.canary is not None and "imap" not in pair.probed:
        yield Violation(
            pair.name, "a canary is read by IMAP, which isn't looked at", "add imap to mm_services", key="mm_canary"
        )
    for service in pair.restart.services:
        if service not in pair.probed:
            hint = f"looked at are {', '.join(pair.probed)}: correct it, or add it to mm_probe's services"
            yield Violation(pair.name, f"{service} isn't looked at", hint, key="mm_restart")


def _windows(pair: Pair) -> Iterator[Violation]:
    seen: set[str] = set()
    for window in pair.windows:
        if window.name in seen:
            what = f"two windows are called {window.name}"
            yield Violation(pair.name, what, "give each a name of its own", key="mm_windows")
        seen.add(window.name)
        why = windows.trouble(windows.parse(window.start), window.zone, window.length, SOME_DAY)
        if why:
            hint = "correct its start or its length"
            yield Violation(pair.name, f"the window {window.name} can't be kept: {why}", hint, key="mm_windows")
    if pair.windows and not pair.services:
        hint = "say mm_services, or remove mm_windows: a pair that only replicates moves nobody"
        yield Violation(pair.name, "windows take a pair with services", hint, key="mm_windows")


def _alerts(pair: Pair) -> Iterator[Violation]:
    names = [channel.name for channel in pair.alerts]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Violation(pair.name, f"two channels are called {name}", "give each its own name", key="mm_alerts")


def _reached(pairs: Sequence[Pair]) -> Iterator[Violation]:
    """Mail through the servers that alerts are about doesn't arrive when it matters."""
    own = {name for pair in pairs for name in _own_names(pair)}
    for pair in pairs:
        lost = [channel for channel in pair.alerts if channel.smtp is not None and _through(channel.smtp, own)]
        if pair.alerts and len(lost) == len(pair.alerts):
            what = f"every alert would go through the servers that it is about: {lost[0].name}"
            hint = "add a webhook, a program, or a smarthost and addresses outside of the pairs"
            yield Violation(pair.name, what, hint, key="mm_alerts")


def _own_names(pair: Pair) -> Iterator[str]:
    """Names and addresses of a pair's mail hosts, and the domains that it receives mail for, as far as it says."""
    for host in _mail_hosts(pair):
        yield from (host.name.lower(), host.address.lower())
    yield from _plain_addresses(pair)
    if pair.dns is not None:
        zone = pair.dns.zone.rstrip(".").lower()
        yield from (f"{name.lower()}.{zone}" for name in pair.dns.names)
        yield pair.dns.mx.name.rstrip(".").lower() if pair.dns.mx else zone
    if pair.canary is not None:
        yield pair.canary.address.rpartition("@")[2].lower()


def _through(smtp: Smarthost, own: set[str]) -> bool:
    domains = {address.rpartition("@")[2].lower() for address in smtp.to}
    return smtp.server.rstrip(".").lower() in own or domains <= own


def _one_pair_each(pairs: Sequence[Pair]) -> Iterator[Violation]:
    seen: dict[str, str] = {}
    places: dict[tuple[str, int], tuple[str, str]] = {}
    for pair in pairs:
        for host in pair.hosts.values():
            if host.place in (ARCHIVE, WITNESS):
                continue
            first = seen.setdefault(host.name, pair.name)
            if first != pair.name:
                what = f"belongs to the pair {first} already"
                hint = "a mail host belongs to one pair: give this one another host"
                yield Violation(pair.name, what, hint, host.name)
                continue
            home, name = places.setdefault(_spot(host), (pair.name, host.name))
            if home != pair.name:
                what = f"the same address and port as {name} of the pair {home}"
                hint = "a mail host belongs to one pair: correct ansible_host or ansible_port"
                yield Violation(pair.name, what, hint, host.name, "ansible_host")


def _guards_apart(pairs: Sequence[Pair]) -> Iterator[Violation]:
    """The guards that a witness has for several pairs hear at a port each, and a mail host has its own pair's alone."""
    guarded = [pair for pair in pairs if pair.services or pair.vip or pair.dns or pair.lease]
    mail = {_spot(host)[0]: (pair.name, host.name) for pair in guarded for host in _mail_hosts(pair)}
    heard: dict[tuple[str, int], str] = {}
    for pair in pairs:
        if pair.lease is None or pair.witness is None:
            continue
        address, port = _spot(pair.witness)[0], pair.guard_port
        home, name = mail.get(address, (pair.name, ""))
        first = heard.setdefault((address, port), pair.name)
        if home != pair.name:
            what = f"{name} of the pair {home} is this host, and a mail host has one guard"
            yield Violation(pair.name, what, "give this pair a witness that serves no mail", pair.witness.name)
        elif first != pair.name:
            what = f"the guard of the pair {first} hears at UDP port {port} of this witness already"
            free = 1 + max(taken for at, taken in heard if at == address)
            hint = f"each pair of a witness has a port: say mm_guard_port: {free} in the vars of {pair.name}"
            yield Violation(pair.name, what, hint, pair.witness.name, "mm_guard_port")


def _one_holder_each(pairs: Sequence[Pair]) -> Iterator[Violation]:
    """An address moves with one pair, and isn't the own address of another pair's host."""
    moving: dict[str, str] = {}
    own = {_spot(host)[0]: (pair.name, host.name) for pair in pairs for host in pair.hosts.values()}
    for pair in pairs:
        for address in dict.fromkeys(_plain_addresses(pair)):
            first = moving.setdefault(address, pair.name)
            home, name = own.get(address, (pair.name, ""))
            if first != pair.name:
                what = f"{address} moves with the pair {first} already"
                yield Violation(pair.name, what, "an address moves with one pair", key="mm_vip")
            elif home != pair.name:
                what = f"{address} is the address by which {name} of the pair {home} is reached"
                yield Violation(pair.name, what, "correct mm_vip, or that host's ansible_host", key="mm_vip")


def _one_daemon(pairs: Sequence[Pair]) -> Iterator[Violation]:
    for pair in pairs:
        if pair.url and not pair.listen:
            hint = "say mm_listen: 127.0.0.1:9464, and have the proxy of mm_url lead there"
            yield Violation(pair.name, "mm_url leads to a page that isn't served anywhere", hint, key="mm_url")
    for pair in pairs[1:]:
        for key, here, there in (
            ("mm_state_dir", pair.state_dir, pairs[0].state_dir),
            ("mm_listen", pair.listen, pairs[0].listen),
            ("mm_url", pair.url, pairs[0].url),
        ):
            if here != there:
                what = f"{key} is {here or 'not set'} here and {there or 'not set'} for {pairs[0].name}"
                yield Violation(pair.name, what, "one daemon serves all pairs: move it to vars: of mailmirror", key=key)
