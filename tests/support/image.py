"""A root with real mail software: the packages that only tests need, laid over the machine's own root.

`layer()` installs them once into an ext4 file in a cache directory; `run()` starts a command in a fresh root above
it; `Root` holds such a root for several commands. As root only (see `tests.support.require`).

Invariant: the machine's own root, mount table and package list never change. What a root writes is in memory and dies
with it; a root dies with the process that asked for it, also by SIGKILL. It starts no services: a test that
wants sshd or Dovecot starts it as a command in the foreground. It is no machine: no systemd, no addresses.

A root holds the mounts below its `binds` as they were when it started: end it before cutting the power of a store.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support import stage

DEFAULT: tuple[str, ...] = (
    "dovecot-core",
    "dovecot-imapd",
    "dovecot-lmtpd",
    "dovecot-pop3d",
    "e2fsprogs",
    "iproute2",
    "lsyncd",
    "nftables",
    "openssh-client",
    "openssh-server",
    "procps",
    "python3",
    "rsync",
    "unison",
)
LOOPBACK = stage.LOOPBACK
CHECKOUT = Path(__file__).resolve().parents[2]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RECIPE = "1"  # raise it when the build script below changes: it is part of the cache's key
UNPACK = r"""
cd /var/cache/apt
for name in $UNPACKED; do
    apt-get download -qq "$name"
    dpkg-deb --fsys-tarfile "$name"_*.deb | tar -x -C / --keep-directory-symlink
    rm "$name"_*.deb
