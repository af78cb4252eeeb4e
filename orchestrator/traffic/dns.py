"""Moving names by dynamic update (RFC 2136) under TSIG (RFC 8945): seen, tried without effect, changed, and proven.

Addresses of both kinds, the mail exchangers' preferences and the epoch go in one update, which demands everything as it
was seen. Hence no other controller's change, and nobody's by hand, is overwritten unseen.

Invariant: an update that moves users isn't sent without a proof; it counts only when every authoritative server of the
zone shows what was planned; `rights` changes nothing.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import dns.name
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update

from orchestrator.errors import HostUnreachable, NotPermitted, Refused
from orchestrator.traffic.asking import KINDS, PORT, SECONDS, Names, address_of
from orchestrator.traffic.pointing import MX, Exchange, Mark, Plan, Sight, planned, sends_there, shows, written_texts
from orchestrator.traffic.proof import Proof
from orchestrator.traffic.propagation import Watched, arrivals
from orchestrator.traffic.switch import UNKNOWN, Arrival, Target, demand

IMPOSSIBLE = Mark(10**18 - 1, "nobody.invalid")
"""A mark that no zone has: an update that demands it can't apply."""
TTL = 60


@dataclass(frozen=True)
class Key:
    """A TSIG key."""

    name: str
    algorithm: str  # as in `hmac-sha256`
    secret: bytes

    @property
    def ring(self) -> dns.tsig.Key:
        return dns.tsig.Key(self.name, self.secret, self.algorithm)


