"""A pair's health in the daemon: each new verdict goes into the log, to who listens, and into the pair's history.

Invariant: a suspicion reaches replication at once, before its line is written: a full disk delays no permit's end. It
restarts nothing and moves nobody: that is for `deciding`, which is told to look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from orchestrator.daemon.connecting import open_observer
from orchestrator.daemon.follower import Follower
from orchestrator.errors import MailmirrorError
from orchestrator.health.standing import Change
from orchestrator.health.watch import Watch
from orchestrator.inventory.model import Pair
from orchestrator.records import history
from orchestrator.replication.report import Link

log = logging.getLogger(__name__)

Event = Callable[[str, str, str], None]
"""(pair, event, sentence)"""


def watched(
    pair: Pair, follower: Follower, event: Event, restarts: Callable[[], int] = int, poke: Callable[[], object] = bool
) -> Watch:
    """The pair's watch of who is active now, not started yet. `restarts` says how many were tried; `poke` is called
    when a verdict is new.
    """

    def changed(change: Change) -> None:
        follower.poke()  # the permit is looked at now, not when its next renewal is due
        poke()
        event(pair.name, "health", change.sentence())
        _keep(pair, change)

    def follows() -> bool:
        return follower.status().link is Link.LIVE

    def troubled(sentence: str) -> None:
        event(pair.name, "observer", sentence)

    active = active_host(pair, follower)
    return Watch(
        pair, open_observer, active=active, follows=follows, changed=changed, troubled=troubled, restarts=restarts
    )


def active_host(pair: Pair, follower: Follower) -> str:
    """Who is active as far as replication knows, by host name."""
    told = follower.status().active
    return told if told in (pair.primary.name, pair.mirror.name) else pair.primary.name


def _keep(pair: Pair, change: Change) -> None:
    found = change.verdict
    try:
        history.judged(
            pair.state_dir, pair.name, place=change.place, host=change.host, was=change.was, level=found.level.value,
            analysis=found.analysis.name, remedy=found.remedy.value, would=change.would, evidence=list(found.evidence),
        )  # fmt: skip
    except MailmirrorError as error:
        log.warning("A verdict can't be kept: %s pair=%s", error, pair.name)
