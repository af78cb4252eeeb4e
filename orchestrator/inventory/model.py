"""The inventory as the rest of the house sees it: plain frozen values, every default filled in.

Invariant: what `load` returns obeys `laws.check_laws`; durations are seconds, sizes bytes, rates bytes a
second. These classes check nothing on their own (tests build them freely) and import nothing heavy; how a
key is written stands in `written`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PRIMARY, MIRROR, ARCHIVE, WITNESS = PLACES = ("primary", "mirror", "archive", "witness")
DAY = 86400.0


@dataclass(frozen=True)
class Store:
    """One declared root on a host. `accounts` is a glob below it, or None: every topmost Maildir."""

    root: str
    accounts: str | None = None


@dataclass(frozen=True)
class DeleteBudget:
    """How many deletions pass unasked in `within` seconds: the larger of the count and the percentage."""

    account_messages: int = 200
    account_percent: float = 20.0
    store_messages: int = 5000
    store_percent: float = 5.0
    within: float = 600.0


@dataclass(frozen=True)
class Secret:
    """Where a secret is read when it is needed: `kind` is file, env or credential, `where` its path or name."""

    kind: str
    where: str


@dataclass(frozen=True)
class Mx:
    """The domain whose mail exchangers follow, and the preferences of the active and of the passive mail host."""

    name: str
    active: int = 10
    passive: int = 20


@dataclass(frozen=True)
class Dns:
    """Names that follow the active role: `names` are relative to `zone`, `ttl` is in seconds. `watch` are resolvers
    that are looked at, and count for nothing; `port` is that of every name server.
    """

    server: str
    zone: str
    names: tuple[str, ...]
    ttl: int
    tsig: Secret
    mx: Mx | None = None
    watch: tuple[str, ...] = ()
    port: int = 53


@dataclass(frozen=True)
class Exec:
    """The site's own commands that show and change where users are sent, each ended after `within` seconds; `env` are
    secrets that they get, by variable.
    """

    show: tuple[str, ...]
    point: tuple[str, ...]
    within: float = 30.0
    env: Mapping[str, Secret] = field(default_factory=dict)


@dataclass(frozen=True)
class Vip:
    """Addresses, each with its prefix, that stand on the active place's `interface` (a host may have its own)."""

    addresses: tuple[str, ...]
    interface: str


@dataclass(frozen=True)
class FenceCommands:
    """A provider's own commands, each as its words: the whole output of `status` is `says_on` or `says_off`.

    `environment` is what they run with beside PATH; `switch_on` is empty where nobody switches the host on again.
    """

    switch_off: tuple[str, ...]
    status: tuple[str, ...]
    says_on: str
    says_off: str
    switch_on: tuple[str, ...] = ()
    environment: Mapping[str, str | Secret] = field(default_factory=dict)


@dataclass(frozen=True)
class Fence:
    """One device that can cut a host's power: a fence agent's program with its parameters, or commands.

    Levels are tried from the lowest on; devices of one level count only together. `within` is seconds for one device.
    """

    level: int
    within: float = 60.0
    agent: str = ""
    parameters: Mapping[str, str | Secret] = field(default_factory=dict)
    exec: FenceCommands | None = None


@dataclass(frozen=True)
class Canary:
    """An account for probes and test letters: one letter each `every` seconds."""

    address: str
    password: Secret
    user: str
    every: float = 60.0


@dataclass(frozen=True)
class Probe:
    """How services are looked at: `interval` and `timeout` in seconds, `fall` and `rise` in looks. `services`: which,
    where they aren't those of `Pair.services`.
    """

    interval: float = 1.0
    timeout: float = 3.0
    fall: int = 3
    rise: int = 3
    services: tuple[str, ...] = ()


@dataclass(frozen=True)
class Restart:
    """Services that are restarted first, at most so many times."""

    services: tuple[str, ...] = ()
    times: int = 2


@dataclass(frozen=True)
class Webhook:
    """Where alerts are posted; `token` is sent as a bearer token."""

    url: str
    token: Secret | None = None


@dataclass(frozen=True)
class Smarthost:
    """A mail server that takes alerts as mail. `tls`: starttls, tls (from the first byte) or none."""

    server: str
    sender: str
    to: tuple[str, ...]
    port: int = 587
    tls: str = "starttls"
    user: str | None = None
    password: Secret | None = None


@dataclass(frozen=True)
class AlertProgram:
    """A program that gets alerts on its standard input, ended after `within` seconds."""

    command: tuple[str, ...]
    within: float = 30.0


@dataclass(frozen=True)
class AlertChannel:
    """One way that reaches people, exactly one of `webhook`, `smtp` and `program`; `least`: warning or page."""

    name: str
    least: str = "warning"
    webhook: Webhook | None = None
    smtp: Smarthost | None = None
    program: AlertProgram | None = None


@dataclass(frozen=True)
class Window:
    """Planned maintenance: opens as `start` says (`windows.parse`) in `zone`, for `length` seconds. `failback`: users
    go home to the primary when it closes.
    """

    name: str
    start: str
    length: float
    zone: str = "UTC"
    failback: bool = False


