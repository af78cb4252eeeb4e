"""The guard asked by a controller: what passes, what is refused, a guard that is silent. It is a witness's real one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent import queueorder
from orchestrator.agent.guardpost import SOCKET, Post
from orchestrator.agent.guardtalk import asked
from orchestrator.agent.serve import Fault
from orchestrator.agent.settings import Settings

SETTINGS = Settings(
    pair="org", place="witness", peers={"primary": ("127.0.0.1", 9), "mirror": ("127.0.0.1", 9)}, port=0, ttl=8.0,
    drift=0.01, stop=0.5, served=(), units=(), postfix=False, addresses=(), stores=(), fixed={},
)  # fmt: skip


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[str]:
    """The directory of its socket."""
    post = Post(SETTINGS, b"k" * 32, state=str(tmp_path / "state"), run=str(tmp_path / "run"))
    running = threading.Thread(target=post.run)
    running.start()
    yield str(tmp_path / "run")
    post.ending = True
    running.join(10)
    post.close()


def answered(order: Any, run: str, within: float = 10.0) -> dict[str, Any]:
    work = asked({"verb": "guard", "order": order}, run, within)
    while True:
        try:
            next(work)
        except StopIteration as end:
            head: dict[str, Any] = end.value.head
            return head


def test_its_status_is_passed_on(guard: str) -> None:
    told = answered({"verb": "status"}, guard)
    assert (told["pair"], told["place"], told["role"], told["epoch"]) == ("org", "witness", "witness", 0)
    assert set(told) >= {"armed", "gate", "hands", "denied", "doubted", "granted"}


def known(guard_file: Path, run: str, undoing: bool = False) -> int:
    work = queueorder.known(str(guard_file), undoing, run)
    while True:
        try:
            next(work)
        except StopIteration as end:
            epoch: int = end.value
            return epoch


@pytest.mark.issue("5.2 queue: an epoch that the guard knows to be over is refused")
def test_a_queues_order_goes_by_the_epoch_of_the_guard(guard: str, tmp_path: Path) -> None:
    answered({"verb": "begin", "operation": "op-1", "epoch": 3, "active": "primary"}, guard)
    there = tmp_path / "guard.json"
    assert known(there, guard) == 0, "no guard is laid down here"
    there.touch()
    assert known(there, guard) == known(there, guard, undoing=True) == 3
    queueorder.current(3, 3)
    with pytest.raises(Fault, match="epoch 2 is over"):
        queueorder.current(2, 3)
    with pytest.raises(Fault) as raised:
        known(there, str(tmp_path / "nobody"))
    assert raised.value.code == "unguarded", "a guard that is laid down and silent isn't an absent one"


def test_an_order_is_passed_on_once_and_a_refusal_changes_nothing(guard: str) -> None:
    begin = {"verb": "begin", "operation": "op-1", "epoch": 1, "active": "primary"}
    assert answered(begin, guard)["outcome"] == answered(begin, guard)["outcome"] == "begin in epoch 1"
    with pytest.raises(Fault, match="in epoch 1 already") as raised:
        answered({**begin, "operation": "op-2"}, guard)
    assert (raised.value.code, bool(raised.value.remedy)) == ("refused", True)
    assert answered({"verb": "status"}, guard)["epoch"] == 1


@pytest.mark.parametrize("order", [None, {}, "status", {"verb": "status", "run": "/bin/sh"}, {"words": "why"}])
def test_what_cant_be_an_order_is_refused_before_the_guard_hears_of_it(order: Any, tmp_path: Path) -> None:
    with pytest.raises(Fault) as raised:
        answered(order, str(tmp_path))
    assert raised.value.code == "bad-request"


def test_where_no_guard_is_that_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="doesn't answer") as raised:
        answered({"verb": "status"}, str(tmp_path))
    assert raised.value.code == "unguarded" and "agent install" in raised.value.remedy


def test_a_guard_that_hangs_is_waited_for_only_so_long(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / SOCKET))
        deaf.listen()
        with pytest.raises(Fault, match="timed out") as raised:
            answered({"verb": "status"}, str(tmp_path), 0.3)
    assert raised.value.code == "unguarded"
