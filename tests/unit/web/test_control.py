"""The control socket: who may ask, and what a bad client can't do."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.agent import wire
from orchestrator.errors import Refused, TryAgain, UsageError
from orchestrator.web import ask, control
from orchestrator.web.control import Control
from orchestrator.web.desk import Caller, Outlet
from tests.support import require

Answer = Callable[[Mapping[str, Any], Caller, Outlet], Any]


def echo(request: Mapping[str, Any], caller: Caller, outlet: Outlet) -> Any:
    if request["verb"] == "who":
        return [caller.pid, caller.uid, caller.gid]
    if request["verb"] == "refuse":
        raise Refused("No, it isn't safe.", remedy="Wait.")
    if request["verb"] == "break":
        raise ZeroDivisionError
    if request["verb"] == "count":
        for number in range(request["to"]):
            outlet.tell(number)
    if request["verb"] == "flood":
        for _ in range(500):
            outlet.offer("x" * 10000)
    if request["verb"] == "huge":
        return "x" * (9 << 20)
    return dict(request)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Control]:
    it = Control(tmp_path / "control.sock", echo)
    yield it
    it.close()
    assert not it.path.exists()


def raw(served: Control) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(5.0)
    connection.connect(str(served.path))
    return connection


@pytest.mark.issue("2.6 control socket: a Unix socket, 0660, SO_PEERCRED, framed JSON")
def test_one_request_gets_one_reply_and_the_kernel_says_who_asked(served: Control) -> None:
    assert ask.ask(str(served.path), {"verb": "who"}) == [os.getpid(), os.geteuid(), os.getegid()]
    assert served.path.stat().st_mode & 0o777 == 0o660


@pytest.mark.issue("2.6 control socket: a stream of progress before the reply")
def test_notices_come_before_the_reply_in_order(served: Control) -> None:
    heard: list[int] = []
    assert ask.ask(str(served.path), {"verb": "count", "to": 5}, heard.append) == {"verb": "count", "to": 5}
    assert heard == [0, 1, 2, 3, 4]


def test_an_error_arrives_with_class_exit_code_and_remedy(served: Control) -> None:
    with pytest.raises(ask.Fault, match="isn't safe") as fault:
        ask.ask(str(served.path), {"verb": "refuse"})
    assert (fault.value.code, fault.value.exit, fault.value.remedy) == ("Refused", 4, "Wait.")
    with pytest.raises(ask.Fault, match="failed to answer"):
        ask.ask(str(served.path), {"verb": "break"})
    with pytest.raises(ask.Fault, match="too large"):
        ask.ask(str(served.path), {"verb": "huge"})


def test_a_client_that_doesn_t_read_never_blocks_the_worker(served: Control) -> None:
    with raw(served) as idle:
        idle.sendall(wire.encode(wire.Frame(wire.Kind.REQUEST, 1, {"verb": "flood"})))
        time.sleep(0.1)
        assert ask.ask(str(served.path), {"verb": "x"}) == {"verb": "x"}
        decoder = wire.Decoder()
        frames: list[wire.Frame] = []
        while not frames or frames[-1].kind is wire.Kind.NOTICE:
            frames += list(decoder.feed(idle.recv(1 << 16)))
    assert frames[-1].kind is wire.Kind.REPLY
    assert len(frames) < 500  # most were dropped, none was cut


def test_garbage_swollen_and_unasked_frames_end_the_connection_only(served: Control) -> None:
    for bad in (
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(100_000),
        struct.pack(">IHBBI", 1 << 30, 0, 2, 0, 1),
        wire.encode(wire.Frame(wire.Kind.HELLO, 0, {})),
        wire.encode(wire.Frame(wire.Kind.REQUEST, 1, {"verb": "x"}, b"y" * 100_000)),
        b"",
    ):
        with raw(served) as client, contextlib.suppress(ConnectionError):  # it may hang up before it has read all
            client.sendall(bad)
            client.shutdown(socket.SHUT_WR)
            while client.recv(1 << 16):
                continue
    assert ask.ask(str(served.path), {"verb": "x"}) == {"verb": "x"}


@given(st.binary(max_size=200))
@settings(max_examples=30)
def test_no_bytes_hurt_the_daemon(noise: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(noise)
        theirs.shutdown(socket.SHUT_WR)
        try:
            control._read_request(ours)
        except (wire.Garbled, UsageError):
            return
        raise AssertionError("noise was taken for a request")


def test_a_client_that_says_nothing_is_let_go(served: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_WITHIN", 0.1)
    with raw(served) as silent:
        assert silent.recv(1) == b""


def test_a_crowd_is_turned_away_and_told_why(served: Control) -> None:
    crowd = [raw(served) for _ in range(control.MAX_CONNECTIONS)]
    with pytest.raises(ask.Fault, match="Too many") as fault:
        ask.ask(str(served.path), {"verb": "x"})
    assert fault.value.exit == TryAgain.exit_code
    for client in crowd:
        client.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            assert ask.ask(str(served.path), {"verb": "x"}) == {"verb": "x"}
            return
        except ask.Fault:
            time.sleep(0.01)
    raise AssertionError("it never recovered")


def test_a_stale_socket_is_replaced_and_a_live_one_never(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    first = Control(path, echo)
    with pytest.raises(TryAgain, match="Another daemon"):
        Control(path, echo)
    assert ask.ask(str(path), {"verb": "x"}) == {"verb": "x"}
    path.unlink()
    second = Control(path, echo)
    first.close()  # its path is another's by now
    assert ask.ask(str(path), {"verb": "x"}) == {"verb": "x"}
    second.close()


def test_a_path_that_can_t_be_a_socket_is_an_operator_s_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be listened on"):
        Control(tmp_path / ("x" * 150), echo)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UsageError):
        Control(tmp_path / "file", echo)
    assert (tmp_path / "file").read_text() == "kept"


def test_only_root_the_owner_and_the_group_may_ask() -> None:
    may = control.may_ask
    assert may(Caller(1, 0, 0), owner=100, group=200)
    assert may(Caller(1, 100, 5), owner=100, group=200)
    assert may(Caller(1, 7, 200), owner=100, group=200)
    assert not may(Caller(1, 4_000_000, 4_000_000), owner=100, group=200)


@pytest.mark.lab
def test_a_stranger_is_refused_though_the_file_would_let_him() -> None:
    require.root()
    program = (
        "import json, os, sys; from orchestrator.web import ask\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try:\n    print(ask.ask(sys.argv[1], {'verb': 'who'}))\n"
        "except ask.Fault as fault:\n    print(fault.code, fault.exit)"
    )
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        served = Control(Path(directory) / "control.sock", echo)
        try:
            served.path.chmod(0o666)
            told = subprocess.run(
                [sys.executable, "-c", program, served.path], stdout=subprocess.PIPE, check=True, text=True
            )
        finally:
            served.close()
    assert told.stdout == "NotPermitted 77\n"


def test_the_light_client_speaks_wire_s_frames() -> None:
    assert (ask.HEADER.format, ask.MAX_PAYLOAD) == (wire.HEADER.format, wire.MAX_PAYLOAD)
    kinds = [wire.Kind.REQUEST, wire.Kind.REPLY, wire.Kind.FAULT, wire.Kind.NOTICE]
    assert kinds == [ask.REQUEST, ask.REPLY, ask.FAULT, ask.NOTICE]


def _daemon_that_says(path: Path, data: bytes) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(1 << 16)
            connection.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"half a header"[:7],
        struct.pack(">IHBBI", 1 << 30, 0, 3, 0, 1),
        struct.pack(">IHBBI", 9, 0, 3, 0, 1) + b"{",
        struct.pack(">IHBBI", 1, 0, 3, 0, 1) + b"{",
    ],
)
def test_a_daemon_that_breaks_off_is_an_error_and_no_answer(tmp_path: Path, data: bytes) -> None:
    thread = _daemon_that_says(tmp_path / "s", data)
    with pytest.raises(ask.BrokenOff):
        ask.ask(str(tmp_path / "s"), {"verb": "x"})
    thread.join()


def test_nobody_listening_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ask.NobodyListens):
        ask.ask(str(tmp_path / "none"), {"verb": "x"})


def test_answers_are_plain_json(served: Control) -> None:
    request = {"verb": "x", "text": "\u00ff\u2028\n", "number": 1.5, "list": [None, True]}
    assert ask.ask(str(served.path), request) == json.loads(json.dumps(request))


@pytest.mark.issue("2.6 control socket: a path of any length")
@pytest.mark.parametrize("deep", [0, 1, 5])
def test_a_path_longer_than_a_socket_s_own_is_listened_on_and_asked(tmp_path: Path, deep: int) -> None:
    directory = tmp_path.joinpath(*["d" * 60] * deep)
    path = directory / "control.sock"
    served = Control(path, echo)
    try:
        assert ask.ask(str(path), {"verb": "hello"}) == {"verb": "hello"}
        assert path.stat().st_mode & 0o777 == 0o660
        with pytest.raises(TryAgain):
            Control(path, echo)
    finally:
        served.close()
    assert list(directory.iterdir()) == []
    with pytest.raises(ask.NobodyListens):
        ask.ask(str(path), {"verb": "hello"})
    Control(path, echo).close()


@pytest.mark.issue("6.2 control socket: its place under /run, found by way of mm_state_dir")
def test_under_systemd_it_lies_in_the_runtime_directory_and_is_found_by_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, run = tmp_path / "state", tmp_path / "run"
    assert control.place(state) == state / "control.sock"
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{run}:{tmp_path}")
    path = control.place(state)
    assert path == run / "control.sock"
    served = Control(path, echo)
    away = control.link(state, path)
    try:
        assert ask.ask(str(state / "control.sock"), {"verb": "x"}) == {"verb": "x"}
        for another in (lambda: Control(state / "control.sock", echo), lambda: control.link(state, tmp_path / "other")):
            with pytest.raises(TryAgain, match="Another daemon listens"):
                another()
    finally:
        served.close()
    served = Control(path, echo)  # after one that was killed: its link is there, and leads to the new socket
    control.link(state, path)
    served.close()
    control.link(state, path)  # one that a daemon left that died
    Control(state / "control.sock", echo).close()  # and where the next runs in the foreground
    control.link(state, path)
    away()
    assert list(state.iterdir()) == []


@pytest.mark.issue("6.2 a reading verb answers though the daemon hangs")
def test_a_daemon_that_hangs_is_told_apart_in_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stopped:
        stopped.bind(str(tmp_path / "s"))
        stopped.listen(1)
        with pytest.raises(ask.Silent):
            ask.ask(str(tmp_path / "s"), {"verb": "status"}, within=0.1)
