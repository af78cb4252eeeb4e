"""Whether the controller reaches the world: an answer of any kind counts, silence doesn't, and a round ends in time."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack

import pytest

from orchestrator.health.references import reached

pytestmark = pytest.mark.issue("4.1 self-isolation (reference addresses)")


def place(sock: socket.socket) -> str:
    return f"127.0.0.1:{sock.getsockname()[1]}"


def test_an_open_port_and_a_refusal_are_answers_and_silence_is_none() -> None:
    with ExitStack() as opened:
        listening = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        bound = opened.enter_context(socket.socket())
        bound.bind(("127.0.0.1", 0))  # nobody listens: refused
        full = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # its queue takes no more: the kernel drops what comes
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        before, began = len(os.listdir("/proc/self/fd")), time.monotonic()
        found = reached([place(listening), place(bound), place(full)], 0.5)
        assert 0.4 < time.monotonic() - began < 5.0
        assert found == {place(listening): True, place(bound): True, place(full): False}
        assert len(os.listdir("/proc/self/fd")) == before


def test_an_address_of_ipv6_is_tried_too() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        assert reached([f"[::1]:{listening.getsockname()[1]}"], 2.0) == {f"[::1]:{listening.getsockname()[1]}": True}
