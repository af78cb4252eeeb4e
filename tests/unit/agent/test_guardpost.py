"""The guard's process: what says that this place serves for less leaves only behind a gate that is as narrow."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.agent import guard, guardpost, marker, register
from orchestrator.agent.datagram import ASK, Message
from orchestrator.agent.gate import boottime
from orchestrator.agent.lease import ALWAYS
from orchestrator.agent.nft import Refused
from orchestrator.agent.register import Register
from orchestrator.agent.settings import Settings

TTL = 8.0


class Kernel:
    """Takes every ruleset, or none of them."""

    refuses = False

    def run(self, text: str) -> str:
        if self.refuses:
            raise Refused("Operation not permitted")
        stands = text.startswith("list set")
        return json.dumps({"nftables": [{"set": {"elem": ["tcp"]}}] if stands else []})

    def close(self) -> None:
        """There is no socket."""


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind(("127.0.0.1", 0))
        heard.setblocking(False)
        yield heard


def free() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.issue("4.2 re-arming: the gate is narrowed in the kernel before the granters hear of it")
def test_the_active_confirms_nothing_while_its_gate_stands_open_without_an_end(
    tmp_path: Path, peer: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel()
    monkeypatch.setattr(guardpost, "Nft", lambda: kernel)
    peers = {"mirror": ("127.0.0.1", int(peer.getsockname()[1])), "witness": ("127.0.0.1", free())}
    settings = Settings("p", "primary", peers, free(), TTL, 0.01, 0.5, (143,), (), False, (), (), {}, "127.0.0.1")
    kept = Register(1, "primary", boot=marker.boot_id(), without_end=frozenset({"mirror"}))
    register.keep(str(tmp_path), kept)
    post = guardpost.Post(settings, b"k" * 32, state=str(tmp_path), run=str(tmp_path))
    try:
        assert post.keeper.until == ALWAYS
        holder = post.mind.holder
        assert holder is not None
        timed = replace(holder, without_end=frozenset(), until=boottime() + TTL)
        armed = replace(post.mind, holder=timed, register=replace(post.mind.register, without_end=frozenset()))
        confirms = Message(ASK, "primary", "mirror", guard.standing(armed), 7, {"confirms": 3})
        kernel.refuses = True
        post._became(armed, [confirms])
        with pytest.raises(BlockingIOError):
            peer.recv(2000)
        kernel.refuses, post.keeper.weak = False, ""
        post._became(armed, [confirms])
        assert b'"confirms":3' in peer.recv(2000)
        assert post.keeper.until == timed.until
    finally:
        post.close()
