"""How the demo steers the processes of its site: one line in, one line out, over their standard streams.

A process says `ready {json}` once it serves, and answers each order with `done ORDER` or `failed ORDER: why`.
Invariant: a process of the site never outlives the one that started it, because the end of its standard input is
an order to stop, also when the starter was killed.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.errors import HostError, StillRunning

STOP = "stop"


def obey(facts: Mapping[str, object], orders: Mapping[str, Callable[[], None]]) -> None:
    """In the started process: announce `facts`, then carry out orders until `stop` or the end of the input."""
    _answer("ready " + json.dumps(facts))
    for line in sys.stdin:
        order = line.strip()
        if order == STOP:
            return
        act = orders.get(order)
        if act is None:
            _answer(f"failed {order}: no such order")
            continue
        try:
            act()
        except OSError as error:
            _answer(f"failed {order}: {error}")
        else:
            _answer(f"done {order}")


def _answer(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # The starter is gone; its end of the input closes too, and that is what ends us.
        print("nobody reads the answers any more", file=sys.stderr)


class Servant:
    """A started process of the site, seen from the demo. Errors: HostError when it dies or refuses an order."""

    def __init__(self, name: str, module: str, arguments: Sequence[str], *, log: Path, patience: float = 15.0) -> None:
        self.name = name
        self.log = log
        self._patience = patience
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                env=environment(),
                start_new_session=True,  # Ctrl-C goes to the demo alone, which then stops its site in order
            )
        self._reader = threading.Thread(target=self._read, name=f"{name}-answers", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ready(self) -> dict[str, object]:
        """Wait for its facts: what it listens on, and the like."""
        word, _, rest = self._next().partition(" ")
        if word != "ready":
            raise HostError(f"{self.name} began with {word!r} instead of saying that it is ready")
        facts = json.loads(rest)
        if not isinstance(facts, dict):
            raise HostError(f"{self.name} told its facts in a form that isn't understood")
        return facts

    def order(self, order: str) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(order + "\n")
            stdin.flush()
        except (OSError, ValueError) as error:
            raise HostError(f"{self.name} is gone: {error}", remedy=f"Read {self.log}.") from error
        answer = self._next()
        if answer != f"done {order}":
            raise HostError(f"{self.name}: {answer}", remedy=f"Read {self.log}.")

    def stop(self, patience: float = 5.0) -> None:
        """End it: the end of its input first, then by force. Idempotent, raises nothing of its own."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.close()
        except BrokenPipeError:
            self._process.kill()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(patience)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def kill(self) -> None:
        """End it and what it started in its own group at once, by SIGKILL. Idempotent."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self.stop()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("")

    def _next(self) -> str:
        try:
            line = self._lines.get(timeout=self._patience)
        except queue.Empty:
            raise StillRunning(f"{self.name} didn't answer within {self._patience:g} s") from None
        if not line:
            raise HostError(f"{self.name} ended unexpectedly:\n{tail(self.log)}", remedy=f"Read {self.log}.")
        return line


def environment() -> dict[str, str]:
    """Ours, with the directory that this package was imported from in front, so that a child finds the same one."""
    house = str(Path(__file__).resolve().parents[2])
    rest = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": house + (os.pathsep + rest if rest else ""), "PYTHONUNBUFFERED": "1"}


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, indented; a log that was never begun gives one line that says so."""
    if not log.exists():
        return "    (nothing was logged)"
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return "\n".join("    " + line for line in text) or "    (the log is empty)"
