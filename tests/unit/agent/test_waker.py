"""Whatever watches come, go and are replaced while the waker waits: what changes later wakes the worker."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent import marker
from orchestrator.agent.main import Agent
from orchestrator.agent.waker import Waker
from orchestrator.agent.watch import Polling, Watch, choose
from orchestrator.agent.wire import Frame, Kind
from orchestrator.remote.host import Conversation
from tests.support.pairs import HeldDesk


class Worker:
    """Counts its wakes."""

    def __init__(self) -> None:
        self._woken = threading.Semaphore(0)
        self.waker = Waker(self._woken.release)

    def woken(self, within: float = 5.0) -> bool:
        return self._woken.acquire(timeout=within)


@pytest.fixture
def worker() -> Iterator[Worker]:
    before = set(threading.enumerate())
    made = Worker()
    yield made
    made.waker.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()


def watching(root: Path) -> Watch:
    watch = choose(str(root), "inotify")
    watch.follow(b"")
    return watch


def test_a_change_wakes_once_until_it_is_told_as_read(worker: Worker, tmp_path: Path) -> None:
    watch = watching(tmp_path)
    worker.waker.rearm([watch])
    (tmp_path / "a").touch()
    assert worker.woken()
    assert not worker.woken(0.1), "the worker hasn't read yet"
    watch.read()
    worker.waker.rearm([watch])
    assert not worker.woken(0.1), "nothing is new"
    (tmp_path / "b").touch()
    assert worker.woken()
    watch.close()


def test_a_watch_that_takes_a_closed_ones_number_wakes(worker: Worker, tmp_path: Path) -> None:
    watch = watching(tmp_path)
    number = watch.fileno()
    worker.waker.rearm([watch])
    for count in range(20):
        watch.close()
        watch = watching(tmp_path)
        assert watch.fileno() == number, "the case that is meant"
        worker.waker.rearm([watch])
        (tmp_path / str(count)).touch()
        assert worker.woken()
        watch.read()
    watch.close()


def test_a_closed_number_that_is_another_files_now_does_not_wake(worker: Worker, tmp_path: Path) -> None:
    watch = watching(tmp_path)
    number = watch.fileno()
    worker.waker.rearm([watch])
    watch.close()
    with (tmp_path / "file").open("wb") as file:
        assert file.fileno() == number, "always readable"
        worker.waker.rearm([Polling()])
        assert not worker.woken(0.2)


def test_one_of_two_watches_is_let_go_without_the_other(worker: Worker, tmp_path: Path) -> None:
    roots = [tmp_path / name for name in "ab"]
    for root in roots:
        root.mkdir()
    first, second = map(watching, roots)
    worker.waker.rearm([first, second])
    worker.waker.rearm([second])
    (roots[0] / "x").touch()
    assert not worker.woken(0.2)
    (roots[1] / "x").touch()
    assert worker.woken()
    for watch in (first, second):
        watch.close()


# ---- in the agent ----------------------------------------------------------------------------------------------------


class Followed:
    """A conversation with an agent in this process that follows a store, and the changes that it told of."""

    def __init__(self, base: Path) -> None:
        ours, theirs = socket.socketpair()
        self.root = base / "store"
        self.new = self.root / "ann" / "new"
        for part in ("cur", "new", "tmp"):
            (self.root / "ann" / part).mkdir(parents=True)
        self._desk = HeldDesk(theirs, {"boot": marker.boot_id(), "uid": os.geteuid(), "stores": None})
        self._thread = threading.Thread(target=self._run, args=(str(base / "state"),))
        self._thread.start()
        self.talk = Conversation(ours, name="agent")
        self._changed = threading.Semaphore(0)
        self.talk.subscribe(self._hear)
        self.ask("store.init", store_id="s", pair="p", place="primary", role=marker.ACTIVE, epoch=1)

    def _run(self, state: str) -> None:
        agent = Agent(self._desk, state, None, ["replication"])
        self._desk.run()
        agent.close()
        self._desk.release()

    def _hear(self, frame: Frame) -> None:
        if frame.kind is Kind.NOTICE and "changed" in frame.head:
            self._changed.release()

    def ask(self, verb: str, **head: Any) -> dict[str, Any]:
        return self.talk.request(verb, {"store": str(self.root), **head}, timeout=20).head

    def open(self) -> None:
        self.ask("store.open", side="source", watch="inotify")
        assert self.ask("source.audit")["watch"] == "inotify"

    def tells_of(self, name: str, within: float) -> bool:
        """Whether a change from now on is told."""
        while self._changed.acquire(blocking=False):
            pass
        (self.new / name).write_bytes(b"mail\n")
        return self._changed.acquire(timeout=within)

    def end(self) -> None:
        self.talk.close()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[Followed]:
    made = Followed(tmp_path)
    yield made
    made.end()


def test_a_store_that_is_closed_and_opened_again_while_mail_comes_is_still_followed(followed: Followed) -> None:
    stop = threading.Event()

    def deliver() -> None:
        count = 0
        while not stop.is_set():
            (followed.new / f"flood-{count}").write_bytes(b"mail\n")
            count += 1
            stop.wait(0.002)

    flood = threading.Thread(target=deliver)
    flood.start()
    try:
        for count in range(15):
            followed.open()
            if count % 2:
                followed.ask("store.close")
    finally:
        stop.set()
        flood.join()
    followed.open()
    for count in range(3):
        assert followed.tells_of(f"later-{count}", within=5.0)


def test_a_store_that_is_opened_again_in_silence_is_still_followed(followed: Followed) -> None:
    for count in range(5):
        followed.open()
        assert followed.tells_of(str(count), within=5.0)
        followed.ask("store.close")