class Zone:
    """The moving names of one pair in one zone, and the server that takes its updates.

    `names` are relative to the zone. `ttl` is what a move leaves, at most. `watch` are resolvers that are looked at and
    never count. `port` is that of every name server, and differs from 53 only where they are embedded ones.
    """

    def __init__(
        self,
        server: str,
        zone: str,
        names: Sequence[str],
        key: Key,
        *,
        ttl: int = TTL,
        exchange: Exchange | None = None,
        watch: Sequence[str] = (),
        port: int = PORT,
        seconds: float = SECONDS,
    ) -> None:
        self.server = server
        domain = dns.name.from_text(exchange.domain) if exchange else None
        self.asked = Names(dns.name.from_text(zone), tuple(names), domain, port, seconds)
        self.ttl = ttl
        self.key = key
        self._exchange = exchange
        self._watch = tuple(watch)

    @property
    def origin(self) -> str:
        return self.asked.origin.to_text(omit_final_dot=True)

    # --- seeing -----------------------------------------------------------------------

    def seen(self) -> list[Sight]:
        """What every authoritative server says, the one that takes updates first.

        Raises HostUnreachable and Refused when that one can't be asked for the others.
        """
        servers = self._servers()
        with ThreadPoolExecutor(len(servers)) as pool:
            return list(pool.map(lambda address: self.asked.sight(servers[address], address), servers))

    def watched(self) -> list[Sight]:
        """What the watched resolvers say, from their memory as well."""
        return [self.asked.sight(server, server, authoritative=False) for server in self._watch]

    def _servers(self) -> dict[str, str]:
        """Every authoritative server by address, the one that takes updates first."""
        first = address_of(self.server)
        servers = {first: self.server}
        for name in self.asked.nameservers(first):
            for address in self.asked.addresses_of(name, first):
                servers.setdefault(address, name)
        return servers

    # --- changing ---------------------------------------------------------------------

    def plan(self, target: Target, excused: Collection[str] = ()) -> Plan:
        """How to come from what all servers say to the target. Raises Refused, HostUnreachable."""
        return planned(self.seen(), target, self.ttl, self._exchange, excused)

    def apply(self, plan: Plan, proof: Proof | None = None) -> None:
        """Change. Safe to repeat. A proof is needed where users are sent elsewhere, not for times to live alone. Raises
        Refused (also when the zone isn't as the plan took it for), NotPermitted, and HostUnreachable, where only
        looking tells whether it arrived.
        """
        if plan.is_move:
            mark = plan.mark or IMPOSSIBLE
            demand(proof, plan.was_at, mark.active, mark.epoch, time.time())
        code, signed = self._send(plan, written_texts(plan.seen.mark, plan.seen.lowered))
        if code in (dns.rcode.NXRRSET, dns.rcode.YXRRSET) and self._is_done(plan):
            code, signed = dns.rcode.NOERROR, True  # an earlier try of ours had arrived, its answer hadn't
        self._refused(code)
        if code != dns.rcode.NOERROR or not signed:
            raise Refused(
                f"{self.server} answered {dns.rcode.to_text(code)}{'' if signed else ', unsigned'}.",
                remedy="Nothing is known to have changed; see `mailmirror dns show`.",
            )

    def prove(self, plan: Plan, within: float, *, patient: bool = False) -> list[Arrival]:
        """What became of it at every authoritative server and watched resolver, after at most so many seconds and the
        look that is under way then. Seconds count from now, which is when it was applied. A resolver is waited for only
        if `patient`; a server that was excused and doesn't answer doesn't count. Where the zone's servers can't be
        listed any more, the answer is one UNKNOWN.
        """
        began = time.monotonic()
        try:
            listed = self._servers()
        except (HostUnreachable, Refused) as error:
            return [Arrival(self.server, UNKNOWN, None, str(error))]
        servers = [
            Watched(name, self._look(name, address), lambda sight: shows(sight, plan))
            for address, name in listed.items()
        ]
        servers += [
            Watched(name, self._look(name, name, False), lambda sight: sends_there(sight, plan), False)
            for name in self._watch
        ]
        found = arrivals(servers, began, began + within, patient=patient)
        return [replace(a, counts=False) if a.server in plan.excused and a.state == UNKNOWN else a for a in found]

    def _look(self, name: str, address: str, authoritative: bool = True) -> Callable[[], Sight]:
        return lambda: self.asked.sight(name, address, authoritative=authoritative)

    def rights(self) -> str:
        """Try the real change with a demand that can't be met: nothing applies, and its answer tells whether the key
        may. Returns "yes", or "unknown" and why: a server may look at the demand before it looks at the key (RFC 2136
        section 3). Raises NotPermitted, Refused, HostUnreachable.
        """
        both = dict.fromkeys(self.asked.names, ("192.0.2.1", "2001:db8::1"))
        ttls = dict.fromkeys((*self.asked.names, MX), 1)
        mx = self._exchange.led_by(self._exchange.hosts[0], ()) if self._exchange else ()
        plan = Plan(Sight(self.server), IMPOSSIBLE, None, both, ttls, mx)
        code, signed = self._send(plan, written_texts(IMPOSSIBLE, None))
        if code == dns.rcode.NXRRSET and signed:
            return "yes"
        if code != dns.rcode.NXRRSET:
            self._refused(code)
        return f"unknown: the server answered {dns.rcode.to_text(code)}{'' if signed else ', unsigned'}"

    def _is_done(self, plan: Plan) -> bool:
        return shows(self.asked.sight(self.server, address_of(self.server)), plan)

    def _refused(self, code: dns.rcode.Rcode) -> None:
        """Raise what an answer that changes nothing means."""
        if code in (dns.rcode.NXRRSET, dns.rcode.YXRRSET):
            raise Refused(
                f"The zone {self.origin} isn't at the epoch, or not as, this change was planned on.",
                remedy="Somebody has changed it since. Nothing was changed by this; see `mailmirror dns show`.",
            )
        if code in (dns.rcode.REFUSED, dns.rcode.NOTAUTH):
            mx = f", and MX for {self._exchange.domain}" if self._exchange else ""
            raise NotPermitted(
                f"{self.server} refuses the key {self.key.name}: {dns.rcode.to_text(code)}.",
                remedy=f"Grant it A, AAAA and TXT for {', '.join(self.asked.names)} and below in {self.origin}{mx}.",
            )

    def _send(self, plan: Plan, demanded: Sequence[str]) -> tuple[dns.rcode.Rcode, bool]:
        """(rcode, whether it was signed) of the one update."""
        update = dns.update.UpdateMessage(self.asked.origin, keyring=self.key.ring)
        text, address, mx = dns.rdatatype.TXT, KINDS.values(), dns.rdatatype.MX
        _present(update, self.asked.mark_name, text, map(_quoted, demanded))
        for name, seen in plan.seen.addresses.items():
            for kind, some in zip(address, _by_kind(seen), strict=True):
                _present(update, self.asked.full(name), kind, some)
        for name, wanted in plan.addresses.items():
            for kind, some in zip(address, _by_kind(wanted), strict=True):
                _replaced(update, self.asked.full(name), plan.ttls[name], kind, some)
        if self.asked.domain is not None:
            if plan.seen.addresses:
                _present(update, self.asked.domain, mx, map(_exchanger, plan.seen.mx))
            _replaced(update, self.asked.domain, plan.ttls[MX], mx, map(_exchanger, plan.mx))
        texts = written_texts(plan.mark, plan.lowered)
        _replaced(update, self.asked.mark_name, min(plan.ttls.values()), text, map(_quoted, texts))
        answer = self.asked.exchange(update, address_of(self.server))
        return answer.rcode(), answer.had_tsig


def _by_kind(addresses: Iterable[str]) -> tuple[list[str], ...]:
    """Addresses of version 4, and of version 6."""
    found = [(ipaddress.ip_address(address).version, address) for address in addresses]
    return tuple([address for version, address in found if version == wanted] for wanted in KINDS)


def _exchanger(record: tuple[int, str]) -> str:
    return f"{record[0]} {record[1]}."


def _quoted(text: str) -> str:
    """As in a zone file: in strings of at most 255 octets (RFC 1035 section 3.3)."""
    return " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255))


def _present(
    update: dns.update.UpdateMessage, name: dns.name.Name, kind: dns.rdatatype.RdataType, values: Iterable[str]
) -> None:
    """Demand exactly these records; none where there are none."""
    some = list(values)
    if some:
        update.present(name, kind, *some)
    else:
        update.absent(name, kind)


def _replaced(
    update: dns.update.UpdateMessage,
    name: dns.name.Name,
    ttl: int,
    kind: dns.rdatatype.RdataType,
    to: Iterable[str],
) -> None:
    some = list(to)
    if some:
        update.replace(name, ttl, kind, *some)
    else:
        update.delete(name, kind)
