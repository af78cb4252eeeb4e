"""The layer of a whole release of Debian, made by debootstrap: nothing of the machine's own root is in it.

Cached beside the layers of `tests.support.image`, and made with the machine's own apt sources and settings (the
release is another, the archive the same). The project's requirements are laid beside it for that release's Python.

Invariant: debootstrap runs in a root of its own and writes to memory; what is finished is moved to its place at once.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support import image

LIBRARIES = "/opt/libraries"
_TOOLS = ("debootstrap", "e2fsprogs")
# A root with room for a release: /tmp is memory. `mkfs.ext4 -d` needs no mount and no loop device in there.
_BUILD = r"""
set -eu
release=$1 archive=$2; shift 2
seed=/tmp/seed root=/tmp/seed/upper
mkdir -p "$root" "$seed/work"
debootstrap --variant=minbase --include=ca-certificates "$release" "$root" "$archive"
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
echo force-unsafe-io > "$root/etc/dpkg/dpkg.cfg.d/lab"
apt-config dump Acquire > "$root/etc/apt/apt.conf.d/machine"
cp /etc/resolv.conf "$root/etc/resolv.conf"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
chroot "$root" apt-get update -qq
chroot "$root" apt-get install -y -qq --no-install-recommends "$@"
chroot "$root" sh -euc "$UNPACK"
chroot "$root" apt-get clean
chroot "$root" useradd --uid 5000 --user-group --create-home --home-dir /var/vmail --shell /usr/sbin/nologin vmail
# Postfix makes it when it first starts; Dovecot's sockets are in there, and it may start before.
chroot "$root" install -d -o postfix -g root -m 700 /var/spool/postfix/private
umount -l "$root/dev" "$root/proc"
rm -rf "$root"/var/lib/apt/lists/* "$root"/usr/share/doc "$root"/usr/share/man
cp -r /part/libraries "$root/opt/libraries"
truncate -s 8G /part/layer.ext4
mkfs.ext4 -q -m 0 -d "$seed" /part/layer.ext4
"""


def layer(release: str, packages: Sequence[str], unpacked: Sequence[str], python: str) -> Path:
    """The ext4 file whose directory `upper` is a root of `release` with `packages`, and the files of the packages
    `unpacked`; built when missing, in one to two minutes. `python` is the version of its Python ("3.13"). Safe to call
    from several processes. Raises ImageError.
    """
    requirements = _requirements()
    parts = [_BUILD, platform.machine(), release, python, *sorted(packages), image.UNPACK, *unpacked, *requirements]
    key = f"{release}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"

    def build(part: Path) -> None:
        _lay_libraries(part / "libraries", python, requirements)
        _build(part, release, packages, unpacked)
        shutil.rmtree(part / "libraries")

    return image.cached(key, f"making {release}", build)


def _requirements() -> list[str]:
    setup = configparser.ConfigParser()
    setup.read(image.CHECKOUT / "setup.cfg", encoding="utf-8")
    return setup["options"]["install_requires"].split()


def _lay_libraries(place: Path, python: str, requirements: Sequence[str]) -> None:
    """What the project needs, for another Python than this one, as pip is set up on this machine."""
    machine = platform.machine()
    kinds = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
    foreign = [f"--platform={kind}_{machine}" for kind in kinds]
    foreign += ["--implementation=cp", f"--python-version={python}", "--only-binary=:all:"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--target", place, *foreign, *requirements],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise image.ImageError(f"no libraries for Python {python}:\n{done.stderr[-1000:]}")


def _build(part: Path, release: str, packages: Sequence[str], unpacked: Sequence[str]) -> None:
    said = image.run(
        ["sh", "-c", _BUILD, "build", release, image.archive(), *packages],
        packages=_TOOLS,
        binds=[(part, "/part"), *image.resolver()],
        env={
            "PATH": image.PATH,
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
            "UNPACK": image.UNPACK,
            "UNPACKED": " ".join(unpacked),
            **_proxies(),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output, _ = said.communicate()
    if said.returncode != 0:
        tail = "\n".join(output.strip().splitlines()[-15:])
        raise image.ImageError(f"{release} could not be made:\n{tail}")


def _proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.lower() in ("http_proxy", "https_proxy")}
