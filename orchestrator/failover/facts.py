"""What a decision rests on and what it says: plain values that become JSON and come back exactly. Pure.

Durations are seconds, times seconds since 1970 by the controller; None is unknown, and never read as zero or as "no".

Invariant: `from_json(kind, as_json(value)) == value`, or it says why not; a field that a later version adds has a
default that means "unknown", so that older records can be decided again.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar

from orchestrator.errors import BrokenPromise
from orchestrator.failover.states import Event, State
from orchestrator.fencing.proof import Verdict as Fence
from orchestrator.health.verdict import Level, Verdict
from orchestrator.readiness.check import Check

VERSION = 1
"""Of what is written; raised when older records would be read otherwise than they were meant."""
T = TypeVar("T")


@dataclass(frozen=True)
class Word:
    """What a guard says of itself, as `mailmirror-guard status`. `active`: the place that is active in its epoch;
    `serves`: its lease or its register lets it; `run_out`: what it granted has run out and it grants no more.
    """

    epoch: int
    active: str
    serves: bool = False
    armed: bool = False
    tombstone: int = 0
    run_out: bool = False


@dataclass(frozen=True)
class MailHost:
    """One of the two. `alive`: its agent answers; `word`: None when its guard doesn't; `marker`: the epoch at its
    stores' roots (the least, where there are several).
    """

    place: str
    host: str
    health: Verdict
    alive: bool = False
    word: Word | None = None
    marker: int | None = None

    @property
    def well(self) -> bool:
        return self.health.level in (Level.HEALTHY, Level.DEGRADED)


@dataclass(frozen=True)
class Flags:
    """They only ever suppress what is done unasked. Times are when they end, 0 for not set."""

    paused_until: float = 0.0
    paused_by: str = ""
    paused_why: str = ""
    cooldown_until: float = 0.0
    tilt: bool = False
    queueing: bool = False


@dataclass(frozen=True)
class Operation:
    """The last one in the journal. `state`: open, stuck, done, rolled back or aborted, as `records.journal` has it;
    `past` its point of no return; `unproven`: it ended because no fence was proven; `ended` when.
    """

    name: str
    journey: str
    state: str = "open"
    past: bool = False
    unproven: bool = False
    ended: float = 0.0

    @property
    def running(self) -> bool:
        """Whether it holds the pair."""
        return self.state in ("open", "stuck")


@dataclass(frozen=True)
class Order:
    """An operator's: the verb as it is typed. `accept_loss`: the pair's name was typed for it."""

    verb: str
    by: str
    reason: str = ""
    accept_loss: bool = False


@dataclass(frozen=True)
class Facts:
    """All that a decision may know.

    `active` is the place in `epoch`, the greatest epoch that any register was known to hold *before* this look began
    (words of one look are of different moments). `witness` is its guard's word; `witnessed`: the pair has one.
    `checks` are the last readiness from before the suspicion and `checked` its time; `suspected` when that began, 0
    while the active place is well. `lag` and `at_risk` (messages) are what the other place lacked at the last contact
    with the active's agent. `device`: a level of the active's fence devices passed a test lately. `fence`: what the
    proofs read so far come to. `lone`: why health can't decide, or empty. `news`: something that no look shows.
    `restarted`: when services were restarted last. `refused_at`: when a failover that was decided on couldn't be begun,
    and `refused_why`.
    """

    now: float
    state: State
    active: str
    epoch: int
    hosts: tuple[MailHost, MailHost]
    witness: Word | None = None
    witnessed: bool = False
    checks: tuple[Check, ...] = ()
    checked: float = 0.0
    suspected: float = 0.0
    lag: float | None = None
    at_risk: int | None = None
    rpo: float = 30.0
    mode: str = "auto"
    device: bool = False
    fence: Fence | None = None
    lone: str = ""
    flags: Flags = Flags()
    operation: Operation | None = None
    order: Order | None = None
    news: Event | None = None
    restarted: float = 0.0
    refused_at: float = 0.0
    refused_why: str = ""

    @property
    def holder(self) -> MailHost | None:
        """The active mail host, where there is one."""
        return next((each for each in self.hosts if each.place == self.active), None)

    @property
    def other(self) -> MailHost:
        """The mail host that would be promoted."""
        return next(each for each in reversed(self.hosts) if each.place != self.active)


@dataclass(frozen=True)
class Loss:
    """What the other place lacked at the last contact: the oldest change's age, and messages."""

    seconds: float | None
    messages: int | None

    @property
    def none(self) -> bool:
        return self.seconds == 0 and self.messages == 0

    def __str__(self) -> str:
        age = "an unknown time" if self.seconds is None else f"{self.seconds:.1f} s"
        many = "an unknown number of messages" if self.messages is None else f"{self.messages} messages"
        return f"{many}, {age} at the last contact, and whatever was accepted after it"


