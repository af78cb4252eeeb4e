"""The product as an operator has it: a command line. The only module of the demo that starts `mailmirror`.

Everything that is run, and all that it printed, goes to a log; a command that fails raises with its own words.
Invariant: no import of the product, no reach into its files; what isn't on the command line doesn't exist here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from orchestrator.demo import interrupts
from orchestrator.demo.control import environment, tail
from orchestrator.errors import MailmirrorError, StillRunning

PATIENCE = 60.0  # seconds for a command that ends by itself


class CommandFailed(MailmirrorError):
    """A `mailmirror` command ended with a code that wasn't expected; `code` is it."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class Following:
    """A running `mailmirror run`. `stop` asks it to end as an operator would, with SIGTERM; returns its exit code."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def check(self) -> None:
        """Errors: CommandFailed when it isn't running any more."""
        code = self.process.poll()
        if code is not None:
            raise CommandFailed(f"`mailmirror run` ended by itself with {code}:\n{tail(self.log)}", code=code)

    def stop(self, patience: float = 10.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()


class Mailmirror:
    """Runs `mailmirror -i INVENTORY ...` with this very interpreter."""

    def __init__(self, inventory: Path, logs: Path) -> None:
        self._command = [sys.executable, "-m", "orchestrator.cli", "-i", str(inventory)]
        # What a command remembers of an inventory, and where it finds the daemon, is left beside this one too.
        own = {"XDG_CACHE_HOME": str(inventory.parent / "cache"), "XDG_RUNTIME_DIR": str(inventory.parent)}
        self._environment = {**environment(), **own, "NO_COLOR": "1"}
        self._log = logs / "mailmirror.log"
        self._run_log = logs / "run.log"
        self.said = ""
        """What the last command that ended well wrote to standard error."""

    def ask(self, *arguments: str, expect: tuple[int, ...] = (0,)) -> str:
        """Run a command to its end; returns what it printed. Errors: CommandFailed, StillRunning after a minute."""
        began = time.monotonic()
        with ExitStack() as leaving:
            with interrupts.held():
                process = subprocess.Popen(
                    [*self._command, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=self._environment,
                    start_new_session=True,
                )
                leaving.callback(_end, process)
            try:
                out, err = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                command = " ".join(arguments)
                raise StillRunning(f"`mailmirror {command}` didn't end within {PATIENCE:g} s") from None
        seconds = time.monotonic() - began
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"$ mailmirror {' '.join(arguments)}   # {process.returncode}, {seconds:.2f} s\n{out}{err}\n")
        if process.returncode not in expect:
            said = (err.strip() or out.strip()).replace("\n", "\n    ")
            command = " ".join(arguments)
            raise CommandFailed(
                f"`mailmirror {command}` ended with {process.returncode}:\n    {said}", code=process.returncode
            )
        self.said = err
        return out

    def tell(self, *arguments: str, expect: tuple[int, ...] = (0,)) -> object:
        """The same with `--format json`, decoded."""
        return json.loads(self.ask(*arguments, "--format", "json", expect=expect))

    def guard(self, run: str, *arguments: str) -> dict[str, object]:
        """`mailmirror-guard` on a host whose guard has its socket in this directory. Errors: CommandFailed."""
        words = [sys.executable, "-m", "orchestrator.agent.guardtalk", "--run", run, *arguments]
        done = subprocess.run(
            words, capture_output=True, text=True, env=self._environment, timeout=PATIENCE, check=False
        )
        if done.returncode != 0:
            raise CommandFailed(f"`mailmirror-guard {' '.join(arguments)}`: {done.stderr}", code=done.returncode)
        told: dict[str, object] = json.loads(done.stdout) if "json" in arguments else {}
        return told

    def follow(self) -> Following:
        """Begin `mailmirror run`: every pair, live, until it is stopped."""
        with self._run_log.open("ab") as log:
            process = subprocess.Popen(
                [*self._command, "run"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        return Following(process, self._run_log)


def _end(process: subprocess.Popen[str]) -> None:
    """Nothing, when it has ended by itself."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
