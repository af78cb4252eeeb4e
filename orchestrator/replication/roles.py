"""Which place is active, as the markers of the stores themselves say. Pure.

The inventory names places, never roles. The active place is the one whose markers say so in the latest epoch; a place
whose marker says the same of an earlier epoch has missed that it isn't active any more.

Invariant: where the markers don't agree on one place, none is named: Refused, with what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.errors import Refused

ACTIVE = "active"


class Claim(NamedTuple):
    """What one host's marker says of one store; `role` is empty where there is no marker."""

    host: str
    role: str = ""
    epoch: int = 0


def claim(host: str, marker: Mapping[str, Any] | None) -> Claim:
    """From a marker as `store.look` tells it."""
    return Claim(host) if marker is None else Claim(host, str(marker["role"]), int(marker["epoch"]))


def active_of(pair: str, stores: Iterable[Sequence[Claim]]) -> str | None:
    """The active host by the claims on each store; None where too few markers were laid down to tell.

    Raises Refused: two places are active in one epoch, none is, or the stores disagree.
    """
    found = {_active_of(pair, claims) for claims in stores} - {None}
    if len(found) > 1:
        raise Refused(
            f"The stores of {pair} disagree on who is active: {', '.join(sorted(map(str, found)))}.",
            remedy="Some were turned to another role and some weren't. Let the operation that was at it go on, or be "
            "rolled back; nothing is replicated until then.",
        )
    return next(iter(found), None)


def demand_present(pair: str, stores: Iterable[Sequence[Claim]]) -> None:
    """Raises Refused where a place still says that it is active, of an epoch that is over: what it took by itself is
    nowhere else yet, and a copy of the present active's would sweep it away.
    """
    for claims in stores:
        latest = max((each.epoch for each in claims if each.role), default=0)
        for each in claims:
            if each.role == ACTIVE and each.epoch < latest:
                raise Refused(
                    f"{each.host} is of epoch {each.epoch}, and {pair} is in epoch {latest}: another place took over, "
                    "and what only it has isn't there yet.",
                    remedy="Nothing is copied from it, nor to it, until it is brought home: see `mailmirror rejoin "
                    f"{pair} --dry-run`, then `mailmirror rejoin {pair}`.",
                )


def _active_of(pair: str, claims: Sequence[Claim]) -> str | None:
    latest = max((each.epoch for each in claims if each.role), default=0)
    active = [each.host for each in claims if each.role == ACTIVE and each.epoch == latest]
    if len(active) > 1:
        raise Refused(
            f"Split brain: {' and '.join(active)} are both marked as the active place of {pair} in epoch {latest}.",
            remedy="Stop the mail services on one of them, and see what each has taken since. Then "
            "take the marker (ROOT/.mailmirror) away from the one whose mail is to be reclaimed.",
        )
    if active:
        return active[0]
    if all(each.role for each in claims) and claims:
        raise Refused(
            f"No place of {pair} is active in epoch {latest}: its stores were being turned.",
            remedy="Let the operation that was at it go on (`mailmirror history`); nothing is replicated until then.",
        )
    return None
