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


def test_a_lane_with_a_wrong_token_is_not_taken_and_bodies_go_on_without() -> None:
    with Conversation(toy(), name="toy", branch=lambda token: lane("0" * 32)) as talk:
        assert talk.widen(2) == 0
        assert "a lane for bodies can't be opened" in talk.narrow and "no agent takes this lane" in talk.narrow
        talk.send(Frame(Kind.BODY, 1, {"n": 0}, b"body"))
        assert talk.request("told", timeout=20).head["count"] == 1


def test_fewer_lanes_than_were_wanted_are_used() -> None:
    opened: list[ChildLine] = []
    door = threading.Lock()

    def branch(token: str) -> Line:
        with door:
            if len(opened) == 2:
                raise HostUnreachable("sshd opens no more")
            opened.append(lane(token))
            return opened[-1]

    with Conversation(toy(), name="toy", branch=branch) as talk:
        assert (talk.widen(4), talk.narrow) == (2, "sshd opens no more")
        for n in range(50):
            talk.send(Frame(Kind.BODY, 1, {"n": n}, bytes(100_000)))
        assert talk.request("told", timeout=20).head["in_order"]
    assert all(gone(each.pid) for each in opened)


def test_lanes_that_open_while_bodies_flow_overtake_none_of_them() -> None:
    line, sent, stop = toy(), [0], threading.Event()
    with Conversation(line, name="toy", branch=lane) as talk:

        def pour() -> None:
            while not stop.is_set():
                talk.send(Frame(Kind.BODY, 1, {"n": sent[0]}, bytes(300_000)))
                sent[0] += 1

        thread = threading.Thread(target=pour)
        thread.start()
        assert talk.widen(4) == 4
        widened_at = sent[0]
        while sent[0] < widened_at + 50:
            talk.request("echo", timeout=20)
        stop.set()
        thread.join()
        told = talk.request("told", timeout=20).head
        assert (told["count"], told["in_order"]) == (sent[0], True)
        assert widened_at > 0, "bodies were under way"


def test_an_agent_that_knows_no_lanes_is_used_as_it_is() -> None:
    with Conversation(toy(), name="toy", branch=lane) as talk:
        talk.request("no-lanes", timeout=20)
        assert (talk.widen(4), talk.widened) == (0, True)
        assert "toy: I know no lanes" in talk.narrow


def test_where_no_more_lines_can_be_opened_there_are_none() -> None:
    with Conversation(toy(), name="toy") as talk:
        assert talk.widen(4) == 0
        talk.send(Frame(Kind.BODY, 1, {"n": 0}, b"body"))
        assert talk.request("told", timeout=20).head["count"] == 1


def settled(listener: LaneListener) -> None:
    listener.close()
    for thread in threading.enumerate():
        if thread.name == "lanes":
            thread.join(5)


AS_NOBODY = "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); "


def test_another_user_can_not_hand_in_a_lane() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to be another user")
    broken: list[str] = []
    listener = LaneListener(lambda frame: None, broken.append)
    hand_in = (
        "agent = socket.socket(socket.AF_UNIX); agent.connect(b'\\0mailmirror-lane-' + sys.argv[1].encode()); "
        "socket.send_fds(agent, [b'+'], [0]); print(agent.recv(1))"
    )
    try:
        argv = [sys.executable, "-c", AS_NOBODY + hand_in, listener.token]
        done = subprocess.run(argv, stdin=subprocess.PIPE, capture_output=True, check=True)
        assert done.stdout == b"b''\n"
    finally:
        settled(listener)
    assert broken == []


def test_a_lane_is_not_lent_to_another_user_who_took_its_name() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to be another user")
    listen = (
        "door = socket.socket(socket.AF_UNIX); door.bind(b'\\0mailmirror-lane-' + sys.argv[1].encode()); "
        "door.listen(); print(flush=True); peer = door.accept()[0]; print(peer.recv(1))"
    )
    token = "f" * 32
    with subprocess.Popen([sys.executable, "-c", AS_NOBODY + listen, token], stdout=subprocess.PIPE) as thief:
        assert thief.stdout is not None
        thief.stdout.readline()
        line = lane(token)
        said = line.settle()
        assert "another user listens for this lane" in said
        assert thief.stdout.read() == b"b''\n"


def test_a_lane_that_hands_in_no_stream_is_sent_away(tmp_path: Path) -> None:
    listener = LaneListener(lambda frame: None, lambda why: None)
    try:
        with socket.socket(socket.AF_UNIX) as sock, (tmp_path / "file").open("wb") as file:
            sock.connect(b"\0mailmirror-lane-" + listener.token.encode())
            socket.send_fds(sock, [b"+"], [file.fileno()])
            assert sock.recv(1) == b""
    finally:
        settled(listener)
