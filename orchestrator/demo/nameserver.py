"""A name server: one small zone, authoritative, changed by dynamic update under TSIG. TCP only.

It keeps RFC 2136's rules: prerequisites first, then all of an update or nothing; only the named key may change
anything, and only addresses and texts at and below the names that it was given, and mail exchangers at the domains.
Like BIND it looks at the key's rights before the prerequisites. The embedded site has one, the tests have several.

Invariant: a question sees a zone before or after an update, never half of one.
"""

from __future__ import annotations

import json
import socketserver
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.update

from orchestrator.demo import control

Held = dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset]
IDLE = 10.0  # seconds that a connection may be silent


class Zone:
    """The zone's records, and who may change what: with `key`, addresses and texts of `names`, and the exchangers of
    `domains`. `lines` are records, `name ttl type value`, with the SOA and NS.
    """

    def __init__(
        self, origin: str, lines: Sequence[str], key: dns.tsig.Key, names: Sequence[str], domains: Sequence[str] = ()
    ) -> None:
        self.origin = dns.name.from_text(origin)
        self._key = key
        self._guard = threading.Lock()
        self._held: Held = {}
        self.grant(names, domains)
        self.put(*lines)

    def grant(self, names: Sequence[str], domains: Sequence[str]) -> None:
        """What the key may change from now on."""
        self._may = [dns.name.from_text(name, self.origin) for name in names]
        self._may_mx = [dns.name.from_text(name, self.origin) for name in domains]

    def put(self, *lines: str) -> None:
        """Add records by hand, as one who edits the zone's file does, with its serial left alone."""
        with self._guard:
            changed = dict(self._held)
            for line in lines:
                name, ttl, kind, value = line.split(None, 3)
                data = dns.rdata.from_text("IN", kind, value, self.origin, relativize=False)
                self._apply(changed, dns.rrset.from_rdata(dns.name.from_text(name, self.origin), int(ttl), data))
            self._held = changed

    def follow(self, primary: Zone) -> None:
        """Take over what the other says now, as a secondary does by a transfer."""
        with self._guard:
            self._held = dict(primary._held)

    def answer(self, wire: bytes) -> bytes:
        """The answer to a message, signed where that was. Raises DNSException for what isn't one."""
        ring = {self._key.name: self._key}
        try:
            message = dns.message.from_wire(wire, keyring=ring)
        except (dns.message.UnknownTSIGKey, dns.tsig.BadSignature, dns.tsig.BadTime):
            return self._unsigned(wire, dns.rcode.NOTAUTH)
        reply = dns.message.make_response(message)
        with self._guard:
            if isinstance(message, dns.update.UpdateMessage):
                reply.set_rcode(self._update(message))
            else:
                self._query(message, reply)
        return reply.to_wire()

    @staticmethod
    def _unsigned(wire: bytes, code: dns.rcode.Rcode) -> bytes:
        """A bare header with this code: the message's number and opcode, and nothing that is proven."""
        number, flags = struct.unpack("!HH", wire[:4])
        return struct.pack("!6H", number, dns.flags.QR | flags & 0x7800 | code, 0, 0, 0, 0)

    # --- questions --------------------------------------------------------------------

    def _query(self, message: dns.message.Message, reply: dns.message.Message) -> None:
        question = message.question[0] if message.question else None
        if question is None or not question.name.is_subdomain(self.origin):
            reply.set_rcode(dns.rcode.REFUSED)
            return
        reply.flags |= dns.flags.AA
        found = self._held.get((question.name, question.rdtype)) or self._held.get((question.name, dns.rdatatype.CNAME))
        if found is not None:
            reply.answer.append(found)
        elif not any(name.is_subdomain(question.name) for name, _ in self._held):
            reply.set_rcode(dns.rcode.NXDOMAIN)

    # --- updates ----------------------------------------------------------------------

    def _update(self, message: dns.update.UpdateMessage) -> dns.rcode.Rcode:
        if message.zone[0].name != self.origin:
            return dns.rcode.NOTAUTH
        if not message.had_tsig or not all(self._is_granted(rrset) for rrset in message.update):
            return dns.rcode.REFUSED
        for rrset in _gathered(message.prerequisite):
            code = self._met(rrset)
            if code != dns.rcode.NOERROR:
                return code
        changed = dict(self._held)
        for rrset in message.update:
            self._apply(changed, rrset)
        if changed != self._held:
            soa = changed[self.origin, dns.rdatatype.SOA]
            once_more = soa[0].replace(serial=soa[0].serial + 1)
            changed[soa.name, soa.rdtype] = dns.rrset.from_rdata(soa.name, soa.ttl, once_more)
            self._held = changed
        return dns.rcode.NOERROR

    def _is_granted(self, rrset: dns.rrset.RRset) -> bool:
        if rrset.rdtype == dns.rdatatype.MX:
            return rrset.name in self._may_mx
        kinds = (dns.rdatatype.A, dns.rdatatype.AAAA, dns.rdatatype.TXT)
        return rrset.rdtype in kinds and any(rrset.name.is_subdomain(name) for name in self._may)

    def _met(self, rrset: dns.rrset.RRset) -> dns.rcode.Rcode:
        """RFC 2136 section 3.2, for RRsets."""
        found = self._held.get((rrset.name, rrset.rdtype))
        if rrset.deleting == dns.rdataclass.NONE:
            return dns.rcode.NOERROR if found is None else dns.rcode.YXRRSET
        if found is None:
            return dns.rcode.NXRRSET
        if rrset.deleting == dns.rdataclass.ANY or set(found) == set(rrset):
            return dns.rcode.NOERROR
        return dns.rcode.NXRRSET

    @staticmethod
    def _apply(held: Held, rrset: dns.rrset.RRset) -> None:
        """RFC 2136 section 3.4.2."""
        key = rrset.name, rrset.rdtype
        if rrset.deleting == dns.rdataclass.ANY:
            held.pop(key, None)
            return
        found = held.get(key)
        if rrset.deleting == dns.rdataclass.NONE:
            kept = [one for one in found or () if one not in rrset]
            held.pop(key, None)
            if kept and found is not None:
                held[key] = dns.rrset.from_rdata_list(rrset.name, found.ttl, kept)
            return
        held[key] = dns.rrset.from_rdata_list(rrset.name, rrset.ttl, [*(found or ()), *rrset])


