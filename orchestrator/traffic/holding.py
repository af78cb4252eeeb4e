"""Which place holds the moving addresses, which ought to, and whether one may take them up. Pure.

An address that two hosts answer for reaches now one and now the other. So a place takes one up only under a proof that
each other mail host let go of it, and while nobody answers for it on the link: who answers hasn't let go, whatever was
proven. One exception: behind a lease that ran out a frozen host's kernel goes on answering for the address, and its
gate for nothing else. Then the address is taken up all the same, and announced until the other one has lost it.

Invariant: `planned` gives a plan only with a fresh proof for each other mail host, of the epoch that is planned for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from orchestrator.errors import Refused
from orchestrator.traffic.proof import FRESH, KINDS, LEASE, RELEASED, Proof


class Released(NamedTuple):
    """The addresses were removed from a host that answers, and read back as gone."""

    host: str
    epoch: int
    when: float
    kind: str = RELEASED


class Stand(NamedTuple):
    """An address as it stands on a host; `flags` as ip(8) names them."""

    address: str
    prefix: int
    interface: str
    usable: bool
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sight:
    """What one host says. `unseen` says why it said nothing; then all else is empty. `trouble` is its link's."""

    host: str
    interface: str
    mac: str = ""
    stands: tuple[Stand, ...] = ()
    may: bool = False  # change addresses and send frames
    trouble: str = ""
    claims: Mapping[str, str | None] = field(default_factory=dict)  # address -> MAC of who else has it, where probed
    unseen: str = ""

    def holds(self, address: str) -> bool:
        """Whether it answers by this address, on whatever interface."""
        return any(stand.address == plain(address) and stand.usable for stand in self.stands)


@dataclass(frozen=True)
class Plan:
    """What to take up, and why that is safe."""

    host: str
    addresses: tuple[str, ...]  # with prefix
    quick: bool  # the old holder's removal is proven: a short look for a double is enough
    epoch: int
    proofs: tuple[Proof, ...]
    despite: tuple[str, ...] = ()  # MACs of shut hosts whose kernels still answer: announce every second


def plain(address: str) -> str:
    """An address without its prefix, as kernels write it."""
    return str(ipaddress.ip_interface(address).ip)


def planned(
    seen: Sequence[Sight],
    active: str,
    addresses: Sequence[str],
    proofs: Sequence[Proof],
    *,
    epoch: int,
    now: float,
    macs: Mapping[str, str] | None = None,
) -> Plan | None:
    """How the active place comes to hold all addresses; None where it does already, alone. Raises Refused.

    `seen` has every mail host of the pair, and what the active one heard when it probed for each address. `macs` are
    those of hosts as they were seen earlier: one that says nothing now doesn't say its MAC either.
    """
    here = next((sight for sight in seen if sight.host == active), None)
    if here is None or here.unseen or here.trouble:
        why = "isn't among the hosts" if here is None else here.unseen or here.trouble
        raise Refused(f"{active} can't take the addresses up: {why}.", remedy="Mend that, and try again.")
    others = [sight for sight in seen if sight.host != active]
    shut = _shut(others, proofs, macs or {}, epoch, now)
    contested = _nobody_else(here, others, addresses, shut)
    missing = tuple(address for address in addresses if not here.holds(address))
    if not missing:
        return None
    counting = tuple(_proof_of(other.host, proofs, epoch, now) for other in others)
    if not others:
        raise Refused("Nobody is known who could hold the addresses.", remedy="This takes a pair of mail hosts.")
    return Plan(active, missing, all(proof.kind == RELEASED for proof in counting), epoch, counting, contested)


def _shut(
    others: Sequence[Sight], proofs: Sequence[Proof], macs: Mapping[str, str], epoch: int, now: float
) -> set[str]:
    """The MACs of silent hosts that a lease shut: its gate answers nothing, whatever their kernels say of addresses."""
    leased = {proof.host for proof in proofs if proof.kind == LEASE and not _flaw(proof, epoch, now)}
    return {macs[other.host] for other in others if other.unseen and other.host in leased and other.host in macs}


