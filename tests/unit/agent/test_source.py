"""A source that is asked before it has seen everything: what its survey knows, and whom it lets wait."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent import marker
from orchestrator.agent.agenda import UNSTABLE_TRIES
from orchestrator.agent.beneath import Root
from orchestrator.agent.serve import Answer, Desk, Outlet, Work
from orchestrator.agent.source import Source

FOLDERS, EACH = 12, 3


class Sourced:
    """An active store with a few folders, never read before."""

    def __init__(self, base: Path) -> None:
        self.base, self.path = base, base / "store"
        for number in range(FOLDERS):
            for part in ("cur", "new", "tmp"):
                (self.path / f"ann{number}" / part).mkdir(parents=True)
            for message in range(EACH):
                (self.path / f"ann{number}/cur/{message}.host:2,").write_bytes(b"x")
        with Root(str(self.path)) as root:
            marker.write(root, marker.Marker("s", "pair", "p", marker.ACTIVE, 1, 1, "n", ""))
        self._ours, self._theirs = socket.socketpair()
        fd = self._theirs.fileno()
        head = {"store_id": "s", "watch": "poll"}
        self.source = Source(Desk(fd, Outlet(fd), {}), str(self.path), str(base / "state"), head)

    def offer(self, *, rows: int, live: int = 0, patient: bool = True) -> Answer | Work:
        head = {"batch": 1, "live": live, "dead": 0, "rows": rows, "bytes": 1 << 20, "patient": patient}
        return self.source.offer(head)

    def close(self) -> None:
        self.source.close()
        self._ours.close()
        self._theirs.close()


@pytest.fixture
def sourced(tmp_path: Path) -> Iterator[Sourced]:
    made = Sourced(tmp_path)
    yield made
    made.close()


def answer_of(work: Work) -> dict[str, Any]:
    while True:
        try:
            next(work)
        except StopIteration as end:
            answer: Answer = end.value
            return answer.head


@pytest.mark.issue("2.5 first copy; refuse foreign formats")
def test_a_survey_knows_every_directory_before_any_message_is_read(sourced: Sourced) -> None:
    (sourced.path / "zoe/mdbox/storage").mkdir(parents=True)
    (sourced.path / "zoe/mdbox/mailboxes").mkdir()
    known = answer_of(sourced.source.audit({"survey": True}))
    assert (known["accounts"], known["folders"], known["messages"], known["whole"]) == (FOLDERS, FOLDERS, 0, False)
    assert known["foreign"] == [["zoe", "mdbox"]]
    whole = answer_of(sourced.source.audit({}))
    assert (whole["messages"], whole["whole"]) == (FOLDERS * EACH, True)


def test_who_asks_patiently_is_answered_when_enough_is_found(sourced: Sourced) -> None:
    known = answer_of(sourced.source.audit({"survey": True}))
    work = sourced.offer(rows=2 * EACH, live=known["head"])
    assert not isinstance(work, Answer)
    assert next(work) is None, "not yet"
    while sourced.source.log.head < known["head"] + 2 * EACH:
        assert next(work) is None
        sourced.source.background()
    head = answer_of(work)
    found = sourced.source.scanner.tree.totals()[2]
    assert 2 * EACH <= found < FOLDERS * EACH, "before the audit was over"
    assert (head["rows"], head["messages"], head["whole"]) == (found, found, False)


def test_who_asks_for_more_than_there_is_is_answered_when_all_is_read(sourced: Sourced) -> None:
    work = sourced.offer(rows=10_000)
    assert not isinstance(work, Answer)
    while sourced.source.background() == 0.0:
        pass
    head = answer_of(work)
    assert (head["rows"], head["whole"]) == (FOLDERS * EACH, True)
    assert isinstance(sourced.offer(rows=10_000), Answer), "afterwards nobody waits"


def test_who_asks_without_patience_is_answered_at_once(sourced: Sourced) -> None:
    answer = sourced.offer(rows=10_000, patient=False)
    assert isinstance(answer, Answer)
    assert (answer.head["rows"], answer.head["whole"]) == (0, False)


def test_a_folder_that_never_holds_still_is_not_waited_for(sourced: Sourced) -> None:
    work = sourced.offer(rows=10_000)
    assert not isinstance(work, Answer)
    agenda = sourced.source.scanner.agenda
    while sourced.source.background() == 0.0:
        folder = sourced.source.scanner.tree.by_path.get(b"ann0")
        if folder is not None:
            folder.unstable = UNSTABLE_TRIES
            agenda.add(folder, due=1e12)
    assert agenda.held_up
    assert answer_of(work)["rows"] == FOLDERS * EACH
