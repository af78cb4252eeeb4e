"""One command that an SSH client asked for: a real child process, wired to the channel.

Invariant: the child and its process group never outlive the channel, and the client hears the exit status after
the last byte of output. It deliberately knows no terminal, no forwarding and no subsystem: the product asks for none.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import paramiko

BLOCK = 256 * 1024
PIPE_SIZE = 1024 * 1024  # Linux: an ordinary user may ask for up to /proc/sys/fs/pipe-max-size, 1 MiB by default
GRACE = 1.0  # seconds between SIGTERM and SIGKILL


class Session:
    """Runs `sh -c command` for `channel`. `start` returns at once; `ended` is set when nothing is left of it."""

    def __init__(self, channel: paramiko.Channel, command: bytes, home: Path, env: Mapping[str, str | bytes]) -> None:
        self.ended = threading.Event()
        self._channel = channel
        self._command = command
        self._home = home
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        _thread(self._run, "session")

    def kill(self) -> None:
        """Ends the process group: SIGTERM, then SIGKILL. Does nothing once the command has ended by itself."""
        with self._lock:
            process = self._process
            if process is None or self.ended.is_set():
                return
            _signal_group(process.pid, signal.SIGTERM)
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                print(f"{process.pid} outlived SIGTERM", file=sys.stderr)
            _signal_group(process.pid, signal.SIGKILL)

    def _run(self) -> None:
        try:
            with self._lock:
                if self._channel.closed:
                    self.ended.set()
                    return
                process = self._process = self._spawn()
        except OSError as error:
            self._channel.sendall_stderr(f"can't run the command: {error}\n".encode())
            self._channel.send_exit_status(127)
            self._channel.close()
            self.ended.set()
            return
        assert process.stdout is not None and process.stderr is not None
        outward = [
            _thread(self._outward, "stdout", process.stdout.fileno(), self._channel.sendall),
            _thread(self._outward, "stderr", process.stderr.fileno(), self._channel.sendall_stderr),
        ]
        _thread(self._inward, "stdin", process)
        _thread(self._reap, "reap")
        code = process.wait()
        self._drain(outward)
        with self._lock:
            self.ended.set()
        self._say_goodbye(code)
        process.stdout.close()
        process.stderr.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [b"/bin/sh", b"-c", self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._home,
            env=self._env,
            bufsize=0,
            start_new_session=True,
        )
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            try:
                fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, PIPE_SIZE)
            except PermissionError:
                # The user's pipe budget is spent (pipe(7)); a pipe of the default size is slower, not wrong.
                print("pipes stay small", file=sys.stderr)
        return process

    def _drain(self, outward: list[threading.Thread]) -> None:
        """As sshd does: output goes on until every writer has closed it, unless the client has gone."""
        for thread in outward:
            while thread.is_alive() and not self._channel.closed:
                thread.join(0.2)

    def _say_goodbye(self, code: int) -> None:
        if self._channel.closed:
            return
        try:
            # A shell tells a signal as 128 + its number; so do we, since paramiko can't send exit-signal.
            self._channel.send_exit_status(code if code >= 0 else 128 - code)
            self._channel.close()
        except (OSError, EOFError, paramiko.SSHException) as error:
            print(f"the client left before the exit status: {error}", file=sys.stderr)

    def _outward(self, source: int, send: Callable[[bytes], None]) -> None:
        try:
            while block := os.read(source, BLOCK):
                send(block)
        except OSError as error:
            print(f"output ends: {error}", file=sys.stderr)

    def _inward(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        target = process.stdin.fileno()
        try:
            while block := self._channel.recv(BLOCK):
                view = memoryview(block)
                while view:
                    view = view[os.write(target, view) :]
        except OSError as error:
            print(f"input ends: {error}", file=sys.stderr)
        process.stdin.close()

    def _reap(self) -> None:
        # On a server's channel nothing but its closing sets this event: a client sends no exit status.
        self._channel.status_event.wait()
        self.kill()


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return  # it ended by itself: what was wanted


def _thread(target: Callable[..., None], name: str, *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, args=arguments, daemon=True)
    thread.start()
    return thread
