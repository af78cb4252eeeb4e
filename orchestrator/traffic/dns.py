"""Moving names by dynamic update (RFC 2136) under TSIG (RFC 8945): seen, tried without effect, changed, and proven.

A server's word counts only where it is authoritative and, for an update, signed: older versions of dnspython return an
unsigned answer without raising anything. Each exchange goes over TCP and ends at one deadline.

Invariant: `point` answers only when every authoritative server of the zone shows what was planned; `rights` changes
nothing.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.update

from orchestrator.errors import HostUnreachable, NotPermitted, Refused, StillRunning
from orchestrator.traffic.pointing import LABEL, Mark, Plan, Sight, marked, unlike

PORT = 53
SECONDS = 3.0
"""For one exchange."""
PAUSE = 0.2
IMPOSSIBLE = Mark(10**18 - 1, "nobody.invalid")
"""A mark that no zone has: an update that demands it can't apply."""
_KINDS = {4: dns.rdatatype.A, 6: dns.rdatatype.AAAA}


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

    `names` are relative to the zone. `port` differs from 53 only where the server is an embedded one.
    """

    def __init__(
        self, server: str, zone: str, names: Sequence[str], key: Key, *, port: int = PORT, seconds: float = SECONDS
    ) -> None:
        self.server = server
        self.origin = dns.name.from_text(zone)
        self.names = tuple(names)
        self._key = key
        self._port = port
        self._seconds = seconds

    @property
    def _mark_name(self) -> dns.name.Name:
        return dns.name.from_text(f"{LABEL}.{self.names[0]}", self.origin)

    # --- seeing -----------------------------------------------------------------------

    def seen(self) -> list[Sight]:
        """What every authoritative server says, the one that takes updates first.

        Raises HostUnreachable and Refused when that one can't be asked for the others.
        """
        first = _address(self.server)
        servers = {first: self.server}
        for name in self._nameservers(first):
            for address in self._addresses_of(name, first):
                servers.setdefault(address, name)
        return [self._sight(name, address) for address, name in servers.items()]

    def _nameservers(self, first: str) -> list[str]:
        answer = self._ask(first, self.origin, dns.rdatatype.NS)
        found = answer.get_rrset(answer.answer, self.origin, dns.rdataclass.IN, dns.rdatatype.NS)
        if not answer.flags & dns.flags.AA or found is None:
            raise Refused(
                f"{self.server} isn't authoritative for {self.origin}: {dns.rcode.to_text(answer.rcode())}.",
                remedy="Correct `server` and `zone` in mm_dns.",
            )
        return [record.target.to_text() for record in found]

    def _addresses_of(self, name: str, first: str) -> list[str]:
        """A name server's addresses: from the zone where it is in it, else as this host resolves it."""
        full = dns.name.from_text(name)
        if not full.is_subdomain(self.origin):
            return [_address(name)]
        found = [self._records(self._ask(first, full, kind), full, kind) for kind in _KINDS.values()]
        return [address for some in found for address in some]

    def _sight(self, server: str, address: str) -> Sight:
        try:
            soa = self._ask(address, self.origin, dns.rdatatype.SOA)
            if not soa.flags & dns.flags.AA or not soa.answer:
                return Sight(server, trouble=f"isn't authoritative for {self.origin}")
            addresses, ttls = {}, {}
            for name in self.names:
                full = dns.name.from_text(name, self.origin)
                answers = {kind: self._ask(address, full, kind) for kind in _KINDS.values()}
                found = [one for kind, answer in answers.items() for one in self._records(answer, full, kind)]
                addresses[name] = tuple(sorted(found))
                ttls[name] = max((rrset.ttl for answer in answers.values() for rrset in answer.answer), default=0)
            texts = self._ask(address, self._mark_name, dns.rdatatype.TXT)
            mark = marked(self._texts(texts))
            return Sight(server, soa.answer[0][0].serial, addresses, ttls, mark)
        except HostUnreachable as error:
            return Sight(server, trouble=str(error))

    @staticmethod
    def _records(answer: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> list[str]:
        found = answer.get_rrset(answer.answer, name, dns.rdataclass.IN, kind)
        return [record.address for record in found or ()]

    def _texts(self, answer: dns.message.Message) -> list[str]:
        found = answer.get_rrset(answer.answer, self._mark_name, dns.rdataclass.IN, dns.rdatatype.TXT)
        return [b"".join(record.strings).decode("utf-8", "replace") for record in found or ()]

    def _ask(self, address: str, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.message.Message:
        question = dns.message.make_query(name, kind)
        question.flags &= ~dns.flags.RD
        return self._exchange(question, address)

    def _exchange(self, message: dns.message.Message, address: str) -> dns.message.Message:
        try:
            return dns.query.tcp(message, address, timeout=self._seconds, port=self._port)
        except (OSError, EOFError, dns.exception.Timeout) as error:
            raise HostUnreachable(
                f"The name server {address} doesn't answer: {error}.", remedy="Check that it runs and takes TCP."
            ) from error
        except dns.tsig.PeerBadTime as error:
            raise Refused(
                f"The name server {address} says that the time of the signature is wrong.",
                remedy="Set the clocks of this host and of the name server right; they may differ by 300 s.",
            ) from error
        except (dns.tsig.PeerError, dns.tsig.BadSignature) as error:
            raise NotPermitted(
                f"The name server {address} doesn't take the TSIG key: {type(error).__name__}.",
                remedy="Compare the key's name, algorithm and secret with the server's.",
            ) from error
        except dns.exception.DNSException as error:
            if isinstance(message, dns.update.UpdateMessage):
                raise Refused(
                    f"What the name server {address} says to a signed update isn't signed, or no answer: {error}.",
                    remedy="It proves nothing. Check that this server takes updates, and that it knows the key.",
                ) from error
            raise HostUnreachable(f"What the name server {address} says can't be understood: {error!r}.") from error

    # --- changing ---------------------------------------------------------------------

    def rights(self) -> str:
        """Try the real change with a demand that can't be met: nothing applies, and its answer tells whether the key
        may. Returns "yes", or "unknown" and why: a server may look at the demand before it looks at the key (RFC 2136
        section 3). Raises NotPermitted, Refused, HostUnreachable.
        """
        plan = Plan(IMPOSSIBLE, IMPOSSIBLE, ("192.0.2.1", "2001:db8::1"), 1)
        code, signed = self._send(plan)
        if code == dns.rcode.NXRRSET and signed:
            return "yes"
        if code != dns.rcode.NXRRSET:
            self._refused(code)
        return f"unknown: the server answered {dns.rcode.to_text(code)}{'' if signed else ', unsigned'}"

    def point(self, plan: Plan, within: float) -> list[Sight]:
        """Change, and prove: returns what every server shows by then. Safe to repeat. Raises Refused when the zone
        isn't as the plan took it for, StillRunning when not every server follows within so many seconds.
        """
        code, signed = self._send(plan)
        if code in (dns.rcode.NXRRSET, dns.rcode.YXRRSET) and self._is_done(plan):
            code, signed = dns.rcode.NOERROR, True  # an earlier try of ours had arrived, its answer hadn't
        self._refused(code)
        if code != dns.rcode.NOERROR or not signed:
            raise Refused(
                f"{self.server} answered {dns.rcode.to_text(code)}{'' if signed else ', unsigned'}.",
                remedy="Nothing is known to have changed; see `mailmirror dns show`.",
            )
        return self._followed(plan, within)

    def _is_done(self, plan: Plan) -> bool:
        return not unlike([self._sight(self.server, _address(self.server))], plan)

    def _followed(self, plan: Plan, within: float) -> list[Sight]:
        deadline = time.monotonic() + within
        while True:
            seen = self.seen()
            late = unlike(seen, plan)
            if not late:
                return seen
            if time.monotonic() > deadline:
                raise StillRunning(
                    f"The zone was changed, but not every name server shows it yet: {'; '.join(late)}.",
                    remedy="Check the secondaries' transfers; `mailmirror dns show` tells when they have followed.",
                )
            time.sleep(PAUSE)

    def _refused(self, code: dns.rcode.Rcode) -> None:
        """Raise what an answer that changes nothing means."""
        if code in (dns.rcode.NXRRSET, dns.rcode.YXRRSET):
            raise Refused(
                f"The zone {self.origin} isn't at the epoch that this change was planned on.",
                remedy="Another controller has moved the users since. Nothing was changed; see `mailmirror dns show`.",
            )
        if code in (dns.rcode.REFUSED, dns.rcode.NOTAUTH):
            raise NotPermitted(
                f"{self.server} refuses the key {self._key.name}: {dns.rcode.to_text(code)}.",
                remedy=f"Grant it A, AAAA and TXT for {', '.join(self.names)} and below in {self.origin}.",
            )

    def _send(self, plan: Plan) -> tuple[dns.rcode.Rcode, bool]:
        """(rcode, whether it was signed) of the one update."""
        update = dns.update.UpdateMessage(self.origin, keyring=self._key.ring)
        if plan.expected is None:
            update.absent(self._mark_name, dns.rdatatype.TXT)
        else:
            update.present(self._mark_name, dns.rdatatype.TXT, f'"{plan.expected}"')
        for name in self.names:
            full = dns.name.from_text(name, self.origin)
            for version, kind in _KINDS.items():
                some = [address for address in plan.addresses if ipaddress.ip_address(address).version == version]
                if some:
                    update.replace(full, plan.ttl, kind, *some)
                else:
                    update.delete(full, kind)
        update.replace(self._mark_name, plan.ttl, dns.rdatatype.TXT, f'"{plan.mark}"')
        answer = self._exchange(update, _address(self.server))
        return answer.rcode(), answer.had_tsig


def _address(server: str) -> str:
    """The address of a name server that is named by name or address. Raises HostUnreachable."""
    with suppress(ValueError):
        return str(ipaddress.ip_address(server))
    try:
        found = socket.getaddrinfo(server, PORT, type=socket.SOCK_STREAM)
    except OSError as error:
        raise HostUnreachable(
            f"The name server {server} has no address: {error}.", remedy="Name it by address in mm_dns."
        ) from error
    return str(found[0][4][0])
