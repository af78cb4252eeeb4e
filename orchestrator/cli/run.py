"""`mailmirror run`: the daemon, in the foreground. It ends with SIGTERM or Ctrl-C, within two seconds."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click

from orchestrator.cli import reach
from orchestrator.cli.front import Front
from orchestrator.daemon import logs
from orchestrator.daemon.connecting import connect
from orchestrator.daemon.service import Daemon
from orchestrator.errors import UsageError
from orchestrator.inventory.model import Pair
from orchestrator.web.replicates import Replicates, Trace


@click.command()
@click.option("--trace", type=click.Path(dir_okay=False, path_type=Path), help="One JSON line per durable message.")
@click.pass_obj
def command(front: Front, trace: Path | None) -> int:
    """Follow every pair of the inventory, live, until it is told to stop."""
    inventory = reach.inventory(front)
    logs.configure(front.debug)
    with ExitStack() as opened:
        tracing = _tracing(trace, opened) if trace else None
        daemon = Daemon(inventory, partial(_connect, tracing), lambda: reach.inventory(front))
        ended = daemon.run()
    if not ended:
        _leave()
    return 0


def _connect(
    trace: Trace | None, pair: Pair, on_event: Callable[[str, str], None], suspect: Callable[[], bool]
) -> Replicates:
    return connect(pair, on_event=on_event, trace=trace, suspect=suspect)


def _tracing(path: Path, opened: ExitStack) -> Trace:
    """A trace that appends to the file: {"name": base name, "durable_ns": CLOCK_MONOTONIC nanoseconds} a line."""
    try:
        file = opened.enter_context(path.open("a", buffering=1, encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}.") from error
    lock = threading.Lock()

    def trace(name: str, durable_ns: int) -> None:
        line = json.dumps({"name": name, "durable_ns": durable_ns}) + "\n"
        with lock:
            file.write(line)

    return trace


def _leave() -> None:
    """End although a pair's thread hasn't: waiting for it could take as long as its host is silent."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)
