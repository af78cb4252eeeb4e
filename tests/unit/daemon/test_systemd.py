"""What systemd is told, by a socket as systemd has one: a daemon whose worker hangs isn't called alive."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.daemon import follower
from orchestrator.daemon.systemd import Sign, Systemd, line, overdue
from orchestrator.inventory.model import Inventory
from tests.unit.daemon.memory import Site, inventory
from tests.unit.daemon.test_follower import until
from tests.unit.daemon.test_service import Running

WATCHDOG = 0.4  # seconds


class Listener:
    """systemd's end."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        """What was told since the last time."""
        fresh = []
        while True:
            try:
                fresh.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                self.heard += fresh
                return fresh

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    listening = Listener(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG * 1e6)))
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    yield listening
    listening.close()


@pytest.mark.issue("6.1 the watchdog is fed only while every worker is fresh")
def test_who_is_overdue_is_named_with_how_long() -> None:
    signs = [Sign("a", 100.0, 10.0), Sign("b", 100.0, 60.0), Sign("c", 129.0, 1.0)]
    assert overdue(signs, 130.0) == ["a gave no sign for 30 s (at most 10 s)"]
    assert overdue(signs, 110.0) == []  # c's is of the future: a clock that was read a moment later
    assert line({"org": "live", "net": "connecting"}, []) == "org live, net connecting"
    assert line({"org": "live"}, ["a\nhangs"]) == "a hangs"
    assert len(line({"x" * 500: "live"}, [])) == 200


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)
    Systemd().tick([], {"org": "live"})


def test_a_systemd_that_cant_be_told_hinders_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    Systemd().ready()
    assert "systemd can't be told READY=1" in caplog.text


@pytest.mark.issue("6.1 the watchdog is fed only while every worker is fresh")
def test_the_watchdog_is_fed_until_a_worker_is_silent_and_again_afterwards(
    systemd: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    told, now = Systemd(), time.monotonic()
    told.tick([Sign("a", now, 60.0)], {"org": "live"})
    assert systemd.listen() == ["STATUS=org live", "WATCHDOG=1"]
    told.tick([Sign("a", now, 60.0)], {"org": "live"})
    assert systemd.listen() == []  # four times in its time is enough
    time.sleep(WATCHDOG / 4)
    told.tick([Sign("a", now, 60.0), Sign("b", now - 99.0, 60.0)], {"org": "live"})
    assert systemd.listen() == ["STATUS=b gave no sign for 99 s (at most 60 s)"]
    assert "isn't fed any more: b gave no sign" in caplog.text
    told.tick([Sign("a", now, 60.0)], {"org": "live"})
    assert systemd.listen() == ["STATUS=org live", "WATCHDOG=1"]
    assert "gives signs again" in caplog.text


@pytest.mark.issue("6.1 ready, reloading, stopping, and a line for people")
def test_a_daemon_tells_when_it_is_ready_reloads_and_stops(systemd: Listener, tmp_path: Path) -> None:
    with Running(Site("org"), inventory(tmp_path / "inventory.yaml", tmp_path / "state", "org")) as it:
        until(lambda: "READY=1" in [*systemd.heard, *systemd.listen()])
        assert it.ask("status")["pairs"]  # by then the desk answers
        until(lambda: "STATUS=org live" in [*systemd.heard, *systemd.listen()])
        it.daemon.hang_up()
        until(lambda: any(each.startswith("RELOADING=1\nMONOTONIC_USEC=") for each in systemd.listen()))
        until(lambda: (systemd.listen(), systemd.heard.count("READY=1") == 2)[1])
    systemd.listen()
    assert any(each.startswith("STOPPING=1\n") for each in systemd.heard)
    assert "WATCHDOG=1" in systemd.heard


@pytest.mark.issue("6.1 a worker that hangs stops the feeding")
def test_a_pair_whose_thread_hangs_stops_the_feeding_though_all_else_is_well(
    systemd: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "WORKS", 0.2)
    site = Site("org", "net")
    with Running(site, inventory(tmp_path / "inventory.yaml", tmp_path / "state", "org", "net")) as it:
        until(lambda: all(told["link"] == "live" for told in it.ask("status")["pairs"]))
        site.worlds["org"].slow = threading.Event()
        hanging = threading.Thread(target=lambda: it.ask("sync", pair="org"))
        hanging.start()
        until(lambda: any("the thread of org gave no sign" in each for each in systemd.listen()))
        time.sleep(2 * WATCHDOG)
        assert "WATCHDOG=1" not in systemd.listen()
        site.worlds["org"].slow.set()
        hanging.join(5.0)
        until(lambda: "WATCHDOG=1" in systemd.listen())


@pytest.mark.issue("6.1 a slow first copy is no hang")
def test_who_follows_gives_a_sign_with_each_piece_of_work(systemd: Listener, tmp_path: Path) -> None:
    pulse = follower.Pulse("org")
    halt = follower.Halt(pulse)
    pulse.beat(5.0)
    before = pulse.last
    time.sleep(0.01)
    assert not halt.is_set()  # as the session asks after each batch
    assert pulse.last.at > before.at and pulse.last.within == 5.0


@pytest.mark.issue("6.1 the watchdog is fed only while every worker is fresh")
def test_each_worker_of_a_daemon_gives_signs(tmp_path: Path) -> None:
    described = inventory(tmp_path / "inventory.yaml", tmp_path / "state", "org")
    plain = described.pairs["org"]
    hosts = {name: replace(host, connection="local") for name, host in plain.hosts.items()}
    with Running(
        Site("org"), Inventory(described.path, {"org": replace(plain, hosts=hosts, services={"imap": "dovecot"})})
    ) as it:
        first = {sign.worker: sign.at for sign in it.daemon._signs()}
        assert set(first) == {
            "the thread of org",
            "the readiness of org",
            "the health of org",
            "the decisions of org",
            "the timer",
        }
        until(lambda: all(s.at > first[s.worker] for s in it.daemon._signs() if s.worker == "the health of org"))
