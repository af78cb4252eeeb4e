"""Bodies by several ways arrive once and in order, or the conversation ends."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent import lanes as agent_lanes
from orchestrator.agent.lanes import LaneListener, Order
from orchestrator.agent.wire import Frame, Garbled, Kind
from orchestrator.errors import HostUnreachable, LinkLost
from orchestrator.remote.host import Conversation
from orchestrator.remote.lines import ChildLine, Line, house
from tests.unit.remote.test_host import TOY, gone, toy


def numbered(number: int, kind: Kind = Kind.BODY, size: int = 0) -> Frame:
    return Frame(kind, 1, {"seq": number}, bytes(size))


def lane(token: str) -> ChildLine:
    return ChildLine([sys.executable, "-I", "-S", str(TOY), house(), "lane", token])


@given(st.integers(0, 60), st.integers(1, 5), st.randoms(use_true_random=False))
def test_frames_come_out_as_they_were_sent_however_they_overtook(count: int, ways: int, rng: random.Random) -> None:
    streams: list[list[Frame]] = [[] for _ in range(ways)]
    for number in range(count):
        rng.choice(streams).append(numbered(number))
    out: list[Frame] = []
    order = Order(out.append)
    while any(streams):
        order.put(rng.choice([stream for stream in streams if stream]).pop(0))
    assert [frame.head["seq"] for frame in out] == list(range(count))


@pytest.mark.parametrize("number", [None, "1", 0, 2])
def test_a_number_that_can_not_be_is_garbled(number: object) -> None:
    order = Order(lambda frame: None)
    order.put(numbered(0))
    order.put(numbered(2))
    with pytest.raises(Garbled):
        order.put(Frame(Kind.BODY, 1, {"seq": number}))


def test_what_waits_for_a_missing_frame_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_lanes, "MAX_AHEAD", 100)
    order = Order(lambda frame: None)
    with pytest.raises(Garbled, match="wait for a frame that doesn't come"):
        for number in range(1, 5):
            order.put(numbered(number, size=40))


@pytest.mark.issue("2.3 several channels where one sshd window would be the limit")
def test_bodies_by_four_lanes_arrive_once_and_in_order() -> None:
    line, opened = toy(), list[ChildLine]()

    def branch(token: str) -> Line:
        opened.append(lane(token))
        return opened[-1]

    with Conversation(line, name="toy", branch=branch) as talk:
        assert talk.widen(4) == 4
        assert talk.widen(4) == 0, "once"
        for n in range(200):
            talk.send(Frame(Kind.BODY, 1, {"n": n}, bytes(random.Random(n).randrange(100_000))))
        told = talk.request("told", timeout=20).head
        assert told["count"] == 200 and told["in_order"]
        assert talk.bytes_out > told["bytes"]
    assert all(gone(each.pid) for each in [line, *opened])


def test_a_lane_that_dies_ends_the_conversation() -> None:
    opened: list[ChildLine] = []

    def branch(token: str) -> Line:
        opened.append(lane(token))
        return opened[-1]

    with Conversation(toy(), name="toy", branch=branch) as talk:
        talk.widen(2)
        opened[1].abort()
        with pytest.raises(LinkLost):
            for n in range(1000):
                talk.send(Frame(Kind.BODY, 1, {"n": n}, bytes(100_000)))
            talk.request("told", timeout=20)
        assert "lost a lane" in talk.why or "can't be written to" in talk.why


def test_a_lane_with_a_wrong_token_is_told() -> None:
    with (
        Conversation(toy(), name="toy", branch=lambda token: lane("0" * 32)) as talk,
        pytest.raises(HostUnreachable, match=r"(?s)a lane for bodies can't be opened.*no agent takes this lane"),
    ):
        talk.widen(1)


def test_where_no_more_lines_can_be_opened_there_are_none() -> None:
    with Conversation(toy(), name="toy") as talk:
        assert talk.widen(4) == 0
        talk.send(Frame(Kind.BODY, 1, {"n": 0}, b"body"))
        assert talk.request("told", timeout=20).head["count"] == 1


def test_another_user_can_not_hand_in_a_lane() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to be another user")
    broken: list[str] = []
    listener = LaneListener(lambda frame: None, broken.append)
    code = f"import os, sys; sys.path.append({house()!r}); from orchestrator.agent.lanes import lend"
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"{code}; os.setuid(65534); lend(sys.argv)", listener.token],
            stdin=subprocess.PIPE, capture_output=True, check=False,
        )  # fmt: skip
        assert b"the agent refused this lane" in done.stderr and not done.stdout
    finally:
        listener.close()
        for thread in threading.enumerate():
            if thread.name == "lanes":
                thread.join(5)
    assert broken == []


def test_a_lane_that_hands_in_no_stream_is_sent_away(tmp_path: Path) -> None:
    listener = LaneListener(lambda frame: None, lambda why: None)
    try:
        with socket.socket(socket.AF_UNIX) as sock, (tmp_path / "file").open("wb") as file:
            sock.connect(b"\0mailmirror-lane-" + listener.token.encode())
            socket.send_fds(sock, [b"+"], [file.fileno()])
            assert sock.recv(1) == b""
    finally:
        listener.close()
        for thread in threading.enumerate():
            if thread.name == "lanes":
                thread.join(5)
