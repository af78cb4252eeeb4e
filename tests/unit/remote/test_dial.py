"""The wait before another try, and the socket's own watch over the peer."""

from __future__ import annotations

import random
import socket
import time
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import HostUnreachable
from orchestrator.inventory import Host
from orchestrator.remote.dial import UNSENT, backoff, dial


@given(st.integers(1, 1000), st.integers())
def test_the_wait_grows_to_a_minute_and_is_never_shorter_than_a_second(attempt: int, seed: int) -> None:
    assert 1.0 <= backoff(attempt, random.Random(seed)) <= 90.0


def test_the_wait_doubles_and_is_spread() -> None:
    rng = random.Random(7)
    means = [sum(backoff(attempt, rng) for _ in range(500)) / 500 for attempt in range(1, 10)]
    assert means[1] / means[0] == pytest.approx(2, rel=0.1) and means[3] / means[2] == pytest.approx(2, rel=0.1)
    assert means[8] == pytest.approx(75, rel=0.1)
    assert len({backoff(3, rng) for _ in range(50)}) == 50


@pytest.mark.issue("2.3 backoff with jitter doesn't trip PerSourcePenalties")
def test_a_host_that_is_down_for_long_is_never_asked_often_enough_for_a_penalty() -> None:
    # sshd_config(5), PerSourcePenalties: one second for each connection without a login, acting at 15.
    rng, owed, clock = random.Random(3), 0.0, 0.0
    for attempt in range(1, 200):
        wait = backoff(attempt, rng)
        clock += wait
        owed = max(0.0, owed - wait) + 1.0
        assert owed < 15


@pytest.mark.issue("2.3 keepalive and TCP_USER_TIMEOUT on our own socket")
def test_the_socket_watches_its_peer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = dial(Host("mail1", "mirror", "127.0.0.1", port=server.getsockname()[1]))
        with sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
            times = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            assert [sock.getsockopt(socket.IPPROTO_TCP, each) for each in times] == [15, 5, 3]
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT


@pytest.mark.issue("2.3 bounded connect: a host that takes no connection")
def test_a_host_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.remote.dial.CONNECT", 0.3)
    with socket.socket() as server, ExitStack() as waiting:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(8):  # the kernel drops what its queue has no room for
            each = waiting.enter_context(socket.socket())
            each.setblocking(False)
            each.connect_ex(server.getsockname())
        begin = time.monotonic()
        with pytest.raises(HostUnreachable, match="no answer"):
            dial(Host("mail1", "mirror", "127.0.0.1", port=server.getsockname()[1]))
        assert time.monotonic() - begin < 5


def test_a_closed_port_is_told_with_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(HostUnreachable, match=f"mail1: can't connect to 127.0.0.1 port {port}: Connection refused"):
        dial(Host("mail1", "mirror", "127.0.0.1", port=port))
