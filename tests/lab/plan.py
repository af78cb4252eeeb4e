"""Who is who in the lab's site: places, names, addresses, users. Values only.

Invariant: pure. `Description` is what an outside client is told, and all that it may know; `as_json` is its other form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from tests.lab.disks import Plan

DOMAIN = "example.test"
SERVICE = "mail"  # the name and the address that follow the active place
SERVICE_ADDRESS = "10.20.0.100"
SERVICE_ADDRESS6 = "fd00:10:20::100"
VMAIL = (5000, 5000)
METRICS = 9464  # the controller's port, on its own loopback
STORE = "/var/vmail"
QUEUE = "/var/spool/postfix"
PORTS = {
    "smtp": 25,
    "submission": 587,
    "imap": 143,
    "imaps": 993,
    "pop3": 110,
    "pop3s": 995,
    "lmtp": 24,
    "sieve": 4190,
}
_STATE = tuple(Plan(f"/var/lib/mailmirror{part}") for part in ("", "-agent", "-guard"))
_MAIL_DISKS = (Plan(STORE, 256 << 20, VMAIL), Plan(QUEUE, 128 << 20, seeded=True), *_STATE)


@dataclass(frozen=True)
class Seat:
    """One host of the site: its name, its address, what systemd starts there, and its disks."""

    name: str
    address: str
    services: tuple[str, ...]
    disks: tuple[Plan, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.name}.{DOMAIN}"

    @property
    def address6(self) -> str:
        """Its IPv6 address, which no name has: as 10.20.0.11, so fd00:10:20::11."""
        return f"fd00:10:20::{self.address.rpartition('.')[2]}"


SEATS: Mapping[str, Seat] = {
    "nameserver": Seat("ns", "10.20.0.2", ("named.service",)),
    "secondary": Seat("ns2", "10.20.0.3", ("named.service",)),
    "primary": Seat("mail1", "10.20.0.11", ("ssh.service", "postfix.service", "dovecot.service"), _MAIL_DISKS),
    "mirror": Seat("mail2", "10.20.0.12", ("ssh.service", "postfix.service"), _MAIL_DISKS),
    "witness": Seat("wit", "10.20.0.13", ("ssh.service",), _STATE),
    "archive": Seat("vault", "10.20.0.14", ("ssh.service",), (Plan("/srv/archive", 256 << 20), *_STATE)),
    "client": Seat("client", "10.20.0.20", ()),
}
MX = (("primary", 10), ("mirror", 20))


@dataclass(frozen=True)
class User:
    address: str
    password: str

    @property
    def name(self) -> str:
        return self.address.partition("@")[0]

    @property
    def home(self) -> str:
        """The home directory, where sieve scripts are; the mail is in `Maildir` below it."""
        return f"{STORE}/{DOMAIN}/{self.name}"


def users(count: int) -> tuple[User, ...]:
    """u01@example.test, u02@example.test, ..."""
    return tuple(User(f"u{number:02}@{DOMAIN}", f"secret-{number:02}") for number in range(1, count + 1))


@dataclass(frozen=True)
class Exchanger:
    preference: int
    host: str
    address: str


@dataclass(frozen=True)
class Service:
    name: str
    address: str


@dataclass(frozen=True)
class Place:
    """`veth` is the name of the host's cable on the bridge: a reply that enters the bridge there is the host's."""

    host: str
    address: str
    veth: str


@dataclass(frozen=True)
class Description:
    """The site as seen from outside. `ca` is the path of the CA's certificate, `network` names the namespace of the
    bridge (for `nsenter --net=`, while the site stands), both on this machine.
    """

    domain: str
    mx: tuple[Exchanger, ...]
    service: Service
    places: Mapping[str, Place]
    ca: str
    users: tuple[User, ...]
    nameserver: str
    network: str
    ports: Mapping[str, int] = field(default_factory=lambda: dict(PORTS))

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2)
