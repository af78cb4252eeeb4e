"""`mailmirror agent install|update|remove`: bind a key to the agent on a host, keep that up to date, take it away.

Where no key is bound (no `mm_forced`) nothing needs to be installed or updated: the agent's code is sent when a
conversation begins, once per version.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from orchestrator import __version__
from orchestrator.cli import reach
from orchestrator.cli.front import F, Front, order_options
from orchestrator.errors import NothingToDo, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.inventory.model import Host, Pair


@click.group()
def command() -> None:
    """The agent on a mail host, where a key may do nothing but start it."""


@command.command()
@click.argument("pair_and_host", nargs=-1, required=True, metavar="[PAIR] HOST")
@click.option("--print", "only_print", is_flag=True, help="Only print the line for authorized_keys.")
@click.option(
    "--login-key", type=click.Path(path_type=Path), help="Log in with this key to install; by default the host's."
)
@click.option("--dry-run", is_flag=True, help="The same as --print.")
@order_options
@click.pass_obj
def install(
    front: Front,
    pair_and_host: tuple[str, ...],
    only_print: bool,
    login_key: Path | None,
    dry_run: bool,
    yes: bool,
    reason: str,
    timeout: float | None,
) -> int:
    """Install the agent on HOST of PAIR, and let its key (ansible_ssh_private_key_file) do nothing but start it there.

    The key's line replaces every other line of that key in the user's authorized_keys: afterwards it opens no shell.
    """
    chosen, host = _chosen(front, pair_and_host)
    line = _line(host)
    if only_print or dry_run:
        return _told(front, {"host": host.name, "authorized_keys": line}, f"{line}\n")
    user = host.user or "your user"
    question = f"Install the agent on {host.name}, with this line alone for the key of {user} there?"
    code = _lay(front, chosen, host, line, Order("agent install", question, login_key, yes, reason, timeout))
    if not host.forced and front.style != "json":
        sys.stdout.write(f"Say so in the inventory: mm_forced: true for {host.name}.\n")
    return code


def _with_a_login(function: F) -> F:
    """What `update` and `remove` take: the host, and a key for the login that isn't bound to the agent."""
    for option in (
        order_options,
        click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing."),
        click.option(
            "--login-key",
            type=click.Path(path_type=Path),
            required=True,
            help="Log in with this key; it has to be one that may run commands.",
        ),
        click.argument("pair_and_host", nargs=-1, required=True, metavar="[PAIR] HOST"),
    ):
        function = option(function)
    return function


@command.command()
@_with_a_login
@click.pass_obj
def update(
    front: Front,
    pair_and_host: tuple[str, ...],
    login_key: Path,
    dry_run: bool,
    yes: bool,
    reason: str,
    timeout: float | None,
) -> int:
    """Bring the agent on HOST of PAIR, where its key is bound to it (mm_forced), up to this version.

    The next conversation runs it; one that is on goes on with the old one.
    """
    chosen, host = _chosen(front, pair_and_host)
    if not host.forced:
        raise NothingToDo(
            f"No key is bound to the agent on {host.name}: its code is sent when a conversation begins.",
            remedy="Bind one with `mailmirror agent install`, if it should do nothing else.",
        )
    question = f"Bring the agent on {host.name} up to version {__version__}?"
    if dry_run:
        return _told(front, {"host": host.name, "version": __version__}, f"{host.name} would get {__version__}.\n")
    return _lay(front, chosen, host, _line(host), Order("agent update", question, login_key, yes, reason, timeout))


@command.command()
@_with_a_login
@click.pass_obj
def remove(
    front: Front,
    pair_and_host: tuple[str, ...],
    login_key: Path,
    dry_run: bool,
    yes: bool,
    reason: str,
    timeout: float | None,
) -> int:
    """Take the agent off HOST of PAIR: its key's line in authorized_keys, and its code.

    Its indexes stay (they know what the quarantine holds), and so does everything in the stores, the markers too.
    """
    chosen, host = _chosen(front, pair_and_host)
    key = importlib.import_module("orchestrator.remote.ssh").public_half(host.key_file)
    plan = {"host": host.name, "removed": [f"every line of the key {host.key_file}", "code/", "agent.py"]}
    sentence = f"every line of the key {host.key_file} in authorized_keys there, and the agent's code"
    if dry_run:
        return _told(front, plan, f"{host.name} would lose {sentence}.\n")
    sys.stderr.write(f"{host.name} loses {sentence}: nothing can log in with that key any more.\n")
    reach.confirm("Remove them?", yes)
    reach.note(chosen, "agent remove", reason, host=host.name)
    installing = importlib.import_module("orchestrator.remote.install")
    done = installing.remove(replace(host, key_file=login_key), key, timeout or installing.WITHIN)
    there = "removed" if done.line == "removed" else "not there"
    text = f"{host.name}: the key's line was {there}; the agent's code is gone from {done.state}, its indexes stay.\n"
    return _told(front, {**plan, **done._asdict()}, text)


class Order(NamedTuple):
    """What was typed."""

    verb: str
    question: str
    login_key: Path | None
    yes: bool
    reason: str
    timeout: float | None


def _lay(front: Front, pair: Pair, host: Host, line: str, order: Order) -> int:
    """Ask, lay the agent and the line down, and tell."""
    sys.stderr.write(f"{line}\n")
    reach.confirm(order.question, order.yes)
    reach.note(pair, order.verb, order.reason, host=host.name)
    installing = importlib.import_module("orchestrator.remote.install")
    login = replace(host, key_file=order.login_key) if order.login_key else host
    done = installing.install(login, line, order.timeout or installing.WITHIN)
    text = f"{host.name}: the agent {__version__} stands in {done.state}; the key's line was {_SAID[done.line]}.\n"
    return _told(front, {"host": host.name, "authorized_keys": line, **done._asdict()}, text)


def _line(host: Host) -> str:
    """The line that binds the host's key."""
    key = importlib.import_module("orchestrator.remote.ssh").public_half(host.key_file)
    line: str = importlib.import_module("orchestrator.remote.install").key_line(host, key)
    return line


_SAID = {"added": "added", "replaced": "put in place of the key's earlier ones", "there": "there already"}


def _told(front: Front, answer: Mapping[str, object], text: str) -> int:
    sys.stdout.write(json.dumps(answer, indent=2) + "\n" if front.style == "json" else text)
    sys.stdout.flush()
    return 0


def _chosen(front: Front, pair_and_host: tuple[str, ...]) -> tuple[Pair, Host]:
    if len(pair_and_host) > 2:
        raise click.UsageError("It takes a pair and one host.")
    pair = reach.changeable(front, pair_and_host[0] if len(pair_and_host) == 2 else None)
    return pair, _host(pair, pair_and_host[-1])


def _host(pair: Pair, name: str) -> Host:
    """The host of that name that a key leads to. Raises UsageError."""
    host = pair.hosts.get(name)
    if host is None:
        raise UsageError(
            f"The pair {pair.name} has no host {name}; it has {', '.join(pair.hosts)}.",
            remedy="Correct the name, or the inventory.",
        )
    if host.local:
        raise UsageError(
            f"{name} is this machine (ansible_connection: local): no key leads to it.", remedy="Nothing to do."
        )
    if host.key_file is None:
        raise UsageError(
            f"{name} has no key of its own.",
            remedy="Make one with ssh-keygen and name it by ansible_ssh_private_key_file.",
        )
    return host
