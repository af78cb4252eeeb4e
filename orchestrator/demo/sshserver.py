"""The SSH server of one host of the site, a process of its own: public keys only, real commands, a line to cut.

Each client gets a transport with a window large enough for a long round trip; `cut` makes the network go silent
(bytes neither come nor go, nothing is closed: what a pulled cable looks like from both ends), `drop` closes every
connection, `heal` lets the bytes flow on. Invariant: no command of a client outlives its channel or this process.

This is the one module besides `remote/ssh.py` that knows paramiko, and the only one that knows its server side.
Run as `python -m orchestrator.demo.sshserver ADDRESS PORT HOME HOST_KEY AUTHORIZED_KEYS USER`, port 0 for any; orders
as in `control`.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from pathlib import Path
from typing import NamedTuple, cast

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)

from orchestrator.demo import control
from orchestrator.demo.sshsession import Session

WINDOW = 32 * 1024 * 1024  # what a client may send unasked per channel; paramiko's 2 MiB starve a long line
PACKET = 256 * 1024
TICK = 0.1  # seconds; how often a silent line looks whether it was closed (paramiko's own polling step)
AUTHORIZED = re.compile(
    r'(?:(?P<options>(?:[^\s"#]|"(?:[^"\\]|\\.)*")+)\s+)?(?P<type>(?:ssh|ecdsa)-\S+)\s+(?P<key>[A-Za-z0-9+/=]+)'
)
FORCED = re.compile(r'command="((?:[^"\\]|\\.)*)"')
HELLO_WITHIN = 20.0  # seconds for key exchange and authentication


class Line:
    """The network between this host and the world: one switch for every connection."""

    def __init__(self) -> None:
        self.flowing = threading.Event()
        self.flowing.set()


class Wire:
    """A connected socket as paramiko wants it, silent while the line is cut."""

    def __init__(self, sock: socket.socket, line: Line) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._line = line

    def recv(self, size: int) -> bytes:
        self._pass()
        block = self._sock.recv(size)
        self._pass()
        return block

    def send(self, block: bytes) -> int:
        self._pass()
        return self._sock.send(block)

    def settimeout(self, seconds: float | None) -> None:
        self._sock.settimeout(seconds)

    def close(self) -> None:
        self._sock.close()

    @property
    def _closed(self) -> bool:
        # paramiko 5's Transport.stop_thread asks a socket for this private name of Python's own socket class.
        return self._sock.fileno() < 0

    def getpeername(self) -> tuple[str, int]:
        host, port = self._sock.getpeername()
        return str(host), int(port)

    def _pass(self) -> None:
        # What was read when the cut came is held back until the heal: a byte on its way isn't lost by TCP.
        while not self._line.flowing.wait(TICK):
            if self._sock.fileno() < 0:
                raise OSError("closed while the line was cut")


class Doorman(paramiko.ServerInterface):
    """Decides who comes in and what they may ask for: the owner of a listed key, and commands."""

    def __init__(self, host: Host, peer: tuple[str, int]) -> None:
        self._host = host
        self._peer = peer
        self._forced = b""
        self.sessions: list[Session] = []

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        line = self._host.authorized.get((key.get_name(), key.get_base64()))
        if line is None or username != self._host.user:
            return AUTH_FAILED
        self._forced = line.forced
        return AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        env: dict[str, str | bytes] = {**self._host.environment(self._peer)}
        if self._forced:
            env["SSH_ORIGINAL_COMMAND"] = command
        session = Session(channel, self._forced or command, self._host.home, env)
        self.sessions = [one for one in self.sessions if not one.ended.is_set()] + [session]
        session.start()
        return True


class Host:
    """One host: its home directory, its key, who may come in, and everybody who is connected."""

    def __init__(self, at: tuple[str, int], home: Path, key: Path, authorized_keys: Path, user: str) -> None:
        self.home = home
        self.user = user
        self.authorized = read_keys(authorized_keys.read_text(encoding="ascii"))
        self.line = Line()
        self._key = paramiko.PKey.from_path(key)
        self._listener = socket.create_server(at, backlog=64)
        self._guests: list[tuple[paramiko.Transport, Doorman]] = []
        self._lock = threading.Lock()
        self._open = True

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def environment(self, peer: tuple[str, int]) -> dict[str, str]:
        """What a login gives: nothing of the demo's own environment but the search path, so the agent must travel."""
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
        return {
            "HOME": str(self.home),
            "USER": self.user,
            "LOGNAME": self.user,
            "SHELL": "/bin/sh",
            "PATH": path,
            "LANG": "C.UTF-8",
            "SSH_CONNECTION": f"{peer[0]} {peer[1]} {self._listener.getsockname()[0]} {self.port}",
        }

    def welcome(self) -> None:
        """Accept connections until `close`."""
        while self._open:
            self.line.flowing.wait()
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # the listener was closed: we are stopping
            threading.Thread(target=self._serve, args=(sock,), name="guest", daemon=True).start()

    def drop(self) -> None:
        """Close every connection at once, as a restarted router or a killed sshd does."""
        with self._lock:
            guests, self._guests = self._guests, []
        for transport, _ in guests:
            transport.close()
        for _, doorman in guests:
            for session in doorman.sessions:
                session.kill()

    def close(self) -> None:
        self._open = False
        self.line.flowing.set()
        self._listener.close()
        self.drop()

    def _serve(self, sock: socket.socket) -> None:
        # accept(2) may have been waiting when the line was cut: such a guest is let in after the heal.
        self.line.flowing.wait()
        transport: paramiko.Transport | None = None
        try:
            wire = Wire(sock, self.line)
            peer = wire.getpeername()
            # paramiko asks for "a socket or socket-like object" (its docstring); its annotation knows only the first.
            like = cast(socket.socket, wire)
            transport = paramiko.Transport(like, default_window_size=WINDOW, default_max_packet_size=PACKET)
            transport.daemon = True
            transport.add_server_key(self._key)
            doorman = Doorman(self, peer)
            with self._lock:
                self._guests = [one for one in self._guests if one[0].is_active()] + [(transport, doorman)]
            arrived = threading.Event()
            transport.start_server(event=arrived, server=doorman)
            if not arrived.wait(HELLO_WITHIN) or not transport.is_active():
                raise EOFError("no key exchange")
            # A channel that nobody refers to is closed by its finalizer, so they are held here until they are closed.
            held: list[paramiko.Channel] = []
            while transport.is_active():
                opened = transport.accept(1.0)
                held = [one for one in held if not one.closed] + ([opened] if opened is not None else [])
        except (OSError, EOFError, paramiko.SSHException) as error:
            print(f"guest left: {error}", file=sys.stderr)
        finally:
            if transport is not None:
                transport.close()
            sock.close()


class Key(NamedTuple):
    """A line of authorized_keys: what its owner may run; empty when it is anything."""

    forced: bytes


def read_keys(text: str) -> dict[tuple[str, str], Key]:
    """authorized_keys (sshd(8)) by (type, base64); of the options only `command=` has a meaning here."""
    found = {}
    for line in text.splitlines():
        match = AUTHORIZED.match(line)
        if match:
            forced = FORCED.search(match["options"] or "")
            command = forced[1].replace('\\"', '"') if forced else ""
            found[match["type"], match["key"]] = Key(command.encode())
    return found


def main(arguments: list[str]) -> int:
    address, port, home, key, authorized, user = arguments
    host = Host((address, int(port)), Path(home), Path(key), Path(authorized), user)
    threading.Thread(target=host.welcome, name="welcome", daemon=True).start()
    orders = {"cut": host.line.flowing.clear, "heal": host.line.flowing.set, "drop": host.drop}
    try:
        control.obey({"port": host.port}, orders)
    finally:
        host.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
