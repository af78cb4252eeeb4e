"""What the verbs share: which pair is meant, and doing something on it, here or in the daemon.

Invariant: a verb that works on a pair holds the pair's lock; while another process holds it,
the running daemon is asked, and when no daemon answers either, the command says who is at it
and gives up (exit 75). Nothing is imported before it is needed: reading the inventory costs
pydantic, connecting costs paramiko.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from orchestrator import errors
from orchestrator.cli import remembered
from orchestrator.cli.fast import Lazily
from orchestrator.cli.front import Front
from orchestrator.errors import LinkLost, MailmirrorError, NeedsConfirmation, TryAgain, UsageError
from orchestrator.inventory import find
from orchestrator.records.lock import Held, Lock
from orchestrator.web import ask

if TYPE_CHECKING:
    from orchestrator.inventory.model import Inventory, Pair
    from orchestrator.replication.report import Progress
    from orchestrator.web.replicates import Replicates

    Here = Callable[[Replicates, Callable[[Progress], None]], Any]

SOCKET = "control.sock"


def inventory(front: Front) -> Inventory:
    """The inventory that is meant. Raises ConfigError."""
    path = find.locate(front.inventory_path)
    content = find.read(path)
    known = remembered.recall(path, content)
    if known is None:
        load = importlib.import_module("orchestrator.inventory.load")
        known = load.read_bytes(content, path).inventory
        remembered.remember(path, content, known)
    return known


def readable(front: Front, name: str | None) -> list[Pair]:
    """The pairs that a reading verb shows: the named one, or all."""
    pairs = inventory(front).pairs
    return [named(pairs, name)] if name else list(pairs.values())


def changeable(front: Front, name: str | None) -> Pair:
    """The pair that a changing verb means. Raises UsageError when it could be several."""
    pairs = inventory(front).pairs
    if name:
        return named(pairs, name)
    if len(pairs) > 1:
        raise UsageError(f"Which pair is meant? There are {', '.join(pairs)}.", remedy="Name one.")
    return next(iter(pairs.values()))


def named(pairs: Any, name: str) -> Pair:
    """The pair of that name. Raises UsageError."""
    pair: Pair | None = pairs.get(name)
    if pair is None:
        raise UsageError(
            f"The inventory has no pair {name}; it has {', '.join(pairs)}.",
            remedy="Correct the name, or the inventory.",
        )
    return pair


def on_pair(front: Front, pair: Pair, request: dict[str, Any], here: Here, *, timeout: float | None = None) -> Any:
    """The answer, as JSON: from `here`, in this process with the lock held, or from the daemon, asked `request`."""
    verb = str(request["verb"])
    try:
        with Lock(pair.state_dir, pair.name, verb), session(front, pair, timeout) as connected, Lazily() as shown:
            return here(connected, lambda progress: shown(asdict(progress)))
    except Held as held:
        asked = {**request, "pair": pair.name, **({} if timeout is None else {"timeout": timeout})}
        return ask_daemon(pair, asked, held)


def ask_daemon(pair: Pair, request: dict[str, Any], otherwise: MailmirrorError) -> Any:
    """The daemon's answer; `otherwise` is raised when no daemon listens. Raises the daemon's own error."""
    try:
        with Lazily() as progress:
            return ask.ask(str(pair.state_dir / SOCKET), request, progress)
    except ask.NobodyListens:
        raise otherwise from None
    except PermissionError as error:
        raise errors.NotPermitted(f"The daemon's socket may not be asked: {error.strerror}.") from error
    except ask.BrokenOff as error:
        raise TryAgain(f"The daemon broke off: {error}.", remedy="See its log, then try again.") from error
    except ask.Fault as fault:
        raise as_error(fault) from None


def tell_daemon(pair: Pair) -> None:
    """A daemon that waits (there was no marker, say) tries again at once. Where none runs, none needs to know."""
    with suppress(TryAgain, errors.UsageError, errors.NotPermitted):
        ask_daemon(pair, {"verb": "retry", "pair": pair.name}, TryAgain("No daemon runs."))


def as_error(fault: ask.Fault) -> MailmirrorError:
    """The daemon's fault as the error that it was there."""
    kind = getattr(errors, fault.code, None)
    if not (isinstance(kind, type) and issubclass(kind, MailmirrorError)):
        kind = next((k for k in vars(errors).values() if getattr(k, "exit_code", None) == fault.exit), MailmirrorError)
    error: MailmirrorError = kind(str(fault), remedy=fault.remedy)
    return error


@contextmanager
def session(front: Front, pair: Pair, timeout: float | None = None) -> Iterator[Replicates]:
    """The pair's connected session, closed at the end. After `timeout` seconds it is cut off: TryAgain."""
    connect = front.connect or importlib.import_module("orchestrator.daemon.connecting").connect
    connected: Replicates = connect(pair)
    over = threading.Event()

    def cut_off() -> None:
        over.set()
        connected.close()

    clock = threading.Timer(timeout or 0, cut_off)
    clock.daemon = True
    if timeout:
        clock.start()
    try:
        yield connected
    except LinkLost:
        if over.is_set():
            raise TryAgain(
                f"It wasn't done within {timeout:g} s.",
                remedy="What was done is kept; try again with a longer --timeout.",
            ) from None
        raise
    finally:
        clock.cancel()
        connected.close()


def as_name(typed: str) -> str:
    """What was typed for a file name or a glob over file names, as it stands in JSON (`agent.wire.text`)."""
    return os.fsencode(typed).decode("latin-1")


def confirm(question: str, yes: bool) -> None:
    """Ask on the terminal. Raises NeedsConfirmation without one, click.Abort for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise NeedsConfirmation(f"{question} Nothing was changed: there is no terminal to ask on.")
    click.confirm(question, abort=True, err=True)
