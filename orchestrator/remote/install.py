"""The agent bound to a key: the authorized_keys line, and laying it down together with the code that it starts.

With that line sshd starts one command for the key, whatever is asked for: the agent, with the stores and the permission
that the line names (design 4). What a client sends as its command reaches the agent's loader alone, which takes nothing
from it but a lane's token.

Invariant: the line never gives more than `restrict` leaves, and names every store that the key may touch.
"""

from __future__ import annotations

import base64
import getpass
import json
import os
import shlex
import subprocess
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.errors import ConfigError, HostUnreachable, NotPermitted
from orchestrator.inventory import Host
from orchestrator.remote import bootstrap, loader, ssh
from orchestrator.remote.installer import MARK
from orchestrator.remote.known_hosts import Key
from orchestrator.remote.lines import Line

WITHIN = 60.0
"""Seconds for the code's way and the installer's work."""
ROOT_STATE, USER_STATE = "/var/lib/mailmirror-agent", ".local/state/mailmirror-agent"
"""Where the agent's code is kept (`loader.state`): root's, and another user's from the home that sshd starts in."""


class Installed(NamedTuple):
    """What was done on the host: the state directory, and whether the key's line was added, replaced or there."""

    state: str
    line: str


def key_line(host: Host, key: Key, allow: Sequence[str] = ("replication",)) -> str:
    """The authorized_keys line (sshd(8)) that binds `key` to the agent on the host's stores.

    Raises ConfigError for a store whose name the line can't carry.
    """
    stores = [store.root for store in host.stores]
    for root in stores:
        if any(letter in root for letter in ',"\\\n'):
            raise ConfigError(
                f"{host.name}: the store {root!r} can't stand in an authorized_keys line",
                remedy="Name it by a path without commas, quotes and backslashes (a bind mount will do).",
            )
    python = "/usr/bin/python3" if host.python == "python3" else host.python
    user = host.user or getpass.getuser()
    start = f"{ROOT_STATE if user == 'root' else USER_STATE}/agent.py"
    words = [python, "-I", "-S", start, "--stores", ",".join(stores), "--allow", ",".join(allow)]
    blob = base64.b64encode(key.blob).decode()
    return f'restrict,command="exec {shlex.join(words)}" {key.kind} {blob} mailmirror'


def install(host: Host, line: str, within: float = WITHIN) -> Installed:
    """Lay the agent and the key's line down on the host, over SSH with the host's key as it is now. Idempotent.

    The installer has `within` seconds.

    Raises what `ssh.connect` does; NotPermitted when the key that logs in is bound to an agent already.
    """
    return _have_done(host, "installer.py", _job(line), within)


def remove(host: Host, key: Key, within: float = WITHIN) -> Installed:
    """Take the key's line and the agent's code off the host; its indexes stay. Idempotent. Raises as `install` does.

    `line` of the answer is "removed" or "absent".
    """
    job = json.dumps({"blob": base64.b64encode(key.blob).decode()}).encode() + b"\n"
    return _have_done(host, "remover.py", job, within)


def _have_done(host: Host, script: str, job: bytes, within: float) -> Installed:
    return Installed(**have_done(host, script, job, within))


def have_done(host: Host, script: str, job: bytes, within: float) -> dict[str, Any]:
    """What one of this room's scripts says after its work on a host, over SSH or on this machine; `job` is its line.

    Raises what `ssh.connect` does, NotPermitted, HostUnreachable.
    """
    if host.local:
        return _here(host, script, job, within)
    trunk = ssh.connect(host)
    try:
        channel = trunk.run(_command(host.python, script))
        try:
            channel.sendall(job)
        except OSError as error:
            raise HostUnreachable(f"{host.name}: the installer takes nothing: {error}") from error
        return _answer(channel, host.name, within)
    finally:
        trunk.close()


def _here(host: Host, script: str, job: bytes, within: float) -> dict[str, Any]:
    if os.geteuid() != 0:
        raise NotPermitted(f"{host.name} is this machine, and installing on it takes root.", remedy="Use sudo.")
    try:
        done = subprocess.run(_words(host.python, script), input=job, capture_output=True, timeout=within, check=False)
    except subprocess.TimeoutExpired as error:
        raise HostUnreachable(f"{host.name}: the installer wasn't done within {within:g} s") from error
    if MARK not in done.stdout:
        raise HostUnreachable(f"{host.name}: the installer failed: {done.stderr.decode(errors='replace')[-1000:]}")
    said: dict[str, Any] = json.loads(done.stdout.partition(MARK)[2])
    return said


def _command(python: str, script: str) -> str:
    return "exec " + shlex.join(_words(python, script))


def _words(python: str, script: str) -> list[str]:
    text = Path(__file__).with_name(script).read_text(encoding="utf-8")
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    start = f'import zlib,base64;exec(zlib.decompress(base64.b64decode("{packed}")))'
    return [*bootstrap.interpreter(python), "-I", "-S", "-c", start]


def _job(line: str) -> bytes:
    code = bootstrap.archive()
    files = json.loads(zlib.decompress(code.data))
    return (
        json.dumps({"loader": bootstrap.loader_text(), "sha": code.sha, "files": files, "line": line}).encode() + b"\n"
    )


def _answer(channel: Line, name: str, within: float) -> dict[str, Any]:
    """What the installer says."""
    deadline, heard = time.monotonic() + within, b""
    while MARK not in heard or not heard.endswith(b"\n"):
        if loader.MARK in heard:
            raise NotPermitted(
                f"{name}: the key that logs in there is bound to an agent already",
                remedy="Name a key that may run commands with --login-key, or edit authorized_keys by hand.",
            )
        if time.monotonic() > deadline or len(heard) > bootstrap.PREAMBLE:
            printed = heard[:500].decode(errors="replace")
            raise HostUnreachable(f"{name}: the installer didn't answer; it printed:\n{printed}")
        try:
            data = channel.recv(bootstrap.PREAMBLE)
        except TimeoutError:
            continue
        if not data:
            raise HostUnreachable(f"{name}: the installer failed: {channel.settle()}")
        heard += data
    said: dict[str, Any] = json.loads(heard.partition(MARK)[2])
    return said