done
"""
"""Lays down the files of the packages in $UNPACKED, and nothing that they depend on."""
_BUILD = r"""
set -eu
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@"
apt-get clean
rm -rf /var/lib/apt/lists/*
getent passwd vmail > /dev/null || useradd --uid 5000 --user-group --create-home --home-dir /var/vmail \
    --shell /usr/sbin/nologin vmail
"""


class ImageError(Exception):
    """The layer could not be built, or a root could not be started; the message holds the last lines of why."""


def directory() -> Path:
    """The cache: $MAILMIRROR_IMAGE_DIR, or /var/cache/mailmirror-tests."""
    return Path(os.environ.get("MAILMIRROR_IMAGE_DIR") or "/var/cache/mailmirror-tests")


def layer(packages: Sequence[str] = DEFAULT, unpacked: Sequence[str] = ()) -> Path:
    """The ext4 file with `packages` installed above the machine's root, and the files of the packages `unpacked`; built
    when missing, which takes about half a minute and needs the machine's apt sources. Safe to call from several
    processes at once. Raises ImageError.
    """
    key = _key([*packages, *(f"{name}, unpacked by {UNPACK}" for name in unpacked)])
    return cached(key, f"installing {len(packages)} packages", lambda part: _build(packages, unpacked, part))


def cached(key: str, what: str, build: Callable[[Path], None], *, made: str = "layer.ext4") -> Path:
    """The file `made` that `build` makes in the directory that it is given, moved to its place when it is whole; made
    when missing. Safe to call from several processes at once. Raises what `build` raises.
    """
    place = directory()
    whole, part = place / key, place / f"{key}.part"
    finished = whole / made
    (place / "stage").mkdir(parents=True, exist_ok=True)
    with open(place / f"{key}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            _forget_old(place)
            began = time.monotonic()
            print(f"image: {what} in {whole} (once)", file=sys.stderr, flush=True)
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            build(part)
            part.rename(whole)
            print(f"image: ready after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    os.utime(whole)
    return finished


def _forget_old(place: Path) -> None:
    """Removes layers that no test has asked for in thirty days: their key will hardly come back."""
    for lock in place.glob("*.lock"):
        old = lock.with_suffix("")
        if old.is_dir() and old.stat().st_mtime < time.time() - 30 * 86400:
            shutil.rmtree(old)


def _key(packages: Sequence[str]) -> str:
    """Changes with the packages, the release, and whatever is installed on the machine below the layer."""
    parts = [_RECIPE, _BUILD, platform.machine(), *sorted(packages)]
    parts += [Path(name).read_text(encoding="utf-8") for name in ("/etc/os-release", "/var/lib/dpkg/status")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _build(packages: Sequence[str], unpacked: Sequence[str], part: Path) -> None:
    for name in ("upper", "work"):
        (part / "seed" / name).mkdir(parents=True)
    image = part / "layer.ext4"
    with open(image, "wb") as file:
        file.truncate(8 << 30)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-d", part / "seed", image], check=True)
    shutil.rmtree(part / "seed")
    environment = {
        "PATH": PATH,
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C.UTF-8",
        "UNPACKED": " ".join(unpacked),
    }
    script = _BUILD.replace("apt-get clean\n", UNPACK + "apt-get clean\n")
    spec = _spec(["sh", "-c", script, "build", *packages], image, env=environment, binds=resolver())
    spec.build = True
    done = subprocess.run(_command(spec), env=_own_environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = (done.stdout + done.stderr).strip().splitlines()[-15:]
        raise ImageError("the packages could not be installed into the layer:\n" + "\n".join(tail))


def archive() -> str:
    """The archive that the machine takes its own packages from. Raises ImageError."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.split() if "security" not in line]
    if not found:
        raise ImageError("this machine has no apt source to take a release from: see /etc/apt/sources.list.d")
    return found[0]


def resolver() -> list[tuple[str, str]]:
    """/run is fresh inside; where the machine's resolv.conf points there, it has to come along."""
    place = os.path.realpath("/etc/resolv.conf")
    return [(place, place)] if place.startswith("/run/") and os.path.exists(place) else []


def _spec(
    argv: Sequence[str] | None,
    image: Path,
    *,
    env: Mapping[str, str] | None = None,
    binds: Sequence[tuple[str | Path, str | Path]] = (),
    net: str | None = None,
    cwd: str = "/",
) -> stage.Spec:
    return stage.Spec(
        caller=os.getpid(),
        stage=str(directory() / "stage"),
        image=str(image),
        argv=list(argv) if argv is not None else None,
        env=dict(env) if env is not None else {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root"},
        cwd=cwd,
        binds=[(os.fspath(source), os.fspath(target)) for source, target in binds],
        net=net,
    )


def _command(spec: stage.Spec) -> list[str]:
    return [sys.executable, "-m", "tests.support.stage", json.dumps(asdict(spec))]


def _own_environment() -> dict[str, str]:
    """For the stage itself; the command inside gets only what its spec says. Coverage stays out of it."""
    return {"PYTHONPATH": str(CHECKOUT), "PATH": PATH, "PYTHONDONTWRITEBYTECODE": "1"}


def run(
    argv: Sequence[str],
    *,
    binds: Sequence[tuple[str | Path, str | Path]] = (),
    net: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str = "/",
    packages: Sequence[str] = DEFAULT,
    **popen: Any,
) -> subprocess.Popen[Any]:
    """Starts `argv` in a fresh root and returns at once. `binds` are (path on the machine, path inside), shared and
    writable, mounts below them included; `net` is the path of a network namespace, LOOPBACK for one of its own, None
    for the machine's; `env` replaces the environment. Other arguments go to subprocess.Popen.

    Signals sent to the Popen reach the command; its exit code comes back (128 + n after signal n). All of it ends when
    the command ends, when this process ends, or on .kill().
    """
    spec = _spec(argv, layer(packages), env=env, binds=binds, net=net, cwd=cwd)
    return subprocess.Popen(_command(spec), env=_own_environment(), **{"start_new_session": True, **popen})


class Root:
    """A fresh root that several commands share, as a context manager: `with Root(binds=...) as root: root.check(...)`.

    Arguments as of `run`. Leaving the context kills everything in it and frees everything that it wrote.
    """

    def __init__(
        self,
        *,
        binds: Sequence[tuple[str | Path, str | Path]] = (),
        net: str | None = None,
        packages: Sequence[str] = DEFAULT,
        unpacked: Sequence[str] = (),
    ) -> None:
        self._spec = _spec(None, layer(packages, unpacked), binds=binds, net=net)
        self._porter: subprocess.Popen[bytes] | None = None
        self.pid = 0

    def __enter__(self) -> Root:
        reading, writing = os.pipe()
        try:
            self._spec.ready = writing
            self._porter = subprocess.Popen(
                _command(self._spec),
                env=_own_environment(),
                pass_fds=[writing],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(writing)
        with open(reading, encoding="ascii") as report:
            words = report.read().split()
        if "ready" not in words:
            self.close()
            raise ImageError("the root did not start; the line above says why")
        self.pid = int(next(word for word in words if word != "ready"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kills everything inside, at once, and returns when it is gone; idempotent."""
        if self._porter is not None:
            self._porter.terminate()  # its PID 1 leaves, and the kernel kills the rest before that counts as done
            try:
                self._porter.wait(10)
            except subprocess.TimeoutExpired:
                self._porter.kill()
                self._porter.wait()
            self._porter = None

    @property
    def net(self) -> str:
        """The path of this root's network namespace, for another root to join."""
        return f"/proc/{self.pid}/ns/net"

    def path(self, inside: str | Path) -> Path:
        """Where a path inside the root is seen from outside, while it lives. Absolute links inside it lead astray."""
        return Path(f"/proc/{self.pid}/root") / os.fspath(inside).lstrip("/")

    def run(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str = "/", **popen: Any
    ) -> subprocess.Popen[Any]:
        """Starts one more command inside; see the function `run` for what the Popen does."""
        spec = _spec(argv, Path(self._spec.image), env=env, cwd=cwd)
        spec.enter = self.pid
        return subprocess.Popen(_command(spec), env=_own_environment(), **{"start_new_session": True, **popen})

    def check(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> bytes:
        """Runs a command inside to its end; its standard output. Raises CalledProcessError with its standard error."""
        with self.run(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                out, err = process.communicate(stdin, timeout)
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            error = subprocess.CalledProcessError(process.returncode, list(argv), out, err)
            error.add_note(err.decode(errors="replace"))
            raise error
        return bytes(out)


@contextlib.contextmanager
def running(process: subprocess.Popen[Any], *, grace: float = 5.0) -> Iterator[subprocess.Popen[Any]]:
    """Ends `process` when the context ends: SIGTERM, and SIGKILL after `grace` seconds."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    print(layer())
