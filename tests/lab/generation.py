"""What a host of the lab has installed: one generation of Debian with the mail software, built once and cached.

Bookworm lies above the machine's own root, as every root of `tests.support.image`, and the controller runs in the
environment that runs the tests. Trixie stands for itself: its own root, its own Python, its own Dovecot (2.4).

Invariant: the layer is read-only once built, and shared by all hosts. Nothing here is configured: see `system`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.lab import debootstrap
from tests.support import image

PACKAGES: tuple[str, ...] = (
    # the mail host
    "dovecot-core",
    "dovecot-imapd",
    "dovecot-lmtpd",
    "dovecot-managesieved",
    "dovecot-pop3d",
    "dovecot-sieve",
    "openssh-server",
    "postfix",
    "python3",
    # the host itself
    "e2fsprogs",
    "iproute2",
    "iputils-arping",
    "tcc",
    "nftables",
    "procps",
    "systemd",
    "systemd-sysv",
    # what a fence agent imports
    "python3-pexpect",
    "python3-pycurl",
    "python3-requests",
    # names, measurements
    "bind9",
    "bind9-dnsutils",
    "bind9-utils",
    "nginx",
    "prometheus",
    # the client, and whoever looks for a fault
    "curl",
    "iputils-ping",
    "isync",
    "less",
    "libauthen-sasl-perl",
    "libnet-ssleay-perl",
    "mutt",
    "openssh-client",
    "openssl",
    "strace",
    "swaks",
    "tcpdump",
    "vim-tiny",
)


@dataclass(frozen=True)
class Generation:
    """`dovecot` is the version whose configuration it understands; `python` runs the controller and the outside client,
    and finds their libraries at `libraries` beside the checkout ("" when it needs no other place). `version` is that
    Python's where a whole release is made, and "" where the machine's own root is the lowest layer and only what it
    lacks is installed.
    """

    name: str
    dovecot: str
    python: str
    libraries: str = ""
    version: str = ""
    unpacked: tuple[str, ...] = ("fence-agents",)  # their files alone: fence_redfish needs 3 of the 97 MB

    def layer(self) -> Path:
        """The ext4 file whose directory `upper` has the packages; built when missing. Raises image.ImageError."""
        if self.version:
            return debootstrap.layer(self.name, PACKAGES, self.unpacked, self.version)
        return image.layer(PACKAGES, self.unpacked)

    def lower(self, mounted: Path) -> str:
        """The overlay's lower directories, topmost first, when the layer is mounted at `mounted`."""
        # Without the machine's root there is an empty one below: an overlay that nobody writes to has at least two.
        return f"{mounted}/upper:" + (f"{mounted}/work" if self.version else "/")

    def binds(self) -> list[tuple[str, str, bool]]:
        """What its Python needs of this machine: (outside, inside, writable)."""
        return [] if self.version else [(sys.prefix, sys.prefix, False)]


BOOKWORM = Generation("bookworm", dovecot="2.3", python=sys.executable)
TRIXIE = Generation(
    "trixie",
    dovecot="2.4",
    python="/usr/bin/python3",
    libraries=debootstrap.LIBRARIES,
    version="3.13",
    unpacked=("fence-agents-common", "fence-agents-redfish"),
)


def chosen() -> Generation:
    """What the tests run on: bookworm, unless LAB_GENERATION names the other."""
    known = {each.name: each for each in (BOOKWORM, TRIXIE)}
    return known[os.environ.get("LAB_GENERATION") or BOOKWORM.name]


if __name__ == "__main__":
    for each in sys.argv[1:]:
        os.environ["LAB_GENERATION"] = each
        print(chosen().layer())
