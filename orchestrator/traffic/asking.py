"""One exchange with a name server, and what the moving names look like there.

A server's word counts only where it is authoritative and, for an update, signed: older versions of dnspython return an
unsigned answer without raising anything. Each exchange goes over TCP and ends at one deadline.

Invariant: nothing here changes a zone by itself; a server that can't be understood is told as trouble, never guessed.
"""

from __future__ import annotations

import ipaddress
import socket
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

from orchestrator.errors import HostUnreachable, NotPermitted, Refused
from orchestrator.traffic.pointing import LABEL, MX, Sight, read_texts

PORT = 53
SECONDS = 3.0
"""For one exchange."""
KINDS = {4: dns.rdatatype.A, 6: dns.rdatatype.AAAA}


@dataclass(frozen=True)
class Names:
    """The moving names: `names` relative to `origin`, the first of them with the epoch below it, and the domain whose
    mail exchangers follow, if one does. `port` and `seconds` are how a server is asked.
    """

    origin: dns.name.Name
    names: tuple[str, ...]
    domain: dns.name.Name | None = None
    port: int = PORT
    seconds: float = SECONDS

    @property
    def mark_name(self) -> dns.name.Name:
        return self.full(f"{LABEL}.{self.names[0]}")

    def full(self, name: str) -> dns.name.Name:
        return dns.name.from_text(name, self.origin)

    # --- seeing -----------------------------------------------------------------------

    def sight(self, server: str, address: str, *, authoritative: bool = True) -> Sight:
        """What this server says, whatever that is. A resolver, which isn't `authoritative`, is asked to find out. Where
        `address` is a name, it is looked up.
        """
        try:
            return self._sight(server, address_of(address), authoritative)
        except HostUnreachable as error:
            return Sight(server, trouble=str(error), is_away=True)
        except Refused as error:
            return Sight(server, trouble=str(error))

    def _sight(self, server: str, address: str, authoritative: bool) -> Sight:
        soa = self.ask(address, self.origin, dns.rdatatype.SOA, recurse=not authoritative)
        found = soa.get_rrset(soa.answer, self.origin, dns.rdataclass.IN, dns.rdatatype.SOA)
        if found is None or (authoritative and not soa.flags & dns.flags.AA):
            what = "isn't authoritative for" if authoritative else "doesn't resolve"
            return Sight(server, trouble=f"{what} {self.origin} ({dns.rcode.to_text(soa.rcode())})")
        addresses: dict[str, tuple[str, ...]] = {}
        ttls: dict[str, int] = {}
        for name in self.names:
            rrsets = [self._rrset(address, self.full(name), kind, not authoritative) for kind in KINDS.values()]
            addresses[name] = tuple(sorted(one.address for rrset in rrsets for one in rrset or ()))
            ttls[name] = max((rrset.ttl for rrset in rrsets if rrset is not None), default=0)
        mx: tuple[tuple[int, str], ...] = ()
        if self.domain is not None:
            rrset = self._rrset(address, self.domain, dns.rdatatype.MX, not authoritative)
            mx = tuple(sorted((one.preference, plain(one.exchange)) for one in rrset or ()))
            ttls[MX] = 0 if rrset is None else rrset.ttl
        texts = self._rrset(address, self.mark_name, dns.rdatatype.TXT, not authoritative)
        mark, lowered = read_texts([b"".join(one.strings).decode("utf-8", "replace") for one in texts or ()])
        return Sight(server, found[0].serial, addresses, ttls, mark, lowered, mx)

    def _rrset(
        self, address: str, name: dns.name.Name, kind: dns.rdatatype.RdataType, recurse: bool
    ) -> dns.rrset.RRset | None:
        """None where there is none. Raises Refused for an alias or an error's code: an answer, but none to count on."""
        answer = self.ask(address, name, kind, recurse=recurse)
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise Refused(f"it says {dns.rcode.to_text(answer.rcode())} of {name}")
        if answer.get_rrset(answer.answer, name, dns.rdataclass.IN, dns.rdatatype.CNAME) is not None:
            raise Refused(f"{name} is an alias (CNAME) there: an address beside it would be ignored")
        return answer.get_rrset(answer.answer, name, dns.rdataclass.IN, kind)

    def nameservers(self, first: str) -> list[str]:
        """The zone's NS set, as that server has it. Raises HostUnreachable, Refused."""
        answer = self.ask(first, self.origin, dns.rdatatype.NS)
        found = answer.get_rrset(answer.answer, self.origin, dns.rdataclass.IN, dns.rdatatype.NS)
        if not answer.flags & dns.flags.AA or found is None:
            raise Refused(
                f"{first} isn't authoritative for {self.origin}: {dns.rcode.to_text(answer.rcode())}.",
                remedy="Correct `server` and `zone` in mm_dns.",
            )
        return [plain(record.target) for record in found]

    def addresses_of(self, name: str, first: str) -> list[str]:
        """A name server's addresses: from the zone where it is in it, else as this host resolves it; its name where
        neither tells, which is trouble as soon as it is asked, and not a server less.
        """
        full = dns.name.from_text(name)
        try:
            if not full.is_subdomain(self.origin):
                return [address_of(name)]
            found = [self._rrset(first, full, kind, False) for kind in KINDS.values()]
        except (HostUnreachable, Refused):
            return [name]
        return [one.address for rrset in found for one in rrset or ()] or [name]

    # --- exchanges --------------------------------------------------------------------

    def ask(
        self, address: str, name: dns.name.Name, kind: dns.rdatatype.RdataType, *, recurse: bool = False
    ) -> dns.message.Message:
        question = dns.message.make_query(name, kind)
        if not recurse:
            question.flags &= ~dns.flags.RD
        return self.exchange(question, address)

    def exchange(self, message: dns.message.Message, address: str) -> dns.message.Message:
        """The answer. Raises HostUnreachable, and for an update Refused and NotPermitted."""
        try:
            return dns.query.tcp(message, address, timeout=self.seconds, port=self.port)
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


def plain(name: dns.name.Name) -> str:
    """A name as the inventory has it: no final dot, lower case."""
    return name.to_text(omit_final_dot=True).lower()


def address_of(server: str) -> str:
    """The address of a name server that is named by name or address. Raises HostUnreachable."""
    with suppress(ValueError):  # a name, then
        return str(ipaddress.ip_address(server))
    try:
        found = socket.getaddrinfo(server, PORT, type=socket.SOCK_STREAM)
    except OSError as error:
        raise HostUnreachable(
            f"The name server {server} has no address: {error}.", remedy="Name it by address in mm_dns."
        ) from error
    return str(found[0][4][0])
