"""A conversation ends every request, finds a silent peer, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.agent import PROTOCOL
from orchestrator.agent.wire import Frame, Kind, encode
from orchestrator.errors import AgentFault, HostUnreachable, LinkLost, StillRunning
from orchestrator.remote.host import Conversation
from orchestrator.remote.lines import ChildLine, SocketLine, house

TOY = Path(__file__).parents[2] / "support" / "toy_agent.py"


def toy(*arguments: str) -> ChildLine:
    return ChildLine([sys.executable, "-I", "-S", str(TOY), house(), *arguments])


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test may leave a thread or a descriptor. One of an earlier test may end meanwhile."""
    threads, descriptors = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    yield
    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_request_gets_its_reply_and_a_close_ends_the_child() -> None:
    line = toy()
    with Conversation(line, name="toy") as talk:
        assert talk.hello["agent"] == "toy"
        reply = talk.request("echo", {"n": 1}, b"blob" * 1000, timeout=10)
        assert reply.head == {"n": 1, "verb": "echo"} and reply.blob == b"blob" * 1000
        assert talk.bytes_in > 4000 and talk.bytes_out > 4000
    assert gone(line.pid)
    with pytest.raises(LinkLost, match="closed here"):
        talk.request("echo")
    talk.close()


def test_a_fault_keeps_its_code_and_remedy() -> None:
    with Conversation(toy(), name="toy") as talk, pytest.raises(AgentFault, match="toy: I won't") as caught:
        talk.request("fail", timeout=10)
    assert caught.value.code == "refused" and caught.value.remedy == "Ask nicely."


def test_a_late_answer_is_still_running_then_there() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(_hello())
        with Conversation(ours, name="late") as talk:
            pending = talk.start("echo")
            with pytest.raises(StillRunning):
                pending.result(0.01)
            theirs.sendall(_frame(Kind.REPLY, pending.id))
            assert pending.result(10).id == pending.id


def test_bodies_reach_the_subscribers_until_they_leave() -> None:
    seen: list[int] = []
    with Conversation(toy(), name="toy") as talk:
        leave = talk.subscribe(lambda frame: seen.append(len(frame.blob)))
        talk.request("bodies", {"n": 5, "size": 1 << 20}, timeout=20)
        leave()
        talk.request("bodies", {"n": 5, "size": 10}, timeout=20)
    assert seen == [1 << 20] * 5