def _gathered(demands: Sequence[dns.rrset.RRset]) -> list[dns.rrset.RRset]:
    """What is demanded, each RRset whole: a message brings its records one by one (RFC 2136 section 3.2.3)."""
    whole: dict[tuple[object, ...], dns.rrset.RRset] = {}
    for one in demands:
        key = one.name, one.rdtype, one.deleting
        known = whole.get(key)
        if known is None:
            whole[key] = one
        else:
            for record in one:
                known.add(record)
    return list(whole.values())


class _Talk(socketserver.StreamRequestHandler):
    timeout = IDLE

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, NameServer)
        while True:
            try:
                size = self.rfile.read(2)
                if len(size) < 2:
                    return
                wire = server.zone.answer(self.rfile.read(struct.unpack("!H", size)[0]))
            except (OSError, dns.exception.DNSException):
                return  # a client that hangs or leaves, or what isn't DNS
            self.wfile.write(struct.pack("!H", len(wire)) + wire)


class NameServer(socketserver.ThreadingTCPServer):
    """Serves one zone on loopback."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, zone: Zone, address: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((address, port), _Talk)
        self.zone = zone

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@contextmanager
def serving(zone: Zone, address: str = "127.0.0.1", port: int = 0) -> Iterator[NameServer]:
    """A name server for as long as the block lasts."""
    with NameServer(zone, address, port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def main(arguments: list[str]) -> int:
    """Serve the zone that `names.lay` wrote, until told to stop."""
    told = json.loads(Path(arguments[0]).read_text(encoding="ascii"))
    name, algorithm, secret = told["key"]
    key = dns.tsig.Key(name, secret, algorithm)
    with serving(Zone(told["origin"], told["lines"], key, told["names"], told["domains"])) as server:
        control.obey({"port": server.port}, {})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
