"""The lab's own network: a bridge in an anonymous network namespace, a cable to each host, and scissors.

Each host's cable ends on the bridge in a veth that has the host's name; the other end is `eth0` in the host. A cut is
silence: frames are dropped in the bridge, both ends keep their carrier. `unplug` takes the carrier away.

Invariant: the namespace lives in a descriptor of this process, and takes bridge, cables and cuts with it, also after
SIGKILL. The machine's own network isn't connected to it, nor changed. It adds no delay: this kernel has no netem.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support import netns
from tests.support.image import PATH

BRIDGE = "bridge0"
_CUTS = """
table bridge lab {
    set cuts { type ifname . ifname; }
    chain forward { type filter hook forward priority 0; meta iifname . meta oifname @cuts drop; }
}
"""


class SwitchError(Exception):
    """A network command was refused; the message is what it said."""


class Switch:
    """`tools` is a root directory that has `nft` (the machine's own root needn't). Close it when the hosts are down."""

    def __init__(self, tools: Path) -> None:
        self._root = [f"--root={tools}", "--wd=/"]
        self._namespace = netns.new_namespace()
        self._rates: dict[str, int] = {}
        self._cut: set[tuple[str, str]] = set()
        self._ip(f"link add {BRIDGE} type bridge", f"link set {BRIDGE} up")
        self._nft(_CUTS)

    @property
    def path(self) -> str:
        """Names the namespace of the bridge, as for `nsenter --net=`."""
        return f"/proc/{os.getpid()}/fd/{self._namespace}"

    def close(self) -> None:
        """The bridge, the cables and the cuts are gone when the last host is. Idempotent."""
        if self._namespace >= 0:
            os.close(self._namespace)
            self._namespace = -1

    # ---- cables ------------------------------------------------------------------------------------------------------

    def connect(self, name: str, addresses: Sequence[str], mac: str) -> int:
        """A new namespace with a cable to the bridge, as a descriptor; the cable goes with `disconnect`."""
        namespace = netns.new_namespace()
        inside = f"/proc/{os.getpid()}/fd/{namespace}"
        try:
            self._ip(
                f"link add {name} type veth peer name eth0 address {mac} netns {inside}",
                f"link set {name} master {BRIDGE} up",
            )
            plug = [f"addr add {each} dev eth0{' nodad' if ':' in each else ''}\n" for each in addresses]
            self._run(["ip", "-batch", "-"], f"{''.join(plug)}link set eth0 up\n", inside)
            if name in self._rates:
                self._shape(name, inside)
        except BaseException:
            os.close(namespace)
            raise
        return namespace

    def disconnect(self, name: str, namespace: int) -> None:
        """The host's power is off: the cable is gone at once, and every address that was on it."""
        self._ip(f"link del {name}")
        os.close(namespace)

    def unplug(self, name: str) -> None:
        """The carrier is lost, which the host can see."""
        self._ip(f"link set {name} down")

    def plug(self, name: str) -> None:
        self._ip(f"link set {name} up")

    # ---- cuts --------------------------------------------------------------------------------------------------------

    def cut(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Drops the frames of each (from, to)."""
        new = set(pairs) - self._cut
        self._change("add", new)
        self._cut |= new

    def heal(self, pairs: Iterable[tuple[str, str]] | None = None) -> None:
        """Undoes cuts, by default all; what wasn't cut may be named."""
        old = self._cut if pairs is None else self._cut & set(pairs)
        self._change("delete", old)
        self._cut = self._cut - old

    def _change(self, verb: str, pairs: set[tuple[str, str]]) -> None:
        if pairs:
            elements = ", ".join(f'"{origin}" . "{target}"' for origin, target in sorted(pairs))
            self._nft(f"{verb} element bridge lab cuts {{ {elements} }}\n")

    # ---- slow links --------------------------------------------------------------------------------------------------

    def slow(self, name: str, namespace: int, bits_per_second: int | None) -> None:
        """Bounds both directions of a cable by a token bucket, also after the host's next boot; None lifts it."""
        inside = f"/proc/{os.getpid()}/fd/{namespace}"
        if bits_per_second is not None:
            self._rates[name] = bits_per_second
            self._shape(name, inside)
        elif self._rates.pop(name, None) is not None:
            self._run(["tc", "qdisc", "del", "dev", name, "root"])
            self._run(["tc", "qdisc", "del", "dev", "eth0", "root"], net=inside)

    def _shape(self, name: str, inside: str) -> None:
        rate = self._rates[name]
        bucket = ["root", "tbf", "rate", f"{rate}bit", "burst", str(max(32_000, rate // 800)), "latency", "50ms"]
        self._run(["tc", "qdisc", "replace", "dev", name, *bucket])
        self._run(["tc", "qdisc", "replace", "dev", "eth0", *bucket], net=inside)

    # ---- lossy links -------------------------------------------------------------------------------------------------

    def lose(self, address: str, ports: Iterable[int], one_in: int) -> None:
        """Drops every frame of one connection in so many to these TCP ports, as a hash of its client's port chooses:
        whoever tries again on the same connection is lost again. `tried` counts.
        """
        begins = f"ip daddr {address} tcp dport {{ {', '.join(map(str, ports))} }}"
        first = f"{begins} tcp flags & (syn | ack) == syn"
        chosen = f"jhash tcp sport mod {one_in} 0"
        self._nft(
            "add counter bridge lab lost\nadd counter bridge lab passed\n"
            f"add rule bridge lab forward ether type ip {first} {chosen} counter name lost\n"
            f"add rule bridge lab forward ether type ip {begins} {chosen} drop\n"
            f"add rule bridge lab forward ether type ip {first} counter name passed\n"
        )

    def tried(self) -> tuple[int, int]:
        """First packets of connections to the ports of `lose`, repeated ones too: (lost, passed)."""
        asked = ["nft", "--json", "list", "counters", "table", "bridge", "lab"]
        told = json.loads(self._run(asked, root=self._root))
        counts = {
            part["counter"]["name"]: int(part["counter"]["packets"]) for part in told["nftables"] if "counter" in part
        }
        return counts["lost"], counts["passed"]

    # ---- programs ----------------------------------------------------------------------------------------------------

    def _ip(self, *lines: str) -> None:
        self._run(["ip", "-batch", "-"], "\n".join(lines) + "\n")

    def _nft(self, script: str) -> None:
        self._run(["nft", "-f", "-"], script, root=self._root)

    def _run(self, argv: Sequence[str], script: str = "", net: str = "", root: Sequence[str] = ()) -> str:
        command = ["nsenter", f"--net={net or self.path}", *root, "--", *argv]
        done = subprocess.run(
            command, input=script, capture_output=True, text=True, check=False, env={"PATH": PATH}, timeout=30
        )
        if done.returncode != 0:
            raise SwitchError(f"{' '.join(argv)} {script.strip()}: {done.stderr.strip()}")
        return done.stdout
