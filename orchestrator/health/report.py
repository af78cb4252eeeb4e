"""What the house tells of its hosts' health: plain values, for `status`, the control socket and the metrics.

Every class turns into JSON by `dataclasses.asdict`; durations are seconds, times seconds since the epoch (UTC), shares
parts of 1. None is unknown, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Glance:
    """One observer's newest look at one service. `how` is empty when it is well, else a word of `agent.probe`."""

    observer: str
    service: str
    how: str
    why: str  # in the server's own words
    seconds: float  # that the probe took there
    at: float
    fallen: bool  # it failed so often in a row that it counts
    times: int  # that it failed in a row


@dataclass
class Vitals:
    """What the host last told of itself. `disks`: path, the smaller share free of room and inodes, and whether it is
    mounted read-only. `clock`: seconds by which it is ahead of the controller's.
    """

    at: float = 0.0
    disks: list[tuple[str, float | None, bool | None]] = field(default_factory=list)
    letters: int | None = None
    oldest: float | None = None  # since when the oldest letter waits
    clock: float | None = None
    synchronised: bool | None = None


@dataclass
class Letter:
    """The canary: how the last one went, how many in a row were lost, and when one last came through."""

    at: float = 0.0
    how: str = ""
    why: str = ""
    seconds: float = 0.0
    lost: int = 0
    last_success: float | None = None


@dataclass
class PlaceHealth:
    """One mail host and the verdict on it. `would`: what is proposed, in words; nothing is done by itself. `never`:
    services that weren't seen well since the daemon began: maybe they are looked for in the wrong place.
    """

    place: str
    host: str
    active: bool = False
    level: str = "UNKNOWN"
    since: float = 0.0
    analysis: str = ""
    remedy: str = ""
    would: str = ""
    evidence: list[str] = field(default_factory=list)
    glances: list[Glance] = field(default_factory=list)
    certificates: dict[str, float] = field(default_factory=dict)  # service -> its end
    vitals: Vitals = field(default_factory=Vitals)
    canary: Letter | None = None
    never: list[str] = field(default_factory=list)


@dataclass
class ObserverHealth:
    """A host that is to look, or is only to be reached. `connected` is whether its agent answers."""

    name: str
    host: str
    looks: bool
    connected: bool = False
    since: float = 0.0
    trouble: str = ""
    remedy: str = ""


@dataclass
class PairHealth:
    """A pair's health. `lone` says why nothing may be decided automatically, or is empty."""

    pair: str
    at: float = 0.0
    lone: str = ""
    steady: bool = True
    places: list[PlaceHealth] = field(default_factory=list)
    observers: list[ObserverHealth] = field(default_factory=list)
    references: dict[str, bool] = field(default_factory=dict)
    trouble: str = ""
