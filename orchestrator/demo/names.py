"""The zone of the embedded site: who stands in it at first, the key that may change it, and what a client is told.

Invariant: every address is on loopback, where the hosts of the site listen: nobody is sent anywhere else.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from orchestrator.errors import HostUnreachable

KEY = "mailmirror"
ALGORITHM = "hmac-sha256"
SERVICE = "mail"
TTL, LOW = 3600, 5  # seconds: as the zone has it, and as a move leaves it
PATIENCE = 5.0


@dataclass(frozen=True)
class Told:
    """What a client is told now: the service's addresses, the exchangers as `10 mail1.example.org.`, the epoch's text,
    and the zone's serial.
    """

    addresses: tuple[str, ...]
    exchangers: tuple[str, ...]
    epoch: str
    serial: int


def lay(zone: Path, key_file: Path, domain: str, hosts: Mapping[str, str]) -> None:
    """Write the zone for `nameserver`, and a fresh key for the controller; `hosts` are addresses by full name, the
    active one first.
    """
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    lines = [f"@ {TTL} SOA ns postmaster 1 60 20 3600 {LOW}", f"@ {TTL} NS ns", f"ns {TTL} A 127.0.0.1"]
    for preference, (host, address) in zip((10, 20), hosts.items(), strict=True):
        lines += [f"@ {TTL} MX {preference} {host}.", f"{host}. {TTL} A {address}"]
    lines.append(f"{SERVICE} {TTL} A {next(iter(hosts.values()))}")
    told = {"origin": domain, "lines": lines, "key": [KEY, ALGORITHM, secret], "names": [SERVICE], "domains": ["@"]}
    _write(zone, json.dumps(told))
    _write(key_file, f'key "{KEY}" {{ algorithm {ALGORITHM}; secret "{secret}"; }};\n')


def ask(port: int, domain: str) -> Told:
    """Ask the site's name server, as a client does. Errors: HostUnreachable."""
    service, mark = f"{SERVICE}.{domain}.", f"_mailmirror.{SERVICE}.{domain}."
    addresses = _ask(port, service, "A")
    texts = [text.strip('"') for text in _ask(port, mark, "TXT") if "epoch=" in text]
    [soa] = _ask(port, f"{domain}.", "SOA")
    return Told(addresses, _ask(port, f"{domain}.", "MX"), " ".join(texts), int(soa.split()[2]))


def exchangers(port: int, domain: str) -> list[str]:
    """The addresses of the domain's mail exchangers, in the order in which they are to be tried. Errors:
    HostUnreachable.
    """
    records = [record.split() for record in _ask(port, f"{domain}.", "MX")]
    hosts = [host for _, host in sorted((int(preference), host) for preference, host in records)]
    return [address for host in hosts for address in _ask(port, host, "A")]


def _ask(port: int, name: str, kind: str) -> tuple[str, ...]:
    try:
        answer = dns.query.tcp(dns.message.make_query(name, kind), "127.0.0.1", timeout=PATIENCE, port=port)
    except (OSError, EOFError, dns.exception.DNSException) as error:
        raise HostUnreachable(f"the site's name server doesn't answer: {error!r}") from error
    return tuple(sorted(record.to_text() for rrset in answer.answer for record in rrset))


def _write(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
        out.write(text)
