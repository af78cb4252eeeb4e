"""A journey's own replication: everybody else is kept off before a store is opened or turned, also without it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.errors import LinkLost
from orchestrator.failover.copying import Alone
from orchestrator.replication.indexes import Carrying
from orchestrator.replication.report import LastPass, PairStatus, SyncReport, VerifyReport


class Session:
    """See `copying.Copies`. It is lost when it is to let go."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def sync(self, *, adopt: bool = False) -> Sequence[SyncReport]:
        return []

    def look(self) -> PairStatus:
        return PairStatus("org")

    def last_pass(self) -> LastPass:
        return LastPass("org", "mail1", 1, True, [], None, 1, 1, 1, 0.1)

    def carry_indexes(self, carrying: Carrying, *, stopped: bool) -> int:
        return 0

    def verify(self, deep: bool = False) -> Sequence[VerifyReport]:
        return []

    def let_go(self) -> None:
        self._said.append("let go")
        raise LinkLost("mail1 is away")

    def close(self) -> None:
        self._said.append("close")


def test_everybody_is_kept_off_once_though_nothing_was_copied() -> None:
    said: list[str] = []
    alone = Alone(lambda: Session(said), lambda: said.append("away"))
    alone.let_go()
    alone.let_go()
    assert said == ["away"]
    assert alone.carry(1.0).equal
    assert said == ["away"]


def test_a_session_that_cant_let_go_is_closed_all_the_same() -> None:
    said: list[str] = []
    alone = Alone(lambda: Session(said), lambda: said.append("away"))
    alone.carry(1.0)
    with pytest.raises(LinkLost):
        alone.let_go()
    assert said == ["away", "let go", "close"]
    alone.let_go()
    assert said[-1] == "close"
