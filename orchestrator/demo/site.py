"""The embedded site: two hosts behind SSH servers, an SMTP front, a name server, and the inventory that tells of them.

    DIRECTORY/
      mail1/            the primary's home: vmail/ (the store), whatever an agent leaves there
      mail2/            the mirror's home: vmail/, empty at first
      controller/       inventory.yaml, the client key, known_hosts with both host keys, the key of the zone, the
                        product's state
      zone.json         what the name server serves at first
      guards/           what the guards of three hosts keep
      logs/             one file per process

Invariant: nothing is written outside DIRECTORY, nothing listens but on 127.0.0.1, and `stop` ends every process that
`start` began, also when `start` failed half way. Later places (a witness, an archive) join as further
entries of `PLACES` and further servants.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from orchestrator.demo import interrupts, keys, names
from orchestrator.demo.control import Servant
from orchestrator.demo.mailbox import FOLDERS, Account

DOMAIN = "example.org"
USERS = ("anna", "bert", "clara", "dmitri")
PAIR = "demo"
PLACES = {"primary": "mail1", "mirror": "mail2"}
LOGIN = "vmail"
# An agent of root keeps its state in /var/lib, which both hosts of the site share: so the line in authorized_keys tells
# each to keep it below its home, whoever runs the demo.
FORCED = """eval "$SSH_ORIGINAL_COMMAND --state '$HOME/.local/state/mailmirror-agent'\""""


@dataclass
class Host:
    """One host of the site as the demo knows it: where its files are, and the process that lets the product in."""

    name: str
    place: str
    home: Path
    public_key: str
    servant: Servant
    port: int

    @property
    def store(self) -> Path:
        return self.home / "vmail"

    def cut(self) -> None:
        """The cable is pulled: connections stay open, and silent."""
        self.servant.order("cut")

    def drop(self) -> None:
        """Every connection is closed at once."""
        self.servant.order("drop")

    def heal(self) -> None:
        self.servant.order("heal")


@dataclass
class Site:
    """`start` builds it below `directory`, which must exist and be empty; `stop` ends it and is idempotent."""

    directory: Path
    hosts: dict[str, Host] = field(default_factory=dict)
    smtp_port: int = 0
    dns_port: int = 0
    guard_places: dict[str, object] = field(default_factory=dict)
    _started: ExitStack = field(default_factory=ExitStack)

    guards: Servant = field(init=False)

    @property
    def primary(self) -> Host:
        return self.hosts["primary"]

    @property
    def mirror(self) -> Host:
        return self.hosts["mirror"]

    @property
    def inventory(self) -> Path:
        return self.directory / "controller" / "inventory.yaml"

    @property
    def ledger(self) -> Path:
        """The SMTP front's deliveries, one JSON line each."""
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
        for place, name in PLACES.items():
            self.hosts[place] = self._host(name, place, authorized)
        for user in USERS:
            account = Account(self.primary.store / DOMAIN / user)
            for folder in FOLDERS:
                account.create(folder)
        self.ledger.touch()
        self.smtp_port = self._listening("smtp", "orchestrator.demo.smtpfront", self.primary.store, self.ledger)[1]
        zone, seats = self.directory / "zone.json", {place: host.name for place, host in self.hosts.items()}
        names.lay(zone, controller / "tsig.key", DOMAIN, seats)
        self.dns_port = self._listening("ns", "orchestrator.demo.nameserver", zone)[1]
        guards = self.directory / "guards"
        guards.mkdir(mode=0o700)
        self.guards, self.guard_places = self._ready("guards", "orchestrator.demo.guards", guards, PAIR)
        pins = "".join(keys.pin(host.port, host.public_key) for host in self.hosts.values())
        (controller / "known_hosts").write_text(pins, encoding="ascii")
        self.inventory.write_text(self._inventory(), encoding="utf-8")

    def stop(self) -> None:
        self._started.close()

    def remove(self) -> None:
        shutil.rmtree(self.directory)

    def _host(self, name: str, place: str, authorized: Path) -> Host:
        home = self.directory / name
        (home / "vmail").mkdir(parents=True, mode=0o700)
        key = self.directory / f"{name}.host.key"
        public = keys.make(key)
        servant, port = self._listening(name, "orchestrator.demo.sshserver", home, key, authorized, LOGIN)
        return Host(f"{name}.{DOMAIN}", place, home, public, servant, port)

    def _listening(self, name: str, module: str, *arguments: object) -> tuple[Servant, int]:
        servant, facts = self._ready(name, module, *arguments)
        return servant, int(str(facts["port"]))

    def _ready(self, name: str, module: str, *arguments: object) -> tuple[Servant, dict[str, object]]:
        with interrupts.held():
            servant = Servant(name, module, [str(one) for one in arguments], log=self.logs / f"{name}.log")
            self._started.callback(servant.stop)
        return servant, servant.ready()

    def _inventory(self) -> str:
        controller = self.inventory.parent
        hosts: dict[str, dict[str, object]] = {
            host.name: {
                "mm_place": host.place,
                "ansible_host": "127.0.0.1",
                "ansible_port": host.port,
                "ansible_user": LOGIN,
                "ansible_ssh_private_key_file": str(controller / "client.key"),
                "mm_stores": [str(host.store)],
            }
            for host in self.hosts.values()
        }
        # A Dovecot that happens to run on this machine has nothing to do with the site, and needn't stop for it.
        hosts[self.mirror.name]["mm_other_dovecot"] = True
        pair = {
            "vars": {
                "mm_stores": [str(self.primary.store)],
                "mm_rpo": "30s",
                "mm_known_hosts": str(controller / "known_hosts"),
                "mm_state_dir": str(controller / "state"),
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
