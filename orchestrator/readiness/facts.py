"""What is known of a pair when its readiness is judged: plain values, or Unknown and why. Pure.

Invariant: a fact that nobody could tell is an Unknown of its own, never a zero, a "no" or yesterday's answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.health.answers import Reading
from orchestrator.health.looks import Observer
from orchestrator.health.verdict import Disk
from orchestrator.inventory.model import Host, Pair
from orchestrator.remote.guarded import has_guard
from orchestrator.traffic import holding, pointing


@dataclass(frozen=True)
class Unknown:
    """Nobody could tell. `remedy` is what to do about that, where whoever failed to tell knew."""

    why: str
    remedy: str = ""


@dataclass(frozen=True)
class Guard:
    """What a host's guard says of itself; see `agent.guardpost`. `why` it may serve or not, in its words; `leaving` why
    it grants without an end; `weak` why there is no gate in the kernel; `queues`: its Postfix is proven to queue only.
    """

    role: str
    epoch: int
    active: str  # a place
    armed: bool
    why: str = ""
    leaving: str = ""
    weak: str = ""
    queues: bool = False
    problems: tuple[str, ...] = ()
    doubted: tuple[str, ...] = ()  # what it says of guards that it doesn't believe


@dataclass(frozen=True)
class Clock:
    """Seconds by which a host's clock is `ahead` of the controller's; `rate` is its speed in the controller's seconds,
    right to within `unsure`. `synchronised` is what its kernel says.
    """

    ahead: float
    rate: float = 1.0
    unsure: float = 0.0
    synchronised: bool | None = None


@dataclass(frozen=True)
class HostFacts:
    """What one host says. `virtual` is what it runs in as systemd-detect-virt(1) names it, "none" for nothing."""

    host: Host
    guard: Guard | Unknown
    clock: Clock | Unknown
    disks: tuple[Disk, ...] | Unknown
    virtual: str | Unknown


@dataclass(frozen=True)
class Looked:
    """What an observer saw of the active place's services just now."""

    observer: Observer
    saw: tuple[Reading, ...] | Unknown


@dataclass(frozen=True)
class Copied:
    """How replication stands, by the daemon: `lag` in seconds, None where it doesn't know."""

    link: str
    lag: float | None
    waiting: int = 0  # deletions


@dataclass(frozen=True)
class Canary:
    """The daemon's letters: how many in a row were `lost`, what was said of the last, and when one last came through,
    in seconds since 1970.
    """

    lost: int
    why: str
    last: float | None


@dataclass(frozen=True)
class Device:
    """A fence device of a host, and when it last passed a test, in seconds since 1970."""

    host: str
    level: int
    device: str
    passed: float | None


@dataclass(frozen=True)
class Names:
    """`may`: "yes" when the key may change the names, else why that isn't known; `refused`: why it may not, and then
    `remedy`. `counted_on`: whether resolvers keep no answer longer than `ttl` seconds; None where nobody knows.
    """

    seen: tuple[pointing.Sight, ...]
    may: str = "yes"
    refused: str = ""
    remedy: str = ""
    ttl: int = 60
    counted_on: bool | None = True


@dataclass(frozen=True)
class Sent:
    """The place that users are sent to, as the site's own commands say, or `trouble` and why they can't tell."""

    place: str
    trouble: str = ""


Exchangers = Mapping[str, tuple[tuple[int, str], ...]]
"""By who says so: preference and host of each mail exchanger."""


@dataclass(frozen=True)
class Facts:
    """`active` is a host's name; `now` in seconds since 1970; None is what doesn't concern this pair.

    `daemon` says why none attends to the pair, or is empty. `equal` is when the passive place was last proven equal.
    `accepts` is what the passive place's Postfix says to the canary's recipient.
    """

    pair: Pair
    active: str
    now: float
    hosts: tuple[HostFacts, ...]
    looked: tuple[Looked, ...] = ()
    daemon: str = ""
    copied: Copied | Unknown = Unknown("nobody asked")
    equal: float | None = None
    canary: Canary | Unknown = Unknown("nobody asked")
    fences: tuple[Device, ...] = ()
    addresses: tuple[holding.Sight, ...] = ()
    names: Names | Unknown | None = None
    by_command: Sent | None = None
    exchangers: Exchangers | Unknown = Unknown("nobody asked")
    accepts: Reading | Unknown | None = None

    @property
    def mail_hosts(self) -> tuple[HostFacts, ...]:
        return tuple(each for each in self.hosts if each.host in (self.pair.primary, self.pair.mirror))

    @property
    def passive(self) -> Host:
        """The mail host that isn't active."""
        return self.pair.mirror if self.active == self.pair.primary.name else self.pair.primary

    @property
    def guarded(self) -> tuple[HostFacts, ...]:
        """The hosts that have to have a guard."""
        return tuple(each for each in self.hosts if has_guard(self.pair, each.host))

    @property
    def may_fail_over(self) -> bool:
        """Whether the pair is more than a replication."""
        pair = self.pair
        return bool(pair.services or pair.lease or pair.vip or pair.dns or pair.exec)
