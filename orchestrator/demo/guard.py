"""The guard of one host of the site: `mailmirror-guard run`, with all that is its own in one directory.

    python -m orchestrator.demo.guard DIRECTORY

`hang` stops it where it stands, and `heal` lets it go on. It gates no port and starts no unit, since an ordinary user
may do neither: the SMTP front asks it instead, before each answer.

Invariant: no guard outlives this process, however it ends (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from orchestrator.demo.control import obey

TTL = 2.0  # seconds of the lease
COMMAND = (sys.executable, "-m", "orchestrator.agent.guardtalk")
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def lay(directory: Path, key: str, pair: str, place: str, addresses: Mapping[str, str], port: int) -> None:
    """Its settings and the pair's key; `addresses` are the guards' hosts by place, and all hear at one UDP port."""
    settings = {
        "pair": pair, "place": place, "listen": addresses[place], "port": port,
        "peers": {other: [address, port] for other, address in addresses.items() if other != place},
        "ttl": TTL, "drift": 0.01, "stop": 0.5,
        "served": [], "units": [], "postfix": False, "addresses": [], "stores": [],
        "fixed": {each: addresses[each] for each in ("primary", "mirror")},
    }  # fmt: skip
    directory.mkdir(mode=0o700)
    (directory / "guard.json").write_text(json.dumps(settings), encoding="ascii")
    (directory / "guard.key").write_text(key, encoding="ascii")


def main() -> None:
    home = Path(sys.argv[1])
    files = ["--settings", home / "guard.json", "--key", home / "guard.key", "--state", home, "--run", home]
    process = subprocess.Popen([*COMMAND, *map(str, files), "run"], preexec_fn=_end_with_the_starter)
    orders = {
        "hang": lambda: process.send_signal(signal.SIGSTOP),
        "heal": lambda: process.send_signal(signal.SIGCONT),
    }
    try:
        obey({}, orders)
    finally:
        for number in (signal.SIGCONT, signal.SIGTERM):
            process.send_signal(number)
        _ended(process)


def _ended(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(3 * TTL)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with_the_starter() -> None:
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)


if __name__ == "__main__":
    main()
