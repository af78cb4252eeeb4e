"""What the moving names say, what they ought to say, and whether they may be changed. Pure.

The epoch stands in the zone itself, in a TXT record beside the names: every change demands all that it was planned on,
the epoch first, and raises it, in one update. Of two controllers that both mean to move the users only one can, and one
that slept through a promotion moves nobody (RFC 2136 section 2.4, prerequisites).

A name server that answers differently from the others, or not at all, stops a plan: what it shows to users would be
unknown. An operator may excuse one that is away by name; one that answers is never excused (docs/decisions/015).

Invariant: a plan comes only from servers that agree, and never from a later epoch to an earlier one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.errors import Refused
from orchestrator.traffic.switch import Target

LABEL = "_mailmirror"
"""The epoch's record stands at this label below the first of the names."""
MX = "@mx"
"""What the mail exchangers' record is called among the times to live; no name in a zone file is written so."""
_OURS = "v=mailmirror"
_EPOCH = re.compile(r"v=mailmirror1 epoch=([0-9]{1,18}) active=([A-Za-z0-9._-]{1,253})")
_LOWERED = re.compile(r"v=mailmirror1 ttl-was=((?:[^ :,]+:[0-9]{1,10},)*[^ :,]+:[0-9]{1,10})(?: since=([0-9]{1,18}))?")
_HALF = 1 << 31


@dataclass(frozen=True)
class Mark:
    """The epoch's record: the epoch, and which host was active in it."""

    epoch: int
    active: str

    def __str__(self) -> str:
        return f"v=mailmirror1 epoch={self.epoch} active={self.active}"


@dataclass(frozen=True)
class Lowered:
    """The record of times to live that were lowered: what each was, in seconds, and since when every server shows the
    lower one, in seconds since 1970; None until that was seen.
    """

    was: tuple[tuple[str, int], ...]  # name, or MX
    since: int | None = None

    def __str__(self) -> str:
        stamp = "" if self.since is None else f" since={self.since}"
        return "v=mailmirror1 ttl-was=" + ",".join(f"{name}:{ttl}" for name, ttl in self.was) + stamp


@dataclass(frozen=True)
class Sight:
    """What one server says. `trouble` says why it said nothing that counts; then all else is empty."""

    server: str
    serial: int = 0
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # name -> addresses, sorted
    ttls: Mapping[str, int] = field(default_factory=dict)  # name, or MX -> seconds
    mark: Mark | None = None
    lowered: Lowered | None = None
    mx: tuple[tuple[int, str], ...] = ()  # preference and host, sorted; empty where none is to follow
    trouble: str = ""
    is_away: bool = False  # the trouble is that it doesn't answer at all

    @property
    def said(self) -> tuple[object, ...]:
        """What servers have to agree on."""
        return self.mark, self.lowered, self.mx, tuple(sorted(self.addresses.items()))


