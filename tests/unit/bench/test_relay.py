"""The relay delays both directions, loses nothing, keeps order and hands ends of file on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from bench import arrange, measure

pytestmark = pytest.mark.issue("2.8 make bench: a delaying relay")
DELAY = 0.05


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back whatever it reads, until the end of file."""

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relayed(echo: int) -> Iterator[socket.socket]:
    port = arrange.free_port()
    command = [sys.executable, "-m", "bench.relay", str(port), f"127.0.0.1:{echo}", str(DELAY)]
    relay = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(arrange.REPOSITORY)})
    try:
        arrange.wait_for_port("127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.settimeout(20)
            yield connection
    finally:
        measure.end(relay)


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def test_a_round_trip_takes_both_delays(relayed: socket.socket) -> None:
    for _ in range(3):
        began = time.monotonic()
        relayed.sendall(b"ping")
        assert relayed.recv(10) == b"ping"
        assert time.monotonic() - began >= 2 * DELAY


def test_bytes_come_whole_and_in_order_and_the_end_of_file_follows(relayed: socket.socket) -> None:
    sent = os.urandom(8 << 20)

    def send() -> None:
        relayed.sendall(sent)
        relayed.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    assert read_all(relayed) == sent
    sender.join()
