"""Three guards on loopback: of the primary, the mirror and a witness, as on three hosts, each with its own directory.

    python -m orchestrator.demo.guards DIRECTORY PAIR

Announces {place: directory of its socket}; `part` stops those of the mirror and the witness where they stand, as hosts
that hang, and `heal` lets them go on. There are no services here to gate, so the kernel's rules stay as they are.

Invariant: no guard outlives this process, however it ends (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import json
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path

from orchestrator.demo.control import obey

PLACES = ("primary", "mirror", "witness")
TTL = 2.0
COMMAND = (sys.executable, "-m", "orchestrator.agent.guardtalk")
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def main() -> None:
    directory, pair = Path(sys.argv[1]), sys.argv[2]
    ports = _ports()
    (directory / "key").write_text(secrets.token_hex(32), encoding="ascii")
    guards = {place: _start(directory, place, _settings(pair, place, ports)) for place in PLACES}

    def all_but_one(number: signal.Signals) -> None:
        for place in PLACES[1:]:
            guards[place].send_signal(number)

    orders = {"part": lambda: all_but_one(signal.SIGSTOP), "heal": lambda: all_but_one(signal.SIGCONT)}
    try:
        obey({place: str(directory / place) for place in PLACES}, orders)
    finally:
        for number in (signal.SIGCONT, signal.SIGTERM):
            for process in guards.values():
                process.send_signal(number)
        for process in guards.values():
            _ended(process)


def _ended(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(3 * TTL)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ports() -> dict[str, int]:
    """Free ones; all are taken at once, so that they differ."""
    sockets = {place: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for place in PLACES}
    for each in sockets.values():
        each.bind(("127.0.0.1", 0))
    ports = {place: int(each.getsockname()[1]) for place, each in sockets.items()}
    for each in sockets.values():
        each.close()
    return ports


def _settings(pair: str, place: str, ports: dict[str, int]) -> dict[str, object]:
    peers = {other: ["127.0.0.1", port] for other, port in ports.items() if other != place}
    nothing: dict[str, object] = {"served": [], "units": [], "postfix": False, "addresses": [], "stores": []}
    here = {"pair": pair, "place": place, "peers": peers, "listen": "127.0.0.1", "port": ports[place]}
    return {**here, "ttl": TTL, "drift": 0.01, "stop": 0.5, "fixed": {}, **nothing}


def _start(directory: Path, place: str, settings: dict[str, object]) -> subprocess.Popen[bytes]:
    home = directory / place
    home.mkdir()
    (home / "guard.json").write_text(json.dumps(settings), encoding="ascii")
    words = ["--settings", home / "guard.json", "--key", directory / "key", "--state", home, "--run", home, "run"]
    return subprocess.Popen([*COMMAND, *map(str, words)], preexec_fn=_end_with_the_starter)


def _end_with_the_starter() -> None:
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)


if __name__ == "__main__":
    main()
