"""The guards' port, kept over a restart: what a guard hands to systemd is what the next one hears with."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.agent import hearing

NEXT = """
import os, sys
from orchestrator.agent import hearing
if len(sys.argv) > 3:  # as systemd does
    os.dup2(int(sys.argv[3]), 3)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="guards")
udp = hearing.bound(sys.argv[1], int(sys.argv[2]))
print(udp.fileno(), *udp.getsockname()[:2], flush=True)
udp.setblocking(True)
udp.settimeout(10)
print(udp.recv(100).decode(), flush=True)
"""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Who is told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield heard


def begin(listen: str, port: int, kept: int) -> subprocess.Popen[str]:
    """The next guard, with the descriptor that is kept as its number 3."""
    words = [sys.executable, "-c", NEXT, listen, str(port), str(kept)]
    return subprocess.Popen(words, pass_fds=[kept], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("listen", ["127.0.0.1", ""])
def test_the_next_guard_hears_what_came_while_there_was_none(systemd: socket.socket, listen: str) -> None:
    first = hearing.bound(listen, 0)
    port = first.getsockname()[1]
    assert hearing._handed_down() is None
    word, [kept], _, _ = socket.recv_fds(systemd, 200, 4)
    assert word.decode().splitlines() == ["FDSTORE=1", "FDNAME=guards", "FDPOLL=0"]
    first.close()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))
            other.sendto(b"a grant", ("127.0.0.1", port))
        with begin(listen, port, kept) as guard:
            out, _ = guard.communicate(timeout=20)
        number, address, at = out.splitlines()[0].split()
        assert (number, int(at), out.splitlines()[1]) == ("3", port, "a grant")
        assert address == (listen or "::")
    finally:
        os.close(kept)


def test_with_another_port_in_the_settings_what_was_kept_is_given_back(systemd: socket.socket) -> None:
    first = hearing.bound("127.0.0.1", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        wanted = other.getsockname()[1]
    _, [kept], _, _ = socket.recv_fds(systemd, 200, 4)
    first.close()
    try:
        with begin("127.0.0.1", wanted, kept) as guard:
            assert systemd.recv(200) == b"FDSTOREREMOVE=1\nFDNAME=guards"
            assert systemd.recv(200).startswith(b"FDSTORE=1")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(b"a grant", ("127.0.0.1", wanted))
            out, _ = guard.communicate(timeout=20)
        assert out.splitlines()[0].endswith(f" 127.0.0.1 {wanted}")
    finally:
        os.close(kept)


def test_a_port_that_somebody_took_is_told_once_and_had_when_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
        thief.bind(("127.0.0.1", 0))
        port = thief.getsockname()[1]
        words = [sys.executable, "-c", NEXT, "127.0.0.1", str(port)]
        guard = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert guard.stderr is not None and guard.stdout is not None
        assert f"another process has UDP port {port}" in guard.stderr.readline()
    assert guard.stdout.readline().split()[1:] == ["127.0.0.1", str(port)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.sendto(b"a grant", ("127.0.0.1", port))
    assert guard.communicate(timeout=20) == ("a grant\n", "")
