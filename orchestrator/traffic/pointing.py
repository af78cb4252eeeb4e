"""What the moving names say, what they ought to say, and whether they may be changed. Pure.

The epoch stands in the zone itself, in a TXT record beside the names: every change demands the epoch that it was
planned on, and raises it, in one update. Of two controllers that both mean to move the users only one can, and one that
slept through a promotion moves nobody (RFC 2136 section 2.4, prerequisites).

Invariant: a plan comes only from servers that agree, and never from a later epoch to an earlier one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.errors import Refused

LABEL = "_mailmirror"
"""The epoch's record stands at this label below the first of the names."""
_EPOCH = re.compile(r"v=mailmirror1 epoch=([0-9]{1,18}) active=([A-Za-z0-9._-]{1,253})")


@dataclass(frozen=True)
class Mark:
    """The epoch's record: the epoch, and which host was active in it."""

    epoch: int
    active: str

    def __str__(self) -> str:
        return f"v=mailmirror1 epoch={self.epoch} active={self.active}"


def marked(texts: Sequence[str]) -> Mark | None:
    """The mark among a name's TXT records; None where there is none. Raises Refused for one that can't be read."""
    ours = [text for text in texts if text.startswith("v=mailmirror")]
    if not ours:
        return None
    found = _EPOCH.fullmatch(ours[0])
    if len(ours) > 1 or found is None:
        raise Refused(
            f"The zone's epoch can't be read: {' and '.join(map(repr, ours))[:200]}.",
            remedy="Find out who wrote that, remove what is wrong with nsupdate, and try again.",
        )
    return Mark(int(found[1]), found[2])


@dataclass(frozen=True)
class Sight:
    """What one authoritative server says. `trouble` says why it said nothing that counts; then all else is empty."""

    server: str
    serial: int = 0
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # name -> addresses, sorted
    ttls: Mapping[str, int] = field(default_factory=dict)  # name -> seconds
    mark: Mark | None = None
    trouble: str = ""

    @property
    def said(self) -> tuple[object, ...]:
        """What servers have to agree on."""
        return self.mark, tuple(sorted(self.addresses.items()))


@dataclass(frozen=True)
class Plan:
    """One update: it applies only while the mark is still `expected`."""

    expected: Mark | None
    mark: Mark
    addresses: tuple[str, ...]
    ttl: int


def agree(seen: Sequence[Sight]) -> bool:
    """Whether every server answered, and all say the same."""
    return len({sight.said for sight in seen}) == 1 and not any(sight.trouble for sight in seen)


def planned(seen: Sequence[Sight], mark: Mark, addresses: Sequence[str], ttl: int) -> Plan | None:
    """How to come from what was seen to these addresses for every name; None where it is so already. Raises Refused."""
    away = [f"{sight.server}: {sight.trouble}" for sight in seen if sight.trouble]
    if away or not seen:
        raise Refused(
            f"Not every name server answers: {'; '.join(away) or 'there is none'}.",
            remedy="A server that lags behind would send users to the old place. Mend it, or take it out of the zone.",
        )
    if not agree(seen):
        raise Refused(
            f"The name servers disagree: {'; '.join(f'{s.server} has serial {s.serial}' for s in seen)}.",
            remedy="Wait for the secondaries to follow (`mailmirror dns show`), and try again.",
        )
    now = seen[0]
    wanted = tuple(sorted(addresses))
    if now.mark == mark and all(found == wanted for found in now.addresses.values()):
        return None
    if now.mark is not None and now.mark.epoch >= mark.epoch:
        raise Refused(
            f"The zone is at epoch {now.mark.epoch} with {now.mark.active} active, this change is of {mark.epoch}.",
            remedy="Another controller has moved the users since. Nothing was changed; see `mailmirror status`.",
        )
    return Plan(now.mark, mark, wanted, ttl)


def unlike(seen: Sequence[Sight], plan: Plan) -> list[str]:
    """Which servers don't show yet what was planned, with what they show."""
    return [
        f"{sight.server}: {sight.trouble or f'serial {sight.serial}, {sight.mark}'}"
        for sight in seen
        if sight.trouble
        or sight.mark != plan.mark
        or any(found != plan.addresses for found in sight.addresses.values())
        or any(ttl > plan.ttl for ttl in sight.ttls.values())
    ]
