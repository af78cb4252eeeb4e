"""A host whose guard gates no port and no unit: its services are silent by that guard's word, and there is no queue.

The guard is a real one, alone in its pair.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent import mailqueue, services
from orchestrator.agent.homes import Home
from orchestrator.agent.serve import Fault
from orchestrator.agent.settings import parse
from orchestrator.agent.wire import Frame, Kind
from tests.unit.agent.test_guardtalk import answered, at_work

GUARD = {
    "pair": "org", "place": "primary", "peers": {}, "port": 0, "ttl": 0, "drift": 0.01, "stop": 0.5, "served": [],
    "units": [], "postfix": False, "addresses": [], "stores": [], "fixed": {}, "listen": "127.0.0.1",
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """The active place of epoch 1."""
    (tmp_path / "guard.json").write_text(json.dumps(GUARD))
    (tmp_path / "guard.key").write_text("k" * 32)
    with at_work(parse(json.dumps(GUARD)), str(tmp_path), str(tmp_path)):
        answered({"verb": "begin", "operation": "op-0", "epoch": 1, "active": "primary"}, str(tmp_path))
        yield Home(alone=str(tmp_path))


def asked(home: Home, do: str, operation: str = "op-1", **more: Any) -> dict[str, Any]:
    work = services.done({"do": do, "operation": operation, "epoch": 1, **more}, home)
    while True:
        try:
            next(work)
        except StopIteration as end:
            told: dict[str, Any] = end.value.head
            return told


def quiesce(home: Home) -> None:
    order = {"verb": "quiesce", "operation": "op-1", "epoch": 1, "seconds": 30.0, "words": "a switchover"}
    answered(order, home.run)


def test_all_of_a_guard_that_nobody_installed_lies_in_one_directory(tmp_path: Path) -> None:
    home = Home(alone=str(tmp_path))
    assert {home.settings, home.key} == {f"{tmp_path}/guard.json", f"{tmp_path}/guard.key"}
    assert home.state == home.run == str(tmp_path)


def test_nothing_is_done_before_the_guard_is_quiet(home: Home) -> None:
    assert asked(home, "look")["units"] == [] and asked(home, "look")["quiet"] is None
    for do in ("reject", "drain", "stop"):
        with pytest.raises(Fault, match="doesn't keep it quiet by op-1"):
            asked(home, do, seconds=1.0)


def test_its_quiet_is_all_there_is_and_names_the_operation(home: Home) -> None:
    quiesce(home)
    told = asked(home, "stop")
    assert (told["state"], told["units"], told["writers"], told["rejects"]) == ("DONE", [], [], {})
    assert told["quiet"]["operation"] == "op-1"
    with pytest.raises(Fault, match="keep it quiet by another"):
        asked(home, "stop", operation="another")
    assert asked(home, "open")["state"] == "NOT_DONE", "the guard's own resume ends it"
    answered({"verb": "resume", "operation": "op-2", "epoch": 1}, home.run)
    assert asked(home, "open")["state"] == "DONE"


def test_a_host_without_postfix_has_no_letters_and_takes_none(home: Home) -> None:
    def ask(do: str, **more: Any) -> dict[str, Any]:
        head = {"do": do, "instance": "", **more}
        work = mailqueue.asked(head, Frame(Kind.REQUEST, 1, head, b""), home.settings, home.run)
        while True:
            try:
                next(work)
            except StopIteration as end:
                told: dict[str, Any] = end.value.head
                return told

    assert ask("list", after="")["letters"] == [] and ask("laid", after=0)["laid"] == []
    with pytest.raises(Fault):
        ask("hold", operation="op-1", epoch=1, ids=["A1"])
    Path(home.settings).write_text("{}")
    with pytest.raises(Fault, match=r"guard\.json") as raised:
        ask("list", after="")
    assert raised.value.code == "unguarded"
