"""What the granters of a lease are told while a pair is paused: a grant without an end, and when it is over. Pure.

With it the active serves on though its guards are worked on, and nobody can be promoted. A grant that somebody else has
asked for, on the host itself, is left alone.

Invariant: a granter is told once for each pause; what an operator withdraws on the host stays withdrawn.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from orchestrator.failover.gathered import Heard
from orchestrator.inventory.model import MIRROR, PRIMARY, WITNESS

MARK = "mailmirror pause"
"""How the words of our own grants begin."""


class Due(NamedTuple):
    """An order to the guard of a place. `words` say why."""

    place: str
    verb: str
    words: str


def due(active: str, paused: str, heard: Mapping[str, Heard], told: Collection[str]) -> list[Due]:
    """What is to be ordered now. `paused`: why, or empty; `told`: the places that were told of this pause."""
    granters = (WITNESS, MIRROR if active == PRIMARY else PRIMARY) if active else ()
    found = []
    for place, each in heard.items():
        if each.word is None:
            continue
        if paused and place in granters and not each.leaving and place not in told:
            found.append(Due(place, "leave", f"{MARK}: {paused}"))
        if not paused and each.leaving.startswith(MARK):
            found.append(Due(place, "withdraw", "the pause has ended"))
    return found
