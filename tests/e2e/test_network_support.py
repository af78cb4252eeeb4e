"""The networks of tests.support.netns carry, count, limit and vanish; the relay delays, stalls and cuts."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import image, netns, relay, require

_SINK = (
    "import socket, sys\n"
    "door = socket.create_server((sys.argv[1], 0))\n"
    "print(door.getsockname()[1], flush=True)\n"
    "with door.accept()[0] as line:\n"
    "    total = 0\n"
    "    while data := line.recv(1 << 16):\n"
    "        total += len(data)\n"
    "    line.sendall(str(total).encode())\n"
)


@pytest.fixture
def network() -> Iterator[netns.Network]:
    require.root()
    with netns.Network() as made:
        yield made


def _send(network: netns.Network, size: int) -> float:
    """Seconds for `size` bytes to arrive inside the namespace."""
    with network.run([sys.executable, "-c", _SINK, network.far], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        began = time.monotonic()
        with socket.create_connection((network.far, port), timeout=30) as line:
            line.sendall(bytes(size))
            line.shutdown(socket.SHUT_WR)
            assert int(line.recv(100)) == size
        return time.monotonic() - began


@pytest.mark.lab
def test_the_veth_counts_the_bytes_both_ways(network: netns.Network) -> None:
    out, back = network.bytes()
    _send(network, 1_000_000)
    out, back = network.bytes()[0] - out, network.bytes()[1] - back
    assert 1_000_000 <= out < 1_100_000
    assert 0 < back < 100_000


@pytest.mark.lab
def test_the_limit_holds_and_can_be_lifted(network: netns.Network) -> None:
    network.limit(8_000_000)
    assert 0.3 < _send(network, 500_000) < 2.0
    network.limit(None)
    assert _send(network, 500_000) < 0.3


@pytest.mark.lab
def test_an_image_joins_the_network(network: netns.Network) -> None:
    with image.Root(net=network.path) as root:
        assert network.far in root.check(["ip", "-brief", "-4", "addr"]).decode()


@pytest.mark.lab
def test_nothing_is_left_of_a_network_also_after_sigkill() -> None:
    require.root()
    script = (
        "import signal\n"
        "from tests.support import netns\n"
        "network = netns.Network().__enter__()\n"
        "print(network.link, flush=True)\n"
        "signal.pause()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=image.CHECKOUT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    link = Path("/sys/class/net", process.stdout.readline().strip())
    assert link.exists()
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 10
    while link.exists():
        assert time.monotonic() < deadline, "the veth pair outlived its process"
        time.sleep(0.01)


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that answers each byte with itself."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            while True:
                try:
                    line, _ = door.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(line,), daemon=True).start()

        def answer(line: socket.socket) -> None:
            with line, contextlib.suppress(ConnectionError):
                while data := line.recv(1 << 16):
                    line.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield door.getsockname()
        door.shutdown(socket.SHUT_RDWR)


def _ask(line: socket.socket, size: int = 1) -> float:
    def send() -> None:
        with contextlib.suppress(OSError):  # the reader below notices, and says so
            line.sendall(bytes(size))

    began = time.monotonic()
    threading.Thread(target=send, daemon=True).start()
    seen = 0
    while seen < size:
        got = len(line.recv(1 << 16))
        assert got, "the line closed early"
        seen += got
    return time.monotonic() - began


def test_the_relay_delays_each_way_and_counts(echo: tuple[str, int]) -> None:
    with relay.Relay(echo, delay=0.05) as link, socket.create_connection(link.address, timeout=10) as line:
        assert 0.1 <= _ask(line) < 0.3
        assert _ask(line, 4_000_000) < 2.0
        assert (link.forward, link.backward) == (4_000_001, 4_000_001)


def test_a_stalled_relay_is_silent_and_heals(echo: tuple[str, int]) -> None:
    with relay.Relay(echo) as link, socket.create_connection(link.address, timeout=0.3) as line:
        _ask(line)
        link.stall()
        with pytest.raises(TimeoutError):
            _ask(line)
        link.heal()
        assert line.recv(1) == b"\0"


def test_a_cut_relay_resets_and_refuses_until_it_heals(echo: tuple[str, int]) -> None:
    with relay.Relay(echo) as link:
        with socket.create_connection(link.address, timeout=10) as line:
            _ask(line)
            link.cut()
            with pytest.raises(ConnectionResetError):
                line.recv(1)
        with (
            pytest.raises((ConnectionError, AssertionError)),
            socket.create_connection(link.address, timeout=10) as line,
        ):
            _ask(line)
        link.heal()
        with socket.create_connection(link.address, timeout=10) as line:
            _ask(line)
