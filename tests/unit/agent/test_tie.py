"""The word that stands in a store and in its ledger: copies of two times are told apart."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent import beneath, tie
from orchestrator.agent.beneath import Root
from orchestrator.agent.ledger import Ledger
from orchestrator.agent.tie import Tie


class Tied:
    """A store and its ledger."""

    def __init__(self, base: Path) -> None:
        self.store, self.state = base / "store", base / "state"
        (self.store / ".mailmirror").mkdir(parents=True)
        self.root, self.ledger = Root(str(self.store)), Ledger(str(self.state / "ledger.sqlite"))
        self.tie = Tie(self.root, self.ledger)

    def renew(self) -> None:
        self.tie._due = 0.0
        self.tie.renew()
        self.ledger.commit()

    def found(self, base: Path) -> bool:
        """Whether the copies of both below `base` hold together."""
        ledger = Ledger(str(base / "state/ledger.sqlite"))
        with Root(str(base / "store")) as root:
            holds = Tie(root, ledger).holds
        ledger.close(clean=False)
        return holds

    def copied(self, to: Path) -> Path:
        for each in (self.store, self.state):
            shutil.copytree(each, to / each.name)
        return to


@pytest.fixture
def tied(tmp_path: Path) -> Iterator[Tied]:
    made = Tied(tmp_path / "here")
    yield made
    made.ledger.close(clean=False)
    made.root.close()


def test_new_ones_are_tied_and_stay_so(tied: Tied) -> None:
    assert tied.tie.holds
    for _ in range(3):
        tied.renew()
        assert tied.tie.holds


@pytest.mark.issue("2.5 resume with a mirror whose ledger or store was put back from an older copy")
def test_copies_of_two_times_are_told_apart(tied: Tied, tmp_path: Path) -> None:
    tied.renew()
    before = tied.copied(tmp_path / "before")
    tied.renew()
    after = tied.copied(tmp_path / "after")
    assert (tied.found(before), tied.found(after)) == (True, True)
    for part in ("store", "state"):
        mixed = tmp_path / part
        shutil.copytree(after, mixed)
        shutil.rmtree(mixed / part)
        shutil.copytree(before / part, mixed / part)
        assert not tied.found(mixed), f"an older {part}"


def test_a_crash_at_any_moment_unties_nothing(tied: Tied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments: list[Path] = []

    def seen(act: Any) -> Any:
        def call(*words: Any) -> Any:
            moments.append(tied.copied(tmp_path / f"{len(moments)}-before"))
            result = act(*words)
            moments.append(tied.copied(tmp_path / f"{len(moments)}-behind"))
            return result

        return call

    for name in ("create", "rename", "fsync_dir"):
        monkeypatch.setattr(beneath, name, seen(getattr(beneath, name)))
    monkeypatch.setattr(tied.ledger, "commit", seen(tied.ledger.commit))
    tied.renew()
    tied.renew()
    assert len(moments) == 20
    assert [path.name for path in moments if not tied.found(path)] == []


def test_a_word_is_good_for_a_while(tied: Tied, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(tie.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    tied.tie.renew()
    word = tied.ledger.meta.get("tie")
    now[0] += tie.EVERY - 1
    tied.tie.renew()
    assert tied.ledger.meta.get("tie") == word
    now[0] += 1
    tied.tie.renew()
    assert tied.ledger.meta.get("tie") != word
