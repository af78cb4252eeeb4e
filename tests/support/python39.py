"""A real Python 3.9, the oldest that a mail host may have: Debian bullseye's, unpacked beside the test layers.

Invariant: nothing of it is installed; it is files below the cache, started with its own libraries. Its SQLite and
OpenSSL are of its time too.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support import image

RELEASE = "bullseye"
PACKAGES = (
    "libffi7",
    "libmpdec3",
    "libpython3.9-minimal",
    "libpython3.9-stdlib",
    "libsqlite3-0",
    "libssl1.1",
    "python3.9-minimal",
)
_PROGRAM = "usr/bin/python3.9"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SETTINGS = """Dir::Etc::sourcelist "{place}/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "{place}/lists";
Dir::State::status "{place}/nothing-is-installed";
Dir::Cache "{place}/cache";
APT::Sandbox::User "";
"""


def command() -> list[str]:
    """What its arguments are put after; fetched when it is missing, in seconds. Raises image.ImageError."""
    program = image.cached(_key(), "fetching Python 3.9", _fetch, made=_PROGRAM)
    [libraries] = program.parent.parent.glob("lib/*-linux-gnu")
    return ["env", f"LD_LIBRARY_PATH={libraries}", os.fspath(program)]


def _key() -> str:
    parts = [platform.machine(), *PACKAGES]
    return f"{RELEASE}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}"


def _fetch(part: Path) -> None:
    apt = part / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True)
    (apt / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {image.archive()} {RELEASE} main\n", "ascii")
    (apt / "settings").write_text(_SETTINGS.format(place=apt), "ascii")
    (apt / "nothing-is-installed").touch()
    environment = {**os.environ, "APT_CONFIG": str(apt / "settings")}
    for words in (["apt-get", "update", "-qq"], ["apt-get", "download", "-qq", *PACKAGES]):
        _done(words, apt, environment)
    for package in sorted(apt.glob("*.deb")):
        _done(["dpkg-deb", "--extract", os.fspath(package), os.fspath(part)], apt, environment)
    _done(["rm", "-r", os.fspath(apt)], part, environment)


def _done(words: Sequence[str], place: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise image.ImageError(f"Python 3.9 couldn't be fetched: {' '.join(words[:2])}: {done.stderr.strip()[-500:]}")
