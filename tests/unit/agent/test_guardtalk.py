"""The guard asked by a controller: what passes, what is refused, a guard that is silent. It is a witness's real one."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent import guardtalk, homes, queueorder
from orchestrator.agent.guardpost import SOCKET, Post
from orchestrator.agent.guardtalk import asked, main
from orchestrator.agent.homes import PLAIN, Home
from orchestrator.agent.serve import Fault
from orchestrator.agent.settings import Settings

SETTINGS = Settings(
    pair="org", place="witness", peers={"primary": ("127.0.0.1", 9), "mirror": ("127.0.0.1", 9)}, port=0, ttl=8.0,
    drift=0.01, stop=0.5, served=(), units=(), postfix=False, addresses=(), stores=(), fixed={},
)  # fmt: skip


@contextmanager
def at_work(settings: Settings, state: str, run: str) -> Iterator[None]:
    post = Post(settings, b"k" * 32, state=state, run=run)
    running = threading.Thread(target=post.run)
    running.start()
    try:
        yield
    finally:
        post.ending = True
        running.join(10)
        post.close()


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[str]:
    """The directory of its socket."""
    with at_work(SETTINGS, str(tmp_path / "state"), str(tmp_path / "run")):
        yield str(tmp_path / "run")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host without a guard."""
    for name in ("ETC", "LIB", "STATE", "RUN"):
        monkeypatch.setattr(homes, name, str(tmp_path / name))
    return tmp_path


def settings_at(home: Home, pair: str) -> None:
    Path(home.settings).parent.mkdir(parents=True)
    Path(home.settings).write_text(json.dumps({"pair": pair}))


@pytest.fixture
def two(host: Path) -> Iterator[None]:
    """A witness with guards of the pairs org and net; the first lies in the plain places."""
    settings_at(PLAIN, "org")
    settings_at(Home("net"), "net")
    other = SETTINGS._replace(pair="net")
    with at_work(SETTINGS, PLAIN.state, PLAIN.run), at_work(other, Home("net").state, Home("net").run):
        yield


def answered(order: Any, run: str = "", within: float = 10.0, **more: str) -> dict[str, Any]:
    work = asked({"verb": "guard", "order": order, **more}, run, within)
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
    assert (told["epoch"], told["armed"]) == (0, False), "a guard that knows of no epoch knows of no lease"


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


@pytest.mark.issue("4.2 a witness of several pairs: an order reaches the guard of its pair")
@pytest.mark.usefixtures("two")
def test_of_two_guards_that_of_the_pair_is_asked_and_without_a_pair_none() -> None:
    begin = {"verb": "begin", "operation": "op-1", "epoch": 3, "active": "primary"}
    assert answered(begin, pair="net")["pair"] == "net"
    assert [answered({"verb": "status"}, pair=pair)["epoch"] for pair in ("org", "net")] == [0, 3]
    for pair, code in (("", "which-pair"), ("other", "unguarded"), ("../pairs/net", "unguarded")):
        with pytest.raises(Fault, match="net, org") as raised:
            answered(begin, pair=pair)
        assert raised.value.code == code


@pytest.mark.issue("4.2 a witness of several pairs: mailmirror-guard says which, and shows all")
@pytest.mark.usefixtures("two")
def test_the_command_shows_all_guards_and_changes_none_that_is_not_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if line[0] != " "] == [
        "witness of net", "witness of org",
    ]  # fmt: skip
    assert main(["--pair", "org", "status", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["pair"] == "org"
    assert main(["grant", "--open-ended", "--reason", "new kernel"]) == 2
    assert "net, org" in capsys.readouterr().err
    assert main(["--pair", "nobody", "withdraw"]) == 2


@pytest.mark.issue("4.2 open-ended grants by mailmirror-guard grant, which says whether the active has it; withdraw")
def test_a_grant_that_nobody_has_asked_for_is_told_and_may_be_withdrawn(
    host: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guardtalk, "WITHIN", 0.3)
    settings_at(PLAIN, "org")
    with at_work(SETTINGS, PLAIN.state, PLAIN.run):
        assert main(["begin", "--epoch", "1", "--active", "primary"]) == 0
        assert "hasn't confirmed yet that the lease is armed" in capsys.readouterr().out
        assert main(["grant", "--open-ended", "--reason", "new kernel"]) == 1
        said = capsys.readouterr()
        assert "lets the primary serve without an end (new kernel); `mailmirror-guard withdraw` ends it" in said.out
        assert "leave this host alone" in said.err
        assert main(["status"]) == 0 and "(new kernel)" in capsys.readouterr().out
        assert main(["withdraw"]) == 0 and "new kernel" not in capsys.readouterr().out


def test_where_one_guard_is_it_is_meant_and_none_is_told_apart_from_another_pairs(host: Path) -> None:
    with pytest.raises(Fault, match="doesn't answer"):
        answered({"verb": "status"})
    settings_at(Home("net"), "net")
    with at_work(SETTINGS._replace(pair="net"), Home("net").state, Home("net").run):
        assert answered({"verb": "status"})["pair"] == "net"
        with pytest.raises(Fault, match="no guard of org is on this host, but of net"):
            answered({"verb": "status"}, pair="org")
