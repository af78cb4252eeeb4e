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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from orchestrator import errors
from orchestrator.cli import remembered
from orchestrator.cli.fast import Lazily
from orchestrator.cli.front import F, Front
from orchestrator.errors import (
    HostError,
    LinkLost,
    MailmirrorError,
    NeedsConfirmation,
    Refused,
    TryAgain,
    UsageError,
)
from orchestrator.inventory import find
from orchestrator.records import history, snapshot
from orchestrator.records.lock import Held, Lock
from orchestrator.web import ask

if TYPE_CHECKING:
    from orchestrator.inventory.model import Host, Inventory, Pair
    from orchestrator.replication.report import Progress
    from orchestrator.web.replicates import Replicates

    Here = Callable[[Replicates, Callable[[Progress], None]], Any]

SOCKET = "control.sock"
PASSES = frozenset(("sync", "seed", "verify"))


def pair_argument(function: F) -> F:
    """PAIR, which may be left out; a shell completes it from the inventory."""
    return click.argument("pair", required=False, shell_complete=offers())(function)


def offers(*also: str, hosts: bool = False) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """What a shell completes for PAIR, or for [PAIR] WORD where WORD may be one of `also`, or a host."""

    def offered(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
        typed = context.params.get(parameter.name or "") or ()
        said = Front(context.find_root().params.get("inventory"))  # the verb itself isn't begun
        with suppress(MailmirrorError):  # where there is no inventory to read, nothing is offered
            pairs = inventory(said).pairs
            meant = [pairs[name] for name in typed if name in pairs] if typed else pairs.values()
            names = [*also, *(host for pair in meant for host in pair.hosts if hosts)]
            return [name for name in [*(() if typed else pairs), *names] if name.startswith(begun)]
        return []

    return offered


a_host = offers(hosts=True)


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


def on_pair(
    front: Front, pair: Pair, request: dict[str, Any], here: Here, *, timeout: float | None = None, reason: str = ""
) -> Any:
    """The answer, as JSON: from `here`, in this process with the lock held, or from the daemon, asked `request`.

    An order is noted in the pair's history with its `reason` before it is carried out; a dry run isn't one.
    """
    verb, planned = str(request["verb"]), bool(request.get("dry_run"))
    try:
        with at_work(front, pair, verb, timeout, keep=not planned) as connected, Lazily() as shown:
            if verb in history.CHANGING and not planned:
                note(pair, verb, reason, **{key: request[key] for key in history.NOTED if request.get(key)})
            return here(connected, lambda progress: shown(asdict(progress)))
    except Held as held:
        asked = {**request, "pair": pair.name, **({} if timeout is None else {"timeout": timeout})}
        return ask_daemon(pair, {**asked, "reason": reason} if reason else asked, held)


@contextmanager
def at_work(
    front: Front, pair: Pair, verb: str, timeout: float | None = None, *, keep: bool = True
) -> Iterator[Replicates]:
    """The pair's session with its lock held. What it saw, or why it saw nothing, is kept for `status`. Raises Held."""
    with Lock(pair.state_dir, pair.name, verb):
        try:
            with session(front, pair, timeout) as connected:
                yield connected
                if keep:
                    keep_status(pair, connected, verb)
        except (HostError, Refused, TryAgain) as error:
            if keep and (verb in PASSES or isinstance(error, HostError)):
                keep_trouble(pair, verb, error)
            raise


def keep_status(pair: Pair, connected: Replicates, verb: str) -> None:
    """Write the snapshot of how the pair stands now."""
    told = asdict(connected.status())
    _, equal = snapshot.equality(pair.state_dir, pair.name)
    for passive in told["passives"]:
        passive["equal_as_of"] = passive["equal_as_of"] or equal.get(passive["host"])
    with _unless_full():
        snapshot.write(pair.state_dir, pair.name, {**told, "seen_by": verb})


def keep_trouble(pair: Pair, verb: str, error: MailmirrorError) -> None:
    """Write into the snapshot that this went wrong; what was seen before stays in it."""
    trouble = f"The last `{verb}` failed, {time.strftime('%Y-%m-%d %H:%M:%S')}: {' '.join(str(error).split())}"
    with _unless_full():
        snapshot.write_trouble(pair.state_dir, pair.name, never_seen(pair), trouble, error.remedy)


def keep_roles(pair: Pair, active: Host, other: Host, epoch: int) -> None:
    """Write into the snapshot who is active now; what was known of the other one as the active says nothing more."""
    known = {**never_seen(pair), **(snapshot.read(pair.state_dir, pair.name) or {})}
    if known["active"] != active.name:
        report = importlib.import_module("orchestrator.replication.report")
        passives = [asdict(report.PassiveStatus(other.name, other.place))]
        with _unless_full():
            roles = {"active": active.name, "epoch": epoch, "passives": passives}
            snapshot.write(pair.state_dir, pair.name, {**known, **roles})


def never_seen(pair: Pair) -> dict[str, Any]:
    """The status of a pair that nobody has looked at yet."""
    report = importlib.import_module("orchestrator.replication.report")
    passives = [report.PassiveStatus(pair.mirror.name, pair.mirror.place)]
    return asdict(
        report.PairStatus(
            pair.name, active=pair.primary.name, passives=passives, not_used=list(pair.not_used), rpo=pair.rpo
        )
    )


@contextmanager
def _unless_full() -> Iterator[None]:
    """What `status` will show is written within; where it can't be, that is said, and nothing fails for it."""
    try:
        yield
    except OSError as error:
        sys.stderr.write(f"mailmirror: what `status` shows stays as it was: {error}\n")


def note(pair: Pair, verb: str, reason: str, **what: Any) -> None:
    """Write an order into the pair's history. Raises NotPermitted, OperatorError."""
    if history.worth_noting(verb, reason):
        known = {**what, **claimed()}
        history.append(pair.state_dir, pair.name, verb, reason, uid=os.getuid(), pid=os.getpid(), **known)


def by() -> str:
    """Who orders, for an operation's own line: the user that the kernel knows, and who sudo says that is."""
    return history.who(os.getuid(), os.environ.get("SUDO_USER", ""))


def claimed() -> dict[str, str]:
    """Who sits behind sudo, as sudo's variable says: a claim, which nobody has proven. {} without sudo."""
    name = os.environ.get("SUDO_USER", "")
    return {history.CLAIMED: name[: history.LONGEST_CLAIM]} if name else {}


def ask_daemon(
    pair: Pair,
    request: dict[str, Any],
    otherwise: MailmirrorError,
    told: Callable[[Any], None] | None = None,
    within: float | None = None,
) -> Any:
    """The daemon's answer; `otherwise` is raised when no daemon listens, TryAgain when it is silent for `within`
    seconds. Raises the daemon's own error. What it tells before goes to `told`, else it is shown as a pass's progress.
    """
    try:
        with Lazily() as progress:
            return ask.ask(str(pair.state_dir / SOCKET), {**request, **claimed()}, told or progress, within)
    except ask.NobodyListens:
        raise otherwise from None
    except PermissionError as error:
        raise errors.NotPermitted(f"The daemon's socket may not be asked: {error.strerror}.") from error
    except ask.Silent as error:
        raise TryAgain(
            f"The daemon runs and doesn't answer within {within:g} s.",
            remedy="See `systemctl status mailmirror`; systemd starts one that hangs anew by itself.",
        ) from error
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


def confirm_loss(pair: Pair, typed: str | None, accepted: bool, words: str) -> None:
    """Demand --accept-loss and the pair's name, typed with the command or else on the terminal; --yes isn't enough.

    `words` is the command that would do. Raises NeedsConfirmation; click.Abort when another name is typed.
    """
    remedy = f"If it is meant, type the pair's name and --accept-loss: mailmirror {words}"
    if not accepted:
        raise NeedsConfirmation("Mail may be lost by it, so nothing was changed; --yes isn't enough.", remedy=remedy)
    if typed:
        return
    if not sys.stdin.isatty():
        raise NeedsConfirmation(
            "The pair's name wasn't typed, and there is no terminal to ask on; nothing was changed.", remedy=remedy
        )
    if click.prompt(f"To go on, type the name of the pair ({pair.name})", default="", show_default=False, err=True) != (
        pair.name
    ):
        raise click.Abort
