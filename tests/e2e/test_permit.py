"""The deletion permit: it ends by itself, without anybody's help, and isn't given while the source is in doubt."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent.wire import Decoder, Frame, Kind, encode
from orchestrator.demo.mailbox import INBOX
from orchestrator.errors import LinkLost
from orchestrator.inventory.model import DeleteBudget
from orchestrator.remote.lines import agent_command
from orchestrator.replication.flow import PERMIT_SECONDS
from orchestrator.replication.report import Link
from tests.support import pairs


class HeldBack:
    """Stands between a controller and the mirror's agent, and may hold bodies back."""

    def __init__(self, path: Path, state: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        ours, theirs = socket.socketpair()
        self._agent = subprocess.Popen(
            agent_command(["--state", str(state)]), stdin=theirs.fileno(), stdout=theirs.fileno()
        )
        theirs.close()
        self._to_agent = ours
        self.hold = threading.Event()
        self.held: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._sending = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        self._controller, _ = self._listener.accept()
        threading.Thread(target=self._back, daemon=True).start()
        decoder = Decoder()
        while data := self._controller.recv(1 << 20):
            for frame in decoder.feed(data):
                if frame.kind is Kind.BODY and self.hold.is_set():
                    self.held.put(frame._replace(blob=bytes(frame.blob)))
                else:
                    self.send(frame)
        self._to_agent.shutdown(socket.SHUT_WR)

    def send(self, frame: Frame) -> None:
        with self._sending:
            self._to_agent.sendall(encode(frame))

    def _back(self) -> None:
        decoder = Decoder()
        while data := self._heard():
            for frame in decoder.feed(data):
                if frame.kind is Kind.NOTICE and "done" in frame.head:
                    self.done.put(frame.head)
            self._controller.sendall(data)
        self._controller.close()

    def _heard(self) -> bytes:
        try:
            return self._to_agent.recv(1 << 20)
        except ConnectionResetError:
            return b""  # the agent left with something unread: that is an end too

    def close(self) -> None:
        self._listener.close()
        self._to_agent.close()
        self._agent.wait(10)


class Alone:
    """An agent that nobody pings is ended by its own clock; this pings it in the stopped controller's place."""

    def __init__(self, between: HeldBack) -> None:
        self._over = threading.Event()
        self._between = between
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(1.0):
            self._between.send(Frame(Kind.PING, 0xFFFF0000, {}))

    def close(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def base() -> Iterator[Path]:
    with pairs.in_memory() as place:
        yield place


@pytest.mark.issue("2.5 permit: it runs out while the controller is stopped, and deletions flow again afterwards")
def test_a_stopped_controller_deletes_nothing(base: Path) -> None:
    laid = pairs.Laid(base, pairs.MEMORY)
    box = pairs.Mailbox(laid.source / "ex.org/ann")
    for number in range(4):
        box.folder(INBOX).deliver(b"Subject: %d\n\n" % number)
    laid.session.initialise()
    laid.sync()
    laid.end()
    there = laid.mirror / "ex.org/ann/new"
    argv = [sys.executable, "-m", "tests.support.paused", str(base), str(base / "sock")]
    with closing(HeldBack(base / "sock", laid.state("m"))) as between:
        controller = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert controller.stdin and controller.stdout
        try:
            print("pass", file=controller.stdin, flush=True)
            assert controller.stdout.readline() == "0\n"
            gone = sorted(box.folder(INBOX).messages())[0]
            box.folder(INBOX).expunge([gone])
            box.folder(INBOX).deliver(b"Subject: with a body, so that the batch can be held\n\n")
            between.hold.set()
            print("pass", file=controller.stdin, flush=True)
            body = between.held.get(timeout=20)
            os.kill(controller.pid, signal.SIGSTOP)
            with closing(Alone(between)):
                threading.Event().wait(PERMIT_SECONDS + 0.5)
                between.hold.clear()
                between.send(body)
                while (told := between.done.get(timeout=20))["tally"].get("messages") != 1:
                    continue
            assert told["tally"].get("deleted", 0) == 0
            assert told["tally"]["not_permitted"] >= 1
            assert (there / os.fsdecode(gone)).exists()
            os.kill(controller.pid, signal.SIGCONT)
            answer = controller.stdout.readline()
            assert answer in ("0\n", "1\n"), answer
            if answer == "0\n":
                print("pass", file=controller.stdin, flush=True)
                assert controller.stdout.readline() == "1\n"
            assert not (there / os.fsdecode(gone)).exists()
            controller.stdin.close()
            assert controller.wait(10) == 0
        finally:
            controller.kill()
            controller.wait()
    laid.sync()
    pairs.equal(laid)
    laid.end()


class Churned:
    """A folder that changes all the time: no listing of it holds still."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._over = folder, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._over.wait(0.0005):
            number += 1
            draft = self._folder.parent / "tmp/draft"
            draft.write_bytes(b"x\n")
            draft.rename(self._folder / f"17.{number}.host:2,")
            (self._folder / f"17.{number - 20}.host:2,").unlink(missing_ok=True)

    def close(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.issue("2.5 permit: none while the source's scan isn't whole")
def test_nothing_is_deleted_while_a_scan_of_the_source_isnt_whole(base: Path) -> None:
    laid = pairs.Laid(base, pairs.MEMORY, delete_budget=DeleteBudget(account_messages=100_000))
    ann, bob = (pairs.Mailbox(laid.source / f"ex.org/{name}") for name in ("ann", "bob"))
    bob.folder(INBOX).deliver(b"Subject: bob\n\n")
    laid.session.initialise()
    laid.sync()
    there = laid.mirror / "ex.org/bob/new"
    with closing(Churned(ann.root / "cur")):
        for _ in range(20):  # until a listing misses what an earlier one had; one that held still deletes rightly
            bob.folder(INBOX).expunge(bob.folder(INBOX).messages())
            bob.folder(INBOX).deliver(b"Subject: another\n\n")
            report = laid.sync()
            status = laid.session.status()
            assert status.permit_open or not report.tally.deleted
            if status.unstable_folders and not status.permit_open:
                break  # with an open permit the folder began to be unstable after this pass
        assert (report.tally.deleted, status.permit_open, status.unstable_folders) == (0, False, 1)
        assert len(list(there.iterdir())) == 2, "what is new flows"
    laid.sync()
    assert len(list(there.iterdir())) == 1
    pairs.equal(laid)
    laid.end()


@pytest.mark.issue("4.1 SUSPECT ends the deletion permit")
def test_nothing_is_deleted_while_the_active_place_is_suspect(base: Path) -> None:
    laid = pairs.Laid(base, pairs.MEMORY)
    box = pairs.Mailbox(laid.source / "ex.org/ann").folder(INBOX)
    for number in range(3):
        box.deliver(b"Subject: %d\n\n" % number)
    laid.session.initialise()
    suspect = threading.Event()
    session = type(laid.session)(laid.pair, laid.links, suspect=suspect.is_set)
    session.sync()
    assert session.status().permit_open
    suspect.set()
    box.expunge(sorted(box.messages())[:1])
    box.deliver(b"Subject: what is new flows\n\n")
    [report] = session.sync()
    assert (report.tally.messages, report.tally.deleted, session.status().permit_open) == (1, 0, False)
    assert len(list((laid.mirror / "ex.org/ann/new").iterdir())) == 4
    suspect.clear()
    [report] = session.sync()
    assert (report.tally.deleted, session.status().permit_open) == (1, True)
    pairs.equal(laid)
    laid.end()


@pytest.mark.issue("2.5 first copy goes on although a folder never holds still")
def test_a_first_copy_doesnt_wait_for_a_folder_that_never_holds_still(base: Path) -> None:
    laid = pairs.Laid(base, pairs.LOCAL)
    ann, bob = (pairs.Mailbox(laid.source / f"ex.org/{name}") for name in ("ann", "bob"))
    bob.folder(INBOX).deliver(b"Subject: bob\n\n")
    laid.session.initialise()
    settled = threading.Event()
    live = type(laid.session)(laid.pair, laid.links, on_event=lambda *_: None)
    stop, requests = threading.Event(), queue.SimpleQueue[Callable[[], None]]()
    ends: list[str] = []

    def follow() -> None:
        try:
            live.follow(stop, requests)
        except LinkLost as end:  # it was in the middle of a batch
            ends.append(str(end))

    follower = threading.Thread(target=follow)
    with closing(Churned(ann.root / "cur")):
        follower.start()
        try:
            for _ in range(400):
                if live.status().link is Link.LIVE:
                    settled.set()
                    break
                stop.wait(0.05)
            assert settled.is_set(), "it never came to follow"
            assert len(list((laid.mirror / "ex.org/bob/new").iterdir())) == 1
        finally:
            stop.set()
            requests.put(stop.set)
            follower.join(30)
    assert not follower.is_alive() and ends in ([], ["The daemon is stopping."])
    laid.end()
