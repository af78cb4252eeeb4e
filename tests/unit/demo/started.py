"""A host of the demo's site, started by itself, and a client that is let in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko

from orchestrator.demo import keys
from orchestrator.demo.control import Servant

WINDOW, PACKET = 32 << 20, 256 << 10


@dataclass
class Started:
    servant: Servant
    port: int
    home: Path
    client_key: Path

    @contextmanager
    def client(self, user: str = "vmail", key: Path | None = None) -> Iterator[paramiko.Transport]:
        """An authenticated transport, closed afterwards."""
        transport = paramiko.Transport(("127.0.0.1", self.port), default_window_size=WINDOW)
        try:
            transport.start_client(timeout=20)
            transport.auth_publickey(user, paramiko.PKey.from_path(key or self.client_key))
            yield transport
        finally:
            transport.close()

    @contextmanager
    def command(self, client: paramiko.Transport, command: str) -> Iterator[paramiko.Channel]:
        channel = client.open_session(window_size=WINDOW, max_packet_size=PACKET, timeout=20)
        channel.settimeout(20)
        try:
            channel.exec_command(command)
            yield channel
        finally:
            channel.close()


@contextmanager
def ssh_host(directory: Path, options: str = "") -> Iterator[Started]:
    """`options` stand before the client's key in authorized_keys."""
    home = directory / "home"
    home.mkdir()
    host_key, client_key = directory / "host.key", directory / "client.key"
    keys.make(host_key)
    authorized = directory / "authorized_keys"
    authorized.write_text(f"# the one who may\n{options} {keys.make(client_key)} controller\n".replace("\n ", "\n"))
    servant = Servant(
        "ssh",
        "orchestrator.demo.sshserver",
        ["127.0.0.1", "0", str(home), str(host_key), str(authorized), "vmail"],
        log=directory / "ssh.log",
    )
    try:
        yield Started(servant, int(str(servant.ready()["port"])), home, client_key)
    finally:
        servant.stop()


def everything(channel: paramiko.Channel) -> bytes:
    blocks = []
    while block := channel.recv(1 << 18):
        blocks.append(block)
    return b"".join(blocks)
