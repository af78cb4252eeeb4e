"""What a host of the lab has installed: one generation of Debian with the mail software, built once and cached.

Bookworm lies above the machine's own root, as every root of `tests.support.image`. Another generation is another
`Generation`: a name, its packages, and whether the machine's root lies below.

Invariant: the layer is read-only once built, and shared by all hosts. Nothing here is configured: see `system`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    # names, measurements
    "bind9",
    "bind9-dnsutils",
    "bind9-utils",
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
    """`above_machine`: the machine's own root is the lowest layer, so that only what it lacks is installed."""

    name: str = "bookworm"
    packages: tuple[str, ...] = PACKAGES
    above_machine: bool = True

    def layer(self) -> Path:
        """The ext4 file whose directory `upper` has the packages; built when missing. Raises image.ImageError."""
        return image.layer(self.packages)

    def lower(self, mounted: Path) -> str:
        """The overlay's lower directories, topmost first, when the layer is mounted at `mounted`."""
        return f"{mounted}/upper:/" if self.above_machine else f"{mounted}/upper"


BOOKWORM = Generation()


if __name__ == "__main__":
    print(BOOKWORM.layer())