@dataclass(frozen=True)
class Exchange:
    """The mail exchangers of `domain`: of `hosts`, in lower case, the active one gets one preference and the others
    another.
    """

    domain: str
    hosts: tuple[str, ...]
    active: int
    passive: int

    def led_by(self, host: str, now: Sequence[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
        """The record when this host is active. Exchangers that aren't of the pair stay as they are."""
        leader = host.rstrip(".").lower()
        others = [(preference, name) for preference, name in now if name not in self.hosts]
        ours = [(self.active if name == leader else self.passive, name) for name in self.hosts]
        return tuple(sorted([*others, *ours]))


@dataclass(frozen=True)
class Plan:
    """One update, which applies only while the update server still says what `seen` says."""

    seen: Sight
    mark: Mark | None
    lowered: Lowered | None
    addresses: Mapping[str, tuple[str, ...]]
    ttls: Mapping[str, int]
    mx: tuple[tuple[int, str], ...] = ()
    excused: frozenset[str] = frozenset()

    @property
    def is_move(self) -> bool:
        """Whether users are sent elsewhere, or an epoch begins; else only times to live change."""
        return (self.mark, self.mx) != (self.seen.mark, self.seen.mx) or self.addresses != self.seen.addresses

    @property
    def is_done(self) -> bool:
        return not self.is_move and self.lowered == self.seen.lowered and self.ttls == self.seen.ttls

    @property
    def was_at(self) -> str | None:
        """The host that was active, as the zone has it."""
        return self.seen.mark.active if self.seen.mark else None


def read_texts(texts: Sequence[str]) -> tuple[Mark | None, Lowered | None]:
    """What stands in the TXT records beside the names. Raises Refused for one of ours that can't be read."""
    ours = [text for text in texts if text.startswith(_OURS)]
    marks = [found for text in ours if (found := _EPOCH.fullmatch(text))]
    lowered = [found for text in ours if (found := _LOWERED.fullmatch(text))]
    if len(marks) + len(lowered) < len(ours) or len(marks) > 1 or len(lowered) > 1:
        raise Refused(
            f"The zone's epoch can't be read: {' and '.join(map(repr, ours))[:200]}.",
            remedy="Find out who wrote that, remove what is wrong with nsupdate, and try again.",
        )
    mark = Mark(int(marks[0][1]), marks[0][2]) if marks else None
    if not lowered:
        return mark, None
    each = (one.rpartition(":") for one in lowered[0][1].split(","))
    since = lowered[0][2]
    return mark, Lowered(tuple((name, int(ttl)) for name, _, ttl in each), None if since is None else int(since))


def written_texts(mark: Mark | None, lowered: Lowered | None) -> tuple[str, ...]:
    """The TXT records that say so."""
    return tuple(str(one) for one in (mark, lowered) if one is not None)


def agree(seen: Sequence[Sight]) -> bool:
    """Whether every server answered, and all say the same."""
    return len({sight.said for sight in seen}) == 1 and not any(sight.trouble for sight in seen)


def settled(seen: Sequence[Sight], excused: Collection[str] = ()) -> Sight:
    """What all servers say; the first is the one that takes updates. Those of `excused` needn't answer, but what they
    answer counts. Raises Refused.
    """
    spared = {sight.server for sight in seen[1:] if sight.is_away and sight.server in excused}
    away = [f"{sight.server}: {sight.trouble}" for sight in seen if sight.trouble and sight.server not in spared]
    if away or not seen:
        raise Refused(
            f"Not every name server answers: {'; '.join(away) or 'there is none'}.",
            remedy="Nobody knows what it shows to users. Mend it, take it out of the zone, or excuse it by name.",
        )
    if not agree([sight for sight in seen if not sight.trouble]):
        raise Refused(
            f"The name servers disagree: {'; '.join(f'{s.server} has serial {s.serial}' for s in seen)}.",
            remedy="Wait for the secondaries to follow (`mailmirror dns show`), and try again.",
        )
    return seen[0]


def planned(
    seen: Sequence[Sight], target: Target, ttl: int, exchange: Exchange | None = None, excused: Collection[str] = ()
) -> Plan:
    """How to come from what was seen to the target, with times to live of at most `ttl`; longer ones are noted in the
    zone, to be restored. Raises Refused.
    """
    now = settled(seen, excused)
    mark = Mark(target.epoch, target.host)
    wanted = {name: tuple(sorted(target.addresses)) for name in now.addresses}
    mx = exchange.led_by(target.host, now.mx) if exchange else ()
    if (now.mark, now.addresses, now.mx) == (mark, wanted, mx):
        return Plan(now, mark, now.lowered, wanted, now.ttls, mx, frozenset(excused))
    if now.mark is not None and now.mark.epoch >= mark.epoch:
        raise Refused(
            f"The zone is at epoch {now.mark.epoch} with {now.mark.active} active, this change is of {mark.epoch}.",
            remedy="Another controller has moved the users since. Nothing was changed; see `mailmirror status`.",
        )
    if not target.addresses:
        raise Refused(f"{target.host} has no address to point at.", remedy="Say its address in the inventory.")
    ttls = {name: min(found, ttl) if found else ttl for name, found in now.ttls.items()}
    return Plan(now, mark, noted(now, ttl), wanted, ttls, mx, frozenset(excused))


def noted(now: Sight, wanted: int) -> Lowered | None:
    """The note for a zone whose times to live are to be at most `wanted`: the one that stands there, or a new one of
    what they were where one is longer. The wait for resolvers begins anew with it.
    """
    if all(ttl <= wanted for ttl in now.ttls.values()):
        return now.lowered
    was = dict(now.lowered.was if now.lowered else ())
    longest = {name: max(was.get(name, 0), now.ttls.get(name, 0)) for name in {**was, **now.ttls}}
    return Lowered(tuple(sorted(longest.items())))


def shows(sight: Sight, plan: Plan) -> bool:
    """Whether a server shows what was planned."""
    return (
        not sight.trouble
        and (sight.mark, sight.lowered, sight.mx) == (plan.mark, plan.lowered, plan.mx)
        and sight.addresses == plan.addresses
        and all(ttl <= plan.ttls[name] for name, ttl in sight.ttls.items())
    )


def sends_there(sight: Sight, plan: Plan) -> bool:
    """Whether a resolver, which keeps answers for a while, sends users where they are to go."""
    return not sight.trouble and (sight.addresses, sight.mx) == (plan.addresses, plan.mx)


def is_older(serial: int, other: int) -> bool:
    """Whether a zone of this serial lacks changes that the other has (RFC 1982)."""
    return serial != other and (other - serial) % (2 * _HALF) < _HALF