def test_frames_of_many_threads_stay_whole() -> None:
    with Conversation(toy(), name="toy") as talk:
        wrong: list[int] = []

        def chat(n: int) -> None:
            for size in (10, 1000, 600_000):
                if talk.request("echo", {}, bytes([n]) * size, timeout=20).blob != bytes([n]) * size:
                    wrong.append(n)

        threads = [threading.Thread(target=chat, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.issue("2.3 an agent that dies is told with its last words")
def test_an_agent_that_dies_is_lost_with_its_last_words() -> None:
    with Conversation(toy(), name="toy") as talk:
        with pytest.raises(LinkLost, match=r"(?s)exit status 1.*the toy broke"):
            talk.request("die", timeout=10)
        assert talk.lost.is_set() and "the toy broke" in talk.why


def test_an_agent_that_cannot_start_says_why() -> None:
    with pytest.raises(HostUnreachable, match=r"(?s)toy: no conversation.*nonsense"):
        Conversation(ChildLine([sys.executable, "-c", "import nonsense"]), name="toy")


def test_another_protocol_is_refused_with_a_remedy() -> None:
    with pytest.raises(HostUnreachable, match="speaks protocol 99") as caught:
        Conversation(toy("99"), name="toy")
    assert "agent update" in caught.value.remedy


def test_what_is_no_frame_ends_the_conversation() -> None:
    with Conversation(toy(), name="toy") as talk, pytest.raises(LinkLost, match="a header that announces"):
        talk.request("babble", timeout=10)


@pytest.mark.parametrize("kind", [Kind.REPLY, Kind.FAULT, Kind.HELLO, Kind.REQUEST])
def test_what_an_agent_may_not_send_ends_the_conversation(kind: Kind) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(_hello())
        with Conversation(ours, name="odd") as talk:
            theirs.sendall(_frame(kind, 77))
            assert talk.lost.wait(10)
            assert "sent" in talk.why


@pytest.mark.issue("2.3 heartbeat finds a dead peer in seconds")
def test_a_stopped_agent_is_found_and_ended() -> None:
    line = toy()
    talk = Conversation(line, name="toy", heartbeat=0.2, dead_after=2.0)
    os.kill(line.pid, signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(LinkLost, match="nothing came from it for 2 s"):
        talk.request("echo", timeout=20)
    assert 1.0 < time.monotonic() - begin < 4.5
    talk.close()
    assert gone(line.pid)


def test_a_peer_that_reads_nothing_does_not_keep_the_sender_for_ever() -> None:
    line = toy()
    talk = Conversation(line, name="toy", heartbeat=0.2, dead_after=2.0)
    os.kill(line.pid, signal.SIGSTOP)
    with pytest.raises(LinkLost):
        for _ in range(100):
            talk.send(Frame(Kind.BODY, 1, {}, bytes(1 << 20)))
    talk.close()


def test_a_subscriber_that_raises_ends_the_conversation_and_says_so() -> None:
    def broken(frame: Frame) -> None:
        raise ValueError("no such account")

    with Conversation(toy(), name="toy") as talk:
        talk.subscribe(broken)
        with pytest.raises(LinkLost, match="no such account"):
            talk.request("bodies", {"n": 1, "size": 1}, timeout=10)


def test_the_host_that_a_body_was_handed_on_to_is_named_as_the_cause() -> None:
    def hands_on(frame: Frame) -> None:
        raise LinkLost("mail2: the agent ended it (it said: No space left on device)")

    with Conversation(toy(), name="mail1") as talk:
        talk.subscribe(hands_on)
        with pytest.raises(LinkLost) as told:
            talk.request("bodies", {"n": 1, "size": 1}, timeout=10)
    assert "given up, because of mail2: the agent ended it (it said: No space left on device)" in str(told.value)


def test_a_subscriber_that_blocks_is_not_taken_for_death() -> None:
    release, blocked = threading.Event(), list[bool]()
    with Conversation(toy(), name="toy", heartbeat=0.1, dead_after=1.0) as talk:
        talk.subscribe(lambda frame: blocked.append(release.wait(10)))
        pending = talk.start("bodies", {"n": 1, "size": 1})
        assert not talk.lost.wait(2.5)
        release.set()
        pending.result(10)


def test_the_heartbeat_tells_how_long_the_agent_has_been_busy() -> None:
    with Conversation(toy(), name="toy", heartbeat=0.05) as talk:
        deadline = time.monotonic() + 10
        while not talk.busy and time.monotonic() < deadline:
            talk.request("echo", timeout=10)
        assert talk.busy == 1.5


def test_closing_from_a_subscriber_does_not_wait_for_itself() -> None:
    with Conversation(toy(), name="toy") as talk:
        talk.subscribe(lambda frame: talk.close())
        with pytest.raises(LinkLost):
            talk.request("bodies", {"n": 1, "size": 1}, timeout=10)


def test_what_can_not_be_cut_is_no_stream() -> None:
    class Plain:
        def recv(self, size: int, /) -> bytes:
            return b""

        def sendall(self, data: bytes | memoryview, /) -> None: ...

        def close(self) -> None: ...

    with pytest.raises(TypeError, match="neither a socket nor a line"):
        Conversation(Plain(), name="plain")


def test_a_silent_peer_does_not_hang_the_greeting() -> None:
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(HostUnreachable, match="no greeting"):
        Conversation(SocketLine(ours), name="silent", greet_within=0.2)


def _frame(kind: Kind, number: int) -> bytes:
    return encode(Frame(kind, number, {}))


def _hello() -> bytes:
    return encode(Frame(Kind.HELLO, 0, {"agent": "test", "protocol": PROTOCOL}))