@dataclass(frozen=True)
class Decision:
    """`playbook` is to be started, and `restart` says that services are to be restarted; `by` whom: "automatic", an
    operator, or "" when nothing is done. `suppressed_by`: why it isn't done unasked; `would`: what would be done if
    flags and mode allowed it. `refused`: why an order isn't obeyed; `asks`: "accept_loss" or "failover" of an operator.
    `may`: the verbs that an operator can use next.
    """

    event: Event
    was: State
    state: State
    why: str
    playbook: str = ""
    restart: bool = False
    by: str = ""
    suppressed_by: tuple[str, ...] = ()
    would: str = ""
    refused: str = ""
    asks: str = ""
    evidence: tuple[str, ...] = ()
    loss: Loss | None = None
    may: tuple[str, ...] = ()


# --- as JSON ----------------------------------------------------------------------------------------------------------


def as_json(value: Facts | Decision) -> dict[str, Any]:
    """What `json.dumps` takes, with the version."""
    return {"version": VERSION, **_plain(value)}


def from_json(kind: type[T], told: Mapping[str, Any]) -> T:
    """The Facts or Decision that was written. BrokenPromise when it is of another version or not understood."""
    if told.get("version") != VERSION:
        raise BrokenPromise(
            f"A decision of version {told.get('version')!r:.20} can't be read, only {VERSION}.",
            remedy="Use the version of mailmirror that wrote it; `mailmirror history` shows which that was.",
        )
    made: T = _made(kind, {key: value for key, value in told.items() if key != "version"}, kind.__name__)
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


_ACCEPTED: Mapping[Any, tuple[type, ...]] = {float: (int, float), int: (int,), bool: (bool,), str: (str,)}


def _made(kind: Any, told: Any, where: str) -> Any:
    """The value of this type that was told. `where` is for the error."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is not None and type(None) in arguments:
        [known] = (each for each in arguments if each is not type(None))
        return None if told is None else _made(known, told, where)
    if typing.get_origin(kind) is tuple and isinstance(told, Sequence) and not isinstance(told, str):
        kinds = [arguments[0]] * len(told) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) == len(told):
            return tuple(_made(one, each, where) for one, each in zip(kinds, told, strict=True))
    elif is_dataclass(kind) and isinstance(told, Mapping):
        return _record(kind, told, where)
    elif isinstance(kind, type) and issubclass(kind, Enum) and told in [each.value for each in kind]:
        return kind(told)
    elif type(told) in _ACCEPTED.get(kind, ()):
        return told
    raise BrokenPromise(f"{where} can't be {told!r:.60}.", remedy="The record was changed or damaged: look at others.")


def _record(kind: Any, told: Mapping[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    must = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    odd = (set(told) - set(hints)) | (must - set(told))
    if odd:
        raise BrokenPromise(f"{where} has not the fields that it should have: {', '.join(sorted(odd))}.")
    return kind(**{name: _made(hints[name], value, f"{where}.{name}") for name, value in told.items()})
