"""What the daemon and the command line need of a pair's replication.

The interface stands here, in the room that needs it; `replication.session.Session`
provides it. Every method but `status` and `close` runs on one thread, the pair's own;
`status` and `close` may be called from any thread and return at once.

A pass may raise Refused (a safety rule; not worth retrying soon), LinkLost and
HostUnreachable (try again), AgentFault, and PartlyDone. Values returned are plain
dataclasses, so that `dataclasses.asdict` makes JSON of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Protocol

from orchestrator.replication.indexes import Carrying
from orchestrator.replication.report import (
    LastPass,
    PairStatus,
    Progress,
    Selection,
    SyncReport,
    UndeleteReport,
    VerifyReport,
)

Work = Callable[[], None]
Told = Callable[[Progress], None]
Trace = Callable[[str, int], None]
"""(base name, CLOCK_MONOTONIC nanoseconds of the directory fsync) of a message made durable on a passive place."""


class Replicates(Protocol):
    """A pair's replication, connected to its hosts."""

    def sync(
        self, progress: Told | None = None, *, dry_run: bool = False, deletes: bool = True, adopt: bool = False
    ) -> Sequence[SyncReport]:
        """One pass: audit, carry over, acknowledge. In a dry run nothing is changed and the reports are `planned`.

        `deletes=False` holds deletions back; `adopt` takes what stands on the mirror for a copy, compares and mends.
        """

    def follow(self, stop: threading.Event, requests: SimpleQueue[Work]) -> None:
        """Live until `stop` is set (returns) or the link is lost (raises).

        It waits for its next round on `requests` and on nothing else, so that a piece of work
        starts at once; whatever wakes it from elsewhere puts a piece of work there itself.
        A piece of work is called between two rounds, on the caller's thread, may call the
        other methods, and never raises.
        """

    def status(self) -> PairStatus:
        """How the pair stands, as last told. From any thread, at once."""

    def look(self) -> PairStatus:
        """How the pair stands now: every place is asked."""

    def verify(self, deep: bool = False) -> Sequence[VerifyReport]:
        """Compare both ends; `deep` reads the bodies too."""

    def initialise(self, *, adopt: bool = False, dry_run: bool = False) -> Sequence[str]:
        """Lay the markers down; sentences that say what was done, or would be. Raises NothingToDo, Refused.

        `adopt` marks a passive place although it holds something: its operator says that it is a copy.
        """

    def set_aside(self, *, dry_run: bool = False) -> Sequence[str]:
        """Empty each passive place into its quarantine, so that the next pass makes it anew; sentences.

        Raises Refused while the source is in doubt.
        """

    def undelete(self, chosen: Selection, *, dry_run: bool = False) -> Sequence[UndeleteReport]:
        """Bring deleted messages back out of the quarantine of each passive place."""

    def release(self, waiting: str) -> int:
        """Let the waiting deletions of this id through; how many. Raises Refused when it isn't what waits now."""

    def retire(self, account: str, *, dry_run: bool = False) -> int:
        """Let a vanished account's deletion through; how many messages. Raises Refused while it is there."""

    def last_pass(self) -> LastPass:
        """Carry over the rest and prove equality, with the services of the active place stopped on purpose."""

    def carry_indexes(self, carrying: Carrying, *, stopped: bool) -> int:
        """Carry Dovecot's index caches to the other mail host: ahead, or, `stopped`, the rest; how many."""

    def let_go(self) -> None:
        """Let go of every store, surely: when this returns, whoever wants to may open or turn them."""

    def close(self) -> None:
        """End the conversations. Whoever waits in another method gets LinkLost."""
