"""What replication tells of itself: plain values, for the command line, the control socket and the metrics.

Every class here turns into JSON by `dataclasses.asdict`; sizes are bytes, durations seconds,
times seconds since the epoch (UTC).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Link(StrEnum):
    """What is true of a pair's replication."""

    STOPPED = "stopped"  # nobody is at it
    CONNECTING = "connecting"  # no conversation with both ends, trying
    CATCHING_UP = "catching up"  # connected, a backlog is on its way
    LIVE = "live"  # connected, following as it happens
    REFUSED = "refused"  # connected, but a rule forbids replicating; `trouble` says which


@dataclass
class Tally:
    """What one pass did on one passive place, or would do."""

    messages: int = 0  # bodies that travelled
    message_bytes: int = 0
    linked: int = 0  # placements made from content that was there: moves, copies
    renamed: int = 0  # flags changed, new to cur
    folders: int = 0  # created
    folders_renamed: int = 0
    sidecars: int = 0
    deleted: int = 0
    waiting: int = 0  # deletions held back
    refused: int = 0  # rows that the passive place wouldn't take; `problems` name them


@dataclass
class SyncReport:
    """One pass, from connecting to the last acknowledgement."""

    pair: str
    host: str  # the passive place
    tally: Tally
    seconds: float
    bytes_received: int  # by the controller, from all agents
    bytes_sent: int
    planned: bool = False  # True: a dry run, nothing was changed
    problems: list[str] = field(default_factory=list)


@dataclass
class Progress:
    """How far a pass is. Totals are 0 while they aren't known."""

    phase: str
    messages: int = 0
    messages_total: int = 0
    bytes: int = 0
    bytes_total: int = 0
    seconds: float = 0.0


@dataclass
class Waiting:
    """Deletions of one account that are held back, and why."""

    id: str  # of just these: it is another one as soon as there are more or fewer
    account: str
    count: int
    reason: str
    since: float


@dataclass
class PassiveStatus:
    """One passive place as its agent last told it."""

    host: str
    place: str
    connected: bool = False
    pending: int = 0  # changes that it lacks
    lag_seconds: float | None = None  # age of the oldest of them; 0.0 when it lacks none; None when unknown
    watermark: float | None = None  # when the last change became durable there
    waiting: list[Waiting] = field(default_factory=list)
    sidecars_wait: int = 0  # held back because an IMAP server runs there
    equal_as_of: float | None = None
    tally: Tally = field(default_factory=Tally)  # since the daemon started
    problems: list[str] = field(default_factory=list)


@dataclass
class PairStatus:
    pair: str
    link: Link = Link.STOPPED
    active: str = ""  # host name
    watch: str = ""  # fanotify, inotify or poll, as the active's agent chose
    watch_why: str = ""  # why not a better one
    accounts: int = 0
    folders: int = 0
    messages: int = 0
    epoch: int = 0
    permit_open: bool = False
    trouble: str = ""
    remedy: str = ""
    unstable_folders: int = 0  # deletions there wait for a listing that holds still
    missing_accounts: list[str] = field(default_factory=list)
    passives: list[PassiveStatus] = field(default_factory=list)
    not_used: list[str] = field(default_factory=list)  # hosts that this version has no use for
    bytes_received: int = 0
    bytes_sent: int = 0
    taken_at: float = 0.0
    rpo: float = 0.0  # the lag that is still good (mm_rpo); 0.0 when it isn't known
    seen_by: str = ""  # the verb that looked: run for the daemon


@dataclass
class Difference:
    account: str
    folder: str
    what: str


@dataclass
class VerifyReport:
    pair: str
    host: str
    equal: bool
    deep: bool
    accounts: int
    folders: int
    messages: int
    waiting: int  # deletions held back: they are allowed for, not counted as differences
    differences: list[Difference]
    taken_at: float
    seconds: float


@dataclass
class LastPass:
    """What the last pass before a switchover came to. `lacking` says, in sentences, what isn't as it must be."""

    pair: str
    active: str  # host name
    epoch: int
    equal: bool  # proven by digests of every account, on every passive place, and nothing waits
    lacking: list[str]
    watermark: float | None  # the last change that is durable on every passive place
    accounts: int
    folders: int
    messages: int
    seconds: float


@dataclass(frozen=True)
class Selection:
    """Which deleted messages are meant; empty fields mean all. Times are seconds since the epoch."""

    account: str = ""  # a glob over account names
    pattern: str = ""  # a glob over FOLDER/BASE-NAME
    since: float | None = None  # deleted at or after
    until: float | None = None  # deleted before


@dataclass
class Deleted:
    """One message that stands in a passive place's quarantine."""

    account: str
    folder: str
    name: str
    size: int
    deleted_at: float


@dataclass
class UndeleteReport:
    """What was chosen of one passive place's quarantine, and what was brought back."""

    pair: str
    host: str
    chosen: int  # all that match; `found` may name fewer
    chosen_bytes: int
    restored: int = 0  # 0 in a dry run
    planned: bool = False
    found: list[Deleted] = field(default_factory=list)  # at most 1,000
    problems: list[str] = field(default_factory=list)
