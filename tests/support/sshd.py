"""A real sshd on loopback, in a root of its own (`image`), for tests that need one. As root only.

Its host key, its client key and its authorized_keys stand in the test's directory, which it shares; what it and its
sessions write elsewhere dies with it. It logs to `log`, which `Sshd.said` waits upon.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.inventory import Host
from tests.support import image


@dataclass
class Sshd:
    port: int
    known_hosts: Path
    client_key: Path
    authorized_keys: Path
    log: Path
    root: image.Root

    def host(self, name: str = "far", **changes: object) -> Host:
        """This sshd as the inventory would describe it."""
        facts: dict[str, object] = {
            "name": name,
            "place": "mirror",
            "address": "127.0.0.1",
            "port": self.port,
            "user": "root",
            "key_file": self.client_key,
            "use_agent": False,
            "known_hosts": self.known_hosts,
        }
        return Host(**{**facts, **changes})  # type: ignore[arg-type]

    def said(self, text: str, within: float = 10.0) -> bool:
        """Whether the log says so, now or within some seconds."""
        deadline = time.monotonic() + within
        while text not in self.log.read_text(encoding="utf-8", errors="replace"):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)  # a log file has no event to wait for
        return True

    def sessions(self) -> list[int]:
        """Processes inside, but for the listening sshd and the root's own, by their pid outside."""
        return [pid for pid, line in self._processes() if "[listener]" not in line and "sshd -D" not in line]

    def _processes(self) -> Iterator[tuple[int, str]]:
        space = Path(f"/proc/{self.root.pid}/ns/pid").readlink()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # it left meanwhile
                if entry.name.isdigit() and int(entry.name) != self.root.pid and (entry / "ns/pid").readlink() == space:
                    yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def make_key(path: Path, kind: str = "ed25519") -> Path:
    """A key pair without a passphrase; returns the private half's path."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", path], check=True)
    return path


@contextlib.contextmanager
def running_sshd(
    tmp_path: Path, *, options: Sequence[str] = (), binds: Sequence[tuple[str | Path, str | Path]] = ()
) -> Iterator[Sshd]:
    """An sshd that lets `client_key` in as root; `options` are lines of sshd_config."""
    host_key, client_key = make_key(tmp_path / "host_key"), make_key(tmp_path / "client_key")
    port, log = free_port(), tmp_path / "sshd.log"
    authorized, known = tmp_path / "authorized_keys", tmp_path / "known_hosts"
    authorized.write_text(client_key.with_suffix(".pub").read_text())
    kind, blob, *_ = host_key.with_suffix(".pub").read_text().split()
    known.write_text(f"[127.0.0.1]:{port} {kind} {blob}\n")
    lines = [
        *options,  # the first value counts
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {host_key}",
        f"AuthorizedKeysFile {authorized} .ssh/authorized_keys",
        "StrictModes no",
        "PermitRootLogin yes",
        "UsePAM no",
        "MaxSessions 30",
        "LogLevel VERBOSE",
    ]
    (tmp_path / "sshd_config").write_text("\n".join(lines) + "\n")
    with (
        image.Root(binds=[(tmp_path, tmp_path), (image.CHECKOUT, image.CHECKOUT), *binds]) as root,
        log.open("wb") as out,
    ):
        root.check(["mkdir", "-p", "/run/sshd"])
        argv = ["/usr/sbin/sshd", "-D", "-e", "-f", str(tmp_path / "sshd_config")]
        server = root.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        with image.running(server):
            sshd = Sshd(port, known, client_key, authorized, log, root)
            if not sshd.said("Server listening"):
                raise RuntimeError(f"sshd didn't start: {log.read_text()}")
            yield sshd
