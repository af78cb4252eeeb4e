"""The pair's replication as a journey uses it: a session of its own, while whoever follows otherwise stays away.

Invariant: no store is held after `let_go`, and never by two; a session that lost a link is begun anew by the next call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from orchestrator.failover.world import Equality
from orchestrator.replication.indexes import Carrying
from orchestrator.replication.report import LastPass, PairStatus, SyncReport, VerifyReport

SHOWN = 10
"""Differences in one sentence."""

T = TypeVar("T")


class Copies(Protocol):
    """What is needed of a session (`replication.session.Session`)."""

    def sync(self, *, adopt: bool = False) -> Sequence[SyncReport]: ...
    def look(self) -> PairStatus: ...
    def last_pass(self) -> LastPass: ...
    def carry_indexes(self, carrying: Carrying, *, stopped: bool) -> int: ...
    def verify(self, deep: bool = False) -> Sequence[VerifyReport]: ...
    def let_go(self) -> None: ...
    def close(self) -> None: ...


class Alone:
    """See `world.Copying`. `connect` begins a session; `away` has everybody else let go of the stores, and returns when
    they have; `known` is the lag as they know it, so that a mere look doesn't send them away.
    """

    def __init__(
        self,
        connect: Callable[[], Copies],
        away: Callable[[], None],
        known: Callable[[], float | None] | None = None,
    ) -> None:
        self._connect, self._away, self._known = connect, away, known
        self._session: Copies | None = None
        self._carrying = Carrying("")
        self._kept_off = False

    def close(self) -> None:
        """Let go, also of the conversations."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def lag(self) -> float | None:
        if self._session is None and self._known is not None:
            return self._known()
        return max((each.lag_seconds or 0.0 for each in self._open().look().passives), default=None)

    def carry(self, within: float) -> Equality:
        del within  # a pass ends by its own deadlines
        return self._tried(lambda session: _proven(session.last_pass()))

    def carry_indexes(self, operation: str, within: float, *, stopped: bool) -> str:
        del within
        if self._carrying.operation != operation:
            self._carrying = Carrying(operation)
        count = self._tried(lambda session: session.carry_indexes(self._carrying, stopped=stopped))
        return f"{count} index caches {'stand there' if stopped else 'are carried ahead'}"

    def let_go(self) -> None:
        self._keep_off()
        try:
            if self._session is not None:
                self._session.let_go()
        finally:
            self.close()

    def follow(self, within: float) -> Equality:
        del within

        def adopted(session: Copies) -> Equality:
            session.sync(adopt=True)
            return _proven(session.last_pass())

        return self._tried(adopted)

    def adopt(self, within: float) -> Equality:
        del within

        def adopted(session: Copies) -> Equality:
            session.sync(adopt=True)
            return _verified(session.verify())

        return self._tried(adopted)

    def proof(self, within: float) -> Equality:
        del within
        return self._tried(lambda session: _verified(session.verify()))

    def _tried(self, work: Callable[[Copies], T]) -> T:
        try:
            return work(self._open())
        except BaseException:
            self.close()  # whatever it was, the next try begins with fresh conversations
            raise

    def _open(self) -> Copies:
        if self._session is None:
            self._keep_off()
            self._session = self._connect()
        return self._session

    def _keep_off(self) -> None:
        if not self._kept_off:
            self._away()
            self._kept_off = True


def _verified(reports: Sequence[VerifyReport]) -> Equality:
    wrong = [f"{each.account} {each.folder}: {each.what}" for report in reports for each in report.differences[:SHOWN]]
    if wrong or not all(report.equal for report in reports):
        return Equality(False, "; ".join(wrong) or "they differ")
    first = reports[0]
    return Equality(True, f"{first.accounts} accounts with {first.messages} messages are equal")


def _proven(found: LastPass) -> Equality:
    if not found.equal:
        return Equality(False, " ".join(found.lacking))
    return Equality(
        True, f"{found.accounts} accounts with {found.messages} messages are equal, in {found.seconds:.1f} s"
    )
