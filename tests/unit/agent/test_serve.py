"""The desk: one answer to every request, a PING answered while it works, and an end whatever the peer does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.agent import PROTOCOL, VERSION
from orchestrator.agent.serve import Answer, Fault, Work, args
from orchestrator.agent.wire import Decoder, Frame, Garbled, Kind, encode
from tests.support.pairs import HeldDesk


class Peer:
    """The controller's end, and the desk at the other."""

    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(10)
        self.desk = HeldDesk(theirs, {"uid": 0})
        self._decoder = Decoder()
        self._frames: list[Frame] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.desk.run()
        self.desk.release()

    def start(self) -> Frame:
        """Begin; the greeting."""
        self._thread.start()
        return self.next()

    def send(self, kind: Kind, number: int = 1, blob: bytes = b"", **head: Any) -> None:
        self.sock.sendall(encode(Frame(kind, number, head, blob)))

    def next(self) -> Frame:
        while not self._frames:
            data = self.sock.recv(1 << 16)
            if not data:
                raise EOFError
            self._frames += self._decoder.feed(data)
        return self._frames.pop(0)

    def ask(self, verb: object, **head: Any) -> Frame:
        self.send(Kind.REQUEST, verb=verb, **head)
        return self.next()

    def ended(self) -> bool:
        """Whether the desk has left, or leaves within seconds."""
        self._thread.join(8)
        return not self._thread.is_alive()

    def close(self) -> None:
        self.sock.close()
        if self._thread.ident is not None:
            assert self.ended()


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


@pytest.mark.issue("2.4 version greeting")
def test_the_first_frame_says_who_speaks(peer: Peer) -> None:
    greeting = peer.start()
    assert (greeting.kind, greeting.id) == (Kind.HELLO, 0)
    assert greeting.head == {"agent": VERSION, "protocol": PROTOCOL, "uid": 0}


def test_a_request_gets_one_reply_or_one_fault(peer: Peer) -> None:
    def fail(_head: dict[str, Any], _frame: Frame) -> Answer:
        raise Fault("nope", "it can't be done", "Do something else.")

    def crash(_head: dict[str, Any], _frame: Frame) -> Answer:
        return Answer({"never": 1 // 0})

    peer.desk.verbs.update(echo=lambda head, frame: Answer({"you": head["x"]}, frame.blob), fail=fail, crash=crash)
    peer.start()
    peer.send(Kind.REQUEST, 7, b"blob", verb="echo", x=1)
    assert peer.next() == Frame(Kind.REPLY, 7, {"you": 1}, b"blob")
    refusal = peer.ask("fail")
    assert (refusal.kind, refusal.head["code"], refusal.head["remedy"]) == (Kind.FAULT, "nope", "Do something else.")
    assert peer.ask("crash").head["code"] == "bug"
    for unknown in ("run", "", None, 7, ["echo"]):
        assert peer.ask(unknown).head["code"] == "unknown-verb"
    assert peer.ask("echo", x=2).head == {"you": 2}, "none of it ended the conversation"


def test_long_verbs_take_turns_with_others(peer: Peer) -> None:
    goes_on = threading.Event()

    def long() -> Work:
        while not goes_on.is_set():
            yield 0.001
        return Answer({"long": True})

    peer.desk.verbs.update(long=lambda _h, _f: long(), quick=lambda _h, _f: Answer({"quick": True}))
    peer.start()
    peer.send(Kind.REQUEST, 1, verb="long")
    peer.send(Kind.REQUEST, 2, verb="quick")
    assert peer.next() == Frame(Kind.REPLY, 2, {"quick": True})
    goes_on.set()
    assert peer.next() == Frame(Kind.REPLY, 1, {"long": True})


def test_a_busy_agent_answers_a_ping(peer: Peer) -> None:
    goes_on, works = threading.Event(), threading.Event()

    def block(_head: dict[str, Any], _frame: Frame) -> Answer:
        works.set()
        goes_on.wait(10)
        return Answer({})

    peer.desk.verbs["block"] = block
    peer.start()
    peer.send(Kind.REQUEST, 1, verb="block")
    works.wait(10)
    peer.send(Kind.PING, 9)
    pong = peer.next()
    assert (pong.kind, pong.id) == (Kind.PONG, 9)
    assert pong.head["busy"] >= 0
    goes_on.set()
    assert peer.next().kind is Kind.REPLY


@pytest.mark.issue("2.P hostile frames end the conversation")
@pytest.mark.parametrize("data", [b"\xff" * 14, encode(Frame(Kind.REQUEST, 1, {"verb": "x"}))[:-1] + b"\xff"])
def test_garbage_ends_the_conversation(peer: Peer, data: bytes) -> None:
    peer.start()
    peer.sock.sendall(data)
    assert peer.ended()


@pytest.mark.issue("2.P hostile frames end the conversation")
@pytest.mark.parametrize("error", [Garbled("no"), KeyError("g"), TypeError("x"), ValueError("y")], ids=repr)
def test_a_one_way_frame_that_makes_no_sense_ends_the_conversation(
    peer: Peer, error: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    def take(_frame: Frame) -> None:
        raise error

    peer.desk.oneway[Kind.CREDIT] = take
    peer.start()
    peer.send(Kind.CREDIT, bytes="many")
    assert peer.ended()
    assert "broke off" in capfd.readouterr().err


@pytest.mark.issue("2.4 hostile hang")
@pytest.mark.parametrize("heartbeat", [1e308, float("inf"), 1e9, -1, "1", None, True])
def test_no_heartbeat_that_a_peer_names_makes_the_agent_outlive_it(peer: Peer, heartbeat: object) -> None:
    peer.start()
    peer.send(Kind.HELLO, 0, heartbeat=heartbeat)
    peer.send(Kind.PING, 3)
    assert peer.next().kind is Kind.PONG
    peer.sock.close()
    assert peer.ended()


@pytest.mark.issue("2.4 hostile hang")
def test_a_silent_peer_is_left(peer: Peer) -> None:
    peer.start()
    peer.send(Kind.HELLO, 0, heartbeat=0.01)
    assert peer.ended(), "five seconds are the least that a peer is given"


@pytest.mark.issue("2.4 hostile grow")
def test_a_peer_that_floods_a_busy_agent_is_left(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.agent.serve.MAX_WAITING", 1 << 20)
    never = threading.Event()
    peer.desk.verbs["block"] = lambda _head, _frame: Answer({"slept": never.wait(1.0)})
    peer.start()
    peer.send(Kind.REQUEST, 1, verb="block")
    for _ in range(11):
        peer.send(Kind.BODY, 1, bytes(100_000))  # the last one isn't taken any more
    assert peer.ended()


def test_arguments_are_of_their_kind() -> None:
    assert args({"a": "x", "b": 3}, a=str, b=int) == ["x", 3]
    for head in ({}, {"a": 3}, {"a": None}, {"a": ["x"]}):
        with pytest.raises(Fault, match="argument 'a'"):
            args(head, a=str)
    with pytest.raises(Fault):
        args({"n": True}, n=int)
