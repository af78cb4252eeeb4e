"""A second machine's network on this one: a namespace behind a veth pair, with byte counters and a bandwidth limit.

Invariant: the namespace lives in a descriptor of this process and takes the veth pair with it, so nothing is left,
not even after SIGKILL. Addresses are from 198.18.0.0/15 (RFC 2544, for measurements), unused by anybody else. It adds
no delay: this kernel has no netem; see `tests.support.relay`. No file is kept under /run/netns, and processes are
started by setns, since `ip netns exec` would give them a mount namespace of their own.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support import kernel
from tests.support.image import PATH


class Network:
    """`near` is the address of this side, `far` that inside the namespace; `path` names the namespace, as a value for
    the `net` of `image.run` and for `nsenter --net=`. A context manager; needs root (`require.root()`).
    """

    def __init__(self) -> None:
        self._namespace = -1
        self.link = ""
        self.near = ""
        self.far = ""

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self._namespace}"

    def __enter__(self) -> Network:
        self._namespace = new_namespace()
        try:
            self._connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self) -> None:
        for number in random.SystemRandom().sample(range(512), 32):
            link = f"mmtest{number}"
            add = ["ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", self.path]
            made = subprocess.run(add, capture_output=True, text=True, check=False, env={"PATH": PATH})
            if made.returncode == 0:
                break
            if "File exists" not in made.stderr:
                raise OSError(f"no veth pair: {made.stderr.strip()}")
        else:
            raise OSError("32 names for a veth pair were all taken; are networks of other tests left behind?")
        self.link = link
        net = f"198.{18 + number // 256}.{number % 256}"
        self.near, self.far = f"{net}.1", f"{net}.2"
        _ip("addr", "add", f"{self.near}/30", "dev", link)
        _ip("link", "set", link, "up")
        self.check(["ip", "addr", "add", f"{self.far}/30", "dev", "eth0"])
        self.check(["ip", "link", "set", "eth0", "up"])

    def close(self) -> None:
        """Removes the pair; the namespace ends with its last process. Idempotent."""
        if self.link:
            subprocess.run(["ip", "link", "del", self.link], check=False, stderr=subprocess.DEVNULL, env={"PATH": PATH})
            self.link = ""
        if self._namespace >= 0:
            os.close(self._namespace)
            self._namespace = -1

    def run(self, argv: Sequence[str], **popen: Any) -> subprocess.Popen[Any]:
        """Starts a program of the machine itself inside the namespace; arguments of subprocess.Popen."""
        return subprocess.Popen(["nsenter", f"--net={self.path}", "--", *argv], **popen)

    def check(self, argv: Sequence[str]) -> str:
        """Runs a program inside to its end; its output. Raises CalledProcessError."""
        command = ["nsenter", f"--net={self.path}", "--", *argv]
        environment = {"PATH": PATH}
        return subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout

    def bytes(self) -> tuple[int, int]:
        """Bytes on the wire so far, headers included: (from here into the namespace, out of it to here)."""
        counters = Path("/sys/class/net", self.link, "statistics")
        return int((counters / "tx_bytes").read_text()), int((counters / "rx_bytes").read_text())

    def limit(self, bits_per_second: int | None) -> None:
        """Bounds both directions by a token bucket, or lifts the bound with None."""
        burst = max(32_000, bits_per_second // 8 // 100) if bits_per_second else 0
        shape = ["root", "tbf", "rate", f"{bits_per_second}bit", "burst", str(burst), "latency", "50ms"]
        for run, device in ((_tc, self.link), (self._tc_inside, "eth0")):
            if bits_per_second is None:
                run(["qdisc", "del", "dev", device, "root"])
            else:
                run(["qdisc", "replace", "dev", device, *shape])

    def _tc_inside(self, words: list[str]) -> None:
        self.check(["tc", *words])

    def cut(self) -> None:
        """The link goes down; both ends notice nothing but silence."""
        self.check(["ip", "link", "set", "eth0", "down"])

    def heal(self) -> None:
        """The link comes up again; open connections go on."""
        self.check(["ip", "link", "set", "eth0", "up"])


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, env={"PATH": PATH})


def _tc(words: list[str]) -> None:
    subprocess.run(["tc", *words], check=True, env={"PATH": PATH})


def new_namespace() -> int:
    """A descriptor of a new network namespace with `lo` up; this thread stays where it was."""
    with open("/proc/thread-self/ns/net", "rb") as own:
        kernel.unshare(kernel.CLONE_NEWNET)
        try:
            kernel.raise_loopback()
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            kernel.setns(own.fileno(), kernel.CLONE_NEWNET)


if __name__ == "__main__":
    with Network() as network:
        sys.exit(network.run(sys.argv[1:] or ["sh"]).wait())
