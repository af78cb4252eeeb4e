"""The embedded site: three hosts behind SSH servers, SMTP fronts, a name server, and the inventory that tells of them.

    DIRECTORY/
      mail1/            the primary's home (see `host`): vmail/ is the store
      mail2/            the mirror's home: vmail/ is empty at first
      wit/              the witness's
      controller/       inventory.yaml, the client key, known_hosts with all host keys, the key of the zone, the
                        product's state
      zone.json         what the name server serves at first
      logs/             one file per process

Invariant: nothing is written outside DIRECTORY, nothing listens but on addresses of loopback, and `stop` ends every
process that `start` began, also when `start` failed half way. Later places (an archive) join as further entries of
`PLACES`.
"""

from __future__ import annotations

import secrets
import shutil
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from orchestrator.demo import guard, interrupts, keys, names
from orchestrator.demo.control import Servant
from orchestrator.demo.host import LOGIN, Host
from orchestrator.demo.mailbox import FOLDERS, Account

DOMAIN = "example.org"
USERS = ("anna", "bert", "clara", "dmitri")
PAIR = "demo"
PLACES = {"primary": ("mail1", "127.0.0.11"), "mirror": ("mail2", "127.0.0.12"), "witness": ("wit", "127.0.0.13")}
"""Linux answers at every address of 127/8, so each host has its own, and all services their usual sameness of ports."""
# What an agent finds in system directories on a machine of its own, it has below its home here, whoever runs the demo:
# its state, and the guard. So the line in authorized_keys says.
FORCED = """eval "$SSH_ORIGINAL_COMMAND --state '$HOME/.local/state/mailmirror-agent' --guard '$HOME/guard'\""""


@dataclass
class Site:
    """`start` builds it below `directory`, which must exist and be empty; `stop` ends it and is idempotent."""

    directory: Path
    hosts: dict[str, Host] = field(default_factory=dict)
    smtp_port: int = 0
    dns_port: int = 0
    _guard_port: int = 0
    _started: ExitStack = field(default_factory=ExitStack)

    @property
    def primary(self) -> Host:
        return self.hosts["primary"]

    @property
    def mirror(self) -> Host:
        return self.hosts["mirror"]

    @property
    def mail_hosts(self) -> tuple[Host, Host]:
        return self.primary, self.mirror

    @property
    def inventory(self) -> Path:
        return self.directory / "controller" / "inventory.yaml"

    @property
    def ledger(self) -> Path:
        """The SMTP fronts' deliveries, one JSON line each."""
        return self.directory / "ledger.jsonl"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    def start(self) -> None:
        self.logs.mkdir()
        controller = self.inventory.parent
        controller.mkdir(mode=0o700)
        authorized = self.directory / "authorized_keys"
        public = keys.make(controller / "client.key")
        option = FORCED.replace('"', '\\"')
        authorized.write_text(f'restrict,command="{option}" {public} controller\n', encoding="ascii")
        self.ledger.touch()
        self._lay_hosts(authorized)
        for user in USERS:
            account = Account(self.primary.store / DOMAIN / user)
            for folder in FOLDERS:
                account.create(folder)
        for host in self.hosts.values():
            host.boot()
        zone = self.directory / "zone.json"
        names.lay(zone, controller / "tsig.key", DOMAIN, {host.name: host.address for host in self.mail_hosts})
        self.dns_port = self._name_server(zone)
        pins = "".join(keys.pin(host.address, host.ssh_port, host.public_key) for host in self.hosts.values())
        (controller / "known_hosts").write_text(pins, encoding="ascii")
        self.inventory.write_text(self._inventory(), encoding="utf-8")

    def stop(self) -> None:
        self._started.close()

    def remove(self) -> None:
        shutil.rmtree(self.directory)

    def _lay_hosts(self, authorized: Path) -> None:
        addresses = {place: address for place, (_, address) in PLACES.items()}
        ssh_port, self.smtp_port = (_free(socket.SOCK_STREAM, addresses.values()) for _ in range(2))
        self._guard_port = _free(socket.SOCK_DGRAM, addresses.values())
        secret = secrets.token_hex(32)
        for place, (name, address) in PLACES.items():
            home, key = self.directory / name, self.directory / f"{name}.host.key"
            home.mkdir(mode=0o700)
            ledger = None if place == "witness" else self.ledger
            host = Host(
                f"{name}.{DOMAIN}", place, address, home, key, keys.make(key), authorized, ssh_port, self.smtp_port,
                ledger, self.logs, self._started,
            )  # fmt: skip
            if ledger is not None:
                host.store.mkdir(mode=0o700)
            guard.lay(host.guard, secret, PAIR, place, addresses, self._guard_port)
            self.hosts[place] = host

    def _name_server(self, zone: Path) -> int:
        with interrupts.held():
            servant = Servant("ns", "orchestrator.demo.nameserver", [str(zone)], log=self.logs / "ns.log")
            self._started.callback(servant.stop)
        return int(str(servant.ready()["port"]))

    def _inventory(self) -> str:
        controller = self.inventory.parent
        hosts: dict[str, dict[str, object]] = {
            host.name: {"mm_place": host.place, "ansible_host": host.address, "mm_stores": [str(host.store)]}
            for host in self.mail_hosts
        }
        # A Dovecot that happens to run on this machine has nothing to do with the site, and needn't stop for it.
        hosts[self.mirror.name]["mm_other_dovecot"] = True
        hosts[self.primary.name]["mm_other_dovecot"] = True
        witness = self.hosts["witness"]
        hosts[witness.name] = {"mm_place": "witness", "ansible_host": witness.address}
        pair = {
            "vars": {
                "ansible_port": witness.ssh_port,
                "ansible_user": LOGIN,
                "ansible_ssh_private_key_file": str(controller / "client.key"),
                "mm_known_hosts": str(controller / "known_hosts"),
                "mm_state_dir": str(controller / "state"),
                "mm_stores": [str(self.primary.store)],
                "mm_rpo": "30s",
                "mm_mode": "confirm",
                "mm_services": {"smtp": "smtpfront"},
                "mm_ports": {"smtp": self.smtp_port},
                "mm_lease": {"ttl": f"{guard.TTL:g}s"},
                "mm_guard_port": self._guard_port,
                "mm_dns": {
                    "server": "127.0.0.1",
                    "port": self.dns_port,
                    "zone": DOMAIN,
                    "names": [names.SERVICE],
                    "ttl": names.LOW,
                    "tsig": {"file": str(controller / "tsig.key")},
                    "mx": {"name": DOMAIN},
                },
            },
            "hosts": hosts,
        }
        head = "# Written by `mailmirror demo`: a pair of hosts on loopback, reached by SSH like any other.\n"
        return head + yaml.safe_dump({"mailmirror": {"children": {PAIR: pair}}}, sort_keys=False)


def _free(kind: socket.SocketKind, addresses: Iterable[str]) -> int:
    """A port that is free at all of these addresses."""
    while True:
        port = 0
        with ExitStack() as held:
            try:
                for address in addresses:
                    each = held.enter_context(socket.socket(socket.AF_INET, kind))
                    each.bind((address, port))
                    port = int(each.getsockname()[1])
            except OSError:
                if port == 0:
                    raise  # the address itself can't be had
                continue
        return port
