"""The peers, each as its own documentation says to mirror one way, all between the same two stores.

rsync and unison run on the near side and pull; lsyncd can only push, so it runs where the source is and pushes to the
near file system (both sides see both stores: only the network is far). Ciphers and the rest of OpenSSH are defaults.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.arrange import Endpoint, Site


class Peer(Protocol):
    """Something that makes the sink equal to the source, one pass per call of a command."""

    name: str
    binary: str  # what has to be installed for it
    raised: bool  # see compare.Comparer
    mtime_unit: int

    def prepare(self, site: Site, endpoint: Endpoint) -> None:
        """Do, unmeasured, what has to be done once before the first copy: the source is full, the sink is empty."""
        ...

    def command(self, site: Site) -> list[str]:
        """Return the command of one pass."""
        ...


@dataclass(slots=True)
class Rsync:
    """rsync with `-a --delete` and further options."""

    name: str
    options: tuple[str, ...] = ()
    binary: str = "rsync"
    raised: bool = False
    mtime_unit: int = 1
    config: Path = Path()

    def prepare(self, site: Site, endpoint: Endpoint) -> None:
        """Remember how to reach the other side."""
        self.config = endpoint.config

    def command(self, site: Site) -> list[str]:
        """Return one rsync pull."""
        shell = ["-e", f"ssh -F {shlex.quote(str(self.config))}"]
        paths = [f"far:{site.source}/", f"{site.sink}/"]
        return site.near(["rsync", "-a", "--delete", *self.options, *shell, *paths])


@dataclass(slots=True)
class Unison:
    """unison with the source forced. It keeps modification times to the second only."""

    name: str = "unison"
    binary: str = "unison"
    raised: bool = False
    mtime_unit: int = 1_000_000_000
    config: Path = Path()

    def prepare(self, site: Site, endpoint: Endpoint) -> None:
        """Remember how to reach the other side; both sides' archives are new, since both homes are."""
        self.config = endpoint.config

    def command(self, site: Site) -> list[str]:
        """Return one unison pass that makes the copy like the source."""
        source = f"ssh://far/{site.source}"
        options = ["-ui", "text", "-batch", "-auto", "-silent", "-times", "-fastcheck", "true", "-confirmbigdel=false"]
        shell = ["-sshargs", f"-F {self.config}"]
        return site.near(["unison", str(site.sink), source, *shell, *options, "-force", source])


RSYNC = Rsync("rsync")
PEERS: dict[str, Peer] = {
    "rsync": RSYNC,
    "rsync-fsync": Rsync("rsync-fsync", ("--fsync",)),
    "rsync-fuzzy": Rsync("rsync-fuzzy", ("--fuzzy", "--delete-delay")),
    "unison": Unison(),
}
RSYNC_ZLIB = Rsync("rsync-zlib", ("-z", "--zc=zlib"))


def lsyncd_command(site: Site, endpoint: Endpoint) -> list[str]:
    """Write lsyncd's configuration (delay 1, archive mode, over ssh) and return the command that follows the source."""
    config = site.space / "lsyncd.lua"
    config.write_text(
        "settings { nodaemon = true, maxProcesses = 1, insist = true }\n"
        f'sync {{ default.rsync, source = "{site.source}/", target = "far:{site.sink}/", delay = 1,\n'
        f'  rsync = {{ archive = true, rsh = "ssh -F {endpoint.config}" }} }}\n'
    )
    return site.near(["lsyncd", str(config)])