def _nobody_else(here: Sight, others: Sequence[Sight], addresses: Sequence[str], shut: set[str]) -> tuple[str, ...]:
    """The MACs among `shut` that answer. Raises Refused for anybody else who does."""
    contested: set[str] = set()
    for address in map(plain, addresses):
        holding = [other.host for other in others if other.holds(address)]
        if holding:
            both = " as well as the active place" if here.holds(address) else ""
            raise Refused(
                f"{', '.join(holding)} holds {address}{both}.",
                remedy="It has to let go first; nothing was changed. See `mailmirror vip show`.",
            )
        if address not in here.claims:
            raise Refused(f"Whether {address} is free wasn't asked.", remedy="Probe for it from the active place.")
        mac = here.claims[address]
        if mac in shut:
            contested.add(mac)
        elif mac is not None:
            raise Refused(
                f"{address} is taken: {whose(mac, others)} answers for it.",
                remedy="Whoever answers hasn't let go, whatever was proven. Nothing was changed.",
            )
    return tuple(sorted(contested))


def _proof_of(host: str, proofs: Sequence[Proof], epoch: int, now: float) -> Proof:
    """The proof that counts for a host. Raises Refused, and says what was wrong with those that don't."""
    flaws = []
    for proof in proofs:
        if proof.host != host:
            continue
        flaw = _flaw(proof, epoch, now)
        if not flaw:
            return proof
        flaws.append(flaw)
    raise Refused(
        f"Nothing proves that {host} let go of the addresses{': ' if flaws else ''}{'; '.join(flaws)}.",
        remedy="Have it release them, or prove a fence. Nothing was changed.",
    )


def _flaw(proof: Proof, epoch: int, now: float) -> str:
    if proof.kind not in KINDS:
        return f"no fence is called {proof.kind!r:.40}"
    if proof.epoch != epoch:
        return f"the proof ({proof.kind}) is of epoch {proof.epoch}, this change of {epoch}"
    if not 0 <= now - proof.when <= FRESH:
        return f"the proof ({proof.kind}) is {now - proof.when:.0f} s old, more than {FRESH:.0f}, or from the future"
    return ""


def whose(mac: str, seen: Sequence[Sight]) -> str:
    """A MAC, with its host where that is known."""
    known = [sight.host for sight in seen if sight.mac == mac]
    return f"{known[0]} ({mac})" if known else f"{mac}, of no host of this pair,"


# ---- for people --------------------------------------------------------------------------------------------------


def unlike(seen: Sequence[Sight], active: str, addresses: Sequence[str]) -> list[str]:
    """How the addresses stand differently from what they ought to; empty where the active place alone holds all."""
    found = [f"{sight.host}: {sight.unseen}" for sight in seen if sight.unseen]
    for sight in seen:
        if not sight.unseen:
            found += _unlike_at(sight, sight.host == active, addresses)
    return found


def _unlike_at(sight: Sight, active: bool, addresses: Sequence[str]) -> Iterator[str]:
    if active and sight.trouble:
        yield f"{sight.host}: {sight.trouble}"
    for address in addresses:
        stands = [stand for stand in sight.stands if stand.address == plain(address)]
        if not active and stands:
            yield f"{sight.host} is passive and has {plain(address)} on {stands[0].interface}"
        if active and not any(stand.usable and stand.interface == sight.interface for stand in stands):
            how = f", which is {' '.join(stands[0].flags) or 'there'} on {stands[0].interface}" if stands else ""
            yield f"{sight.host} is active and doesn't hold {plain(address)}{how}"
        if active and stands and f"{stands[0].address}/{stands[0].prefix}" != str(ipaddress.ip_interface(address)):
            yield f"{sight.host} has {plain(address)} with prefix /{stands[0].prefix}; mm_vip says {address}"


def unready(seen: Sequence[Sight], active: str, addresses: Sequence[str]) -> list[str]:
    """Why a move of the addresses would fail, as far as a probe from every place tells; empty where it wouldn't."""
    found = []
    for sight in seen:
        if sight.unseen or sight.trouble:
            found.append(f"{sight.host}: {sight.unseen or sight.trouble}")
            continue
        if not sight.may:
            found.append(f"{sight.host}: the agent may not change addresses or send frames; it needs root")
        for address in map(plain, addresses):
            found += _heard_wrong(sight, address, seen, active)
    return found


def _heard_wrong(sight: Sight, address: str, seen: Sequence[Sight], active: str) -> Iterator[str]:
    if sight.host != active and sight.holds(address):
        yield f"{sight.host} is passive and has {address}"
        return
    mac = sight.claims.get(address)
    holder = next((other for other in seen if other.host == active and other.holds(address)), None)
    expected = holder.mac if holder is not None and holder.host != sight.host else None
    if mac == expected:
        return
    if mac is not None:
        yield f"{sight.host}: {address} is taken, {whose(mac, seen)} answers for it"
    elif holder is not None:
        yield f"{sight.host}: {address} isn't answered by {active}, which holds it; are they on one link?"