PORTS: Mapping[str, int] = {"smtp": 25, "submission": 587, "lmtp": 24, "imap": 993, "pop3": 995}
"""Where services listen when nobody says otherwise. RFC 8314: mail is read under TLS from the first byte."""


def default_state_dir() -> Path:
    """Where the controller keeps its state when nobody says: by the user who runs it (XDG base directories), or where
    its unit says (systemd.exec(5)).
    """
    if os.geteuid() == 0:
        return Path("/var/lib/mailmirror")
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given.startswith("/"):
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME", "")
    return Path(base if base.startswith("/") else Path.home() / ".local/state") / "mailmirror"


def default_known_hosts() -> Path:
    """The running user's own known_hosts (ssh(1), FILES)."""
    return Path.home() / ".ssh/known_hosts"


@dataclass(frozen=True)
class Host:
    """One host of a pair. `stores` are the ones in effect there: its own, or else the pair's, in the pair's order."""

    name: str
    place: str
    address: str
    port: int = 22
    user: str | None = None  # None: the user who runs mailmirror
    key_file: Path | None = None
    use_agent: bool = True  # may keys of the SSH agent be used
    connection: str = "ssh"  # or local
    known_hosts: Path = field(default_factory=default_known_hosts)
    stores: tuple[Store, ...] = ()
    python: str = "python3"
    forced: bool = False  # the key there is bound to a forced command (`agent install`)
    other_dovecot: bool = False  # a Dovecot that runs there never opens these stores
    vip_interface: str | None = None  # None: the pair's
    fences: tuple[Fence, ...] = ()  # in the order of their levels

    @property
    def local(self) -> bool:
        """True when the host is the one that this runs on."""
        return self.connection == "local"


@dataclass(frozen=True)
class Pair:
    """A primary with its mirror, and what else stands by them."""

    name: str
    hosts: Mapping[str, Host]  # by name, in the order of the file
    stores: tuple[Store, ...]
    services: Mapping[str, str] = field(default_factory=dict)  # protocol -> program
    mode: str = "auto"
    cooldown: float = 3600.0
    qresync_after: float = 30 * DAY
    rpo: float = 30.0
    bandwidth: int | None = None  # bytes a second; None: no limit
    owner: str = "name"  # name, number or USER:GROUP
    undelete: float = 7 * DAY
    delete_budget: DeleteBudget = DeleteBudget()
    watch: str = "auto"
    audit: float = 900.0
    verify: float = DAY
    state_dir: Path = field(default_factory=default_state_dir)
    listen: str | None = None  # HOST:PORT
    url: str | None = None  # of the status page, as people reach it; without a slash at its end
    dns: Dns | None = None
    lease: float | None = None  # seconds that a grant lasts; None: no lease
    guard_port: int = 7521
    units: tuple[str, ...] = ()  # of the site's own, beside those of `services`
    vip: Vip | None = None
    exec: Exec | None = None
    probe: Probe = Probe()
    ports: Mapping[str, int] = field(default_factory=lambda: dict(PORTS))
    canary: Canary | None = None
    references: tuple[str, ...] = ()  # ADDRESS:PORT
    restart: Restart = Restart()
    windows: tuple[Window, ...] = ()
    alerts: tuple[AlertChannel, ...] = ()
    not_used: tuple[str, ...] = ()  # hosts and keys that this version accepts and has no use for

    def at(self, place: str) -> Host | None:
        """The host at a place, or None when the pair has none there."""
        return next((host for host in self.hosts.values() if host.place == place), None)

    @property
    def probed(self) -> tuple[str, ...]:
        """The services that are looked at; none in a pair that only replicates."""
        return (self.probe.services or tuple(self.services)) if self.services else ()

    def _must(self, place: str) -> Host:
        found = self.at(place)
        if found is None:
            raise LookupError(f"the pair {self.name} has no {place}: it was not made by load()")
        return found

    @property
    def primary(self) -> Host:
        return self._must(PRIMARY)

    @property
    def mirror(self) -> Host:
        return self._must(MIRROR)

    @property
    def archive(self) -> Host | None:
        return self.at(ARCHIVE)

    @property
    def witness(self) -> Host | None:
        return self.at(WITNESS)


@dataclass(frozen=True)
class Inventory:
    """Everything that one file says."""

    path: Path
    pairs: Mapping[str, Pair]  # by name, in the order of the file; never empty
    fingerprint: str = ""  # as `find.fingerprint` computes it

    @property
    def state_dir(self) -> Path:
        """The controller's own state; the same for every pair."""
        return next(iter(self.pairs.values())).state_dir

    @property
    def listen(self) -> str | None:
        """Where metrics are served, HOST:PORT; the same for every pair."""
        return next(iter(self.pairs.values())).listen

    @property
    def url(self) -> str | None:
        """Where people reach the status page; the same for every pair."""
        return next(iter(self.pairs.values())).url

    @property
    def not_used(self) -> tuple[str, ...]:
        """What this version accepts and has no use for, as "PAIR: what"."""
        return tuple(f"{pair.name}: {what}" for pair in self.pairs.values() for what in pair.not_used)
