"""`mailmirror agent install|update|remove`: what a host keeps of mailmirror, laid down, kept up to date, taken away.

That is the guard, on the mail hosts and the witness of a pair with services or a lease, and the agent that a key is
bound to. Where no key is bound (no `mm_forced`) the agent itself needs no installing: its code is sent when a
conversation begins, once per version. On this machine (`ansible_connection: local`) there is no key to bind.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator import __version__
from orchestrator.cli import guarding, reach
from orchestrator.cli.front import F, Front, order_options
from orchestrator.errors import NothingToDo, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.inventory.model import Host, Pair


@click.group()
def command() -> None:
    """The agent and the guard on a host."""


def _on_a_host(function: F) -> F:
    """What all three take: the host, and a key for the login."""
    for option in (
        order_options,
        click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing."),
        click.option(
            "--login-key",
            type=click.Path(path_type=Path),
            help="Log in with this key, one that may run commands; by default the host's.",
        ),
        click.argument("pair_and_host", nargs=-1, required=True, metavar="[PAIR] HOST", shell_complete=reach.a_host),
    ):
        function = option(function)
    return function


@command.command()
@_on_a_host
@click.option("--print", "only_print", is_flag=True, help="Only print the line for authorized_keys.")
@click.option("--guard", "only_guard", is_flag=True, help="Only lay the guard down: the key stays what it is.")
@click.pass_obj
def install(
    front: Front,
    pair_and_host: tuple[str, ...],
    login_key: Path | None,
    dry_run: bool,
    only_print: bool,
    only_guard: bool,
    yes: bool,
    reason: str,
    timeout: float | None,
) -> int:
    """Lay the guard down on HOST of PAIR where it gets one, and bind the host's key to the agent there.

    The key (ansible_ssh_private_key_file) can then do nothing but start the agent: its line replaces every other line
    of that key in the user's authorized_keys. With --guard, on the witness and on this machine no key is bound.
    """
    pair, host = _chosen(front, pair_and_host)
    guarded = guarding.has_one(pair, host) and not only_print
    line = "" if only_guard or host.local or host.place == "witness" else _line(pair, host)
    if only_print or (dry_run and line and not guarded):
        return _told(front, {"host": host.name, "authorized_keys": line}, f"{line}\n")
    if not line and not guarded:
        raise NothingToDo(f"{host.name} gets no guard: {_why_not(pair, host)}.", remedy="Nothing to do.")
    plans = [line] if line else []
    plans += [guarding.plan(pair, host)] if guarded else []
    if dry_run:
        return _told(front, {"host": host.name, "authorized_keys": line, "plan": plans}, "\n".join(plans) + "\n")
    sys.stderr.write("\n".join(plans) + "\n")
    reach.confirm(_question(host, bool(line), guarded), yes)
    reach.note(pair, "agent install", reason, host=host.name)
    login = _login(host, login_key)
    answer, text = _laid(pair, host, login, line, guarded, timeout)
    if line:
        text += "" if host.forced else f"Say so in the inventory: mm_forced: true for {host.name}.\n"
    return _told(front, answer, text)


def _question(host: Host, bound: bool, guarded: bool) -> str:
    user = host.user or "your user"
    what = " and ".join(name for name, so in (("the guard", guarded), ("the agent", bound)) if so)
    return f"Install {what} on {host.name}" + (f", with this line alone for the key of {user} there?" if bound else "?")


def _why_not(pair: Pair, host: Host) -> str:
    if host.place in ("primary", "mirror"):
        return f"{pair.name} has no services and no lease"
    return "the pair has no lease" if host.place == "witness" else f"it is the {host.place}"


@command.command()
@_on_a_host
@click.pass_obj
def update(
    front: Front,
    pair_and_host: tuple[str, ...],
    login_key: Path | None,
    dry_run: bool,
    yes: bool,
    reason: str,
    timeout: float | None,
) -> int:
    """Bring what was installed on HOST of PAIR up to this version and this inventory.

    A guard is started anew when something changed, and keeps its lease meanwhile. The agent's next conversation runs
    the new code; one that is on goes on with the old one.
    """
    pair, host = _chosen(front, pair_and_host)
    login = _login(host, login_key)
    guarded = guarding.has_one(pair, host) and guarding.look(pair, login, timeout)["installed"]
    line = _line(pair, host) if host.forced and host.place != "witness" else ""
    if not line and not guarded:
        raise NothingToDo(
            f"{host.name} has no guard, and no key is bound to the agent: its code is sent when a conversation begins.",
            remedy="Lay a guard down, or bind a key, with `mailmirror agent install`.",
        )
    if dry_run:
        return _told(front, {"host": host.name, "version": __version__}, f"{host.name} would get {__version__}.\n")
    reach.confirm(f"Bring {host.name} up to version {__version__}?", yes)
    reach.note(pair, "agent update", reason, host=host.name)
    return _told(front, *_laid(pair, host, login, line, guarded, timeout))


@command.command()
@_on_a_host
@click.option("--markers", is_flag=True, help="Remove the markers of the stores too: they belong to no pair then.")
@click.option("--active", "typed", metavar="HOST", help="The host's name, typed when it is the active one.")
@click.pass_obj
def remove(
    front: Front,
    pair_and_host: tuple[str, ...],
    login_key: Path | None,
    dry_run: bool,
    markers: bool,
    typed: str | None,
    yes: bool,
    reason: str,
    timeout: float | None,
) -> int:
    """Take the guard off HOST of PAIR, and with --login-key the agent: its key's line in authorized_keys, and its code.

    The agent's indexes stay (they know what the quarantine holds), and so does everything in the stores. An active host
    goes on serving mail.
    """
    pair, host = _chosen(front, pair_and_host)
    login = _login(host, login_key)
    bound = login_key is not None and not host.local
    key = importlib.import_module("orchestrator.remote.ssh").public_half(host.key_file) if bound else None
    guarded = guarding.has_one(pair, host)
    found = guarding.look(pair, login, timeout) if guarded else {"installed": False, "role": "unknown", "held": False}
    if not bound and not found["installed"]:
        raise NothingToDo(
            f"{host.name} has no guard of {pair.name}.", remedy="To unbind its key, log in with another: --login-key."
        )
    sentence = f"every line of the key {host.key_file} in authorized_keys there, and the agent's code" if bound else ""
    plans = [f"{host.name} loses {sentence}: nothing can log in with that key any more."] if bound else []
    plans += [guarding.loss(host, found, markers)] if guarded else []
    gone = [f"every line of the key {host.key_file}", "code/", "agent.py"] if bound else []
    answer: dict[str, Any] = {"host": host.name, "removed": gone, "plan": plans}
    if dry_run:
        return _told(front, answer, "\n".join(plans) + "\n")
    sys.stderr.write("\n".join(plans) + "\n")
    even_active = guarding.demand_name(host, found, typed)
    reach.confirm("Remove it?", yes)
    reach.note(pair, "agent remove", reason, host=host.name)
    text = ""
    if found["installed"]:
        answer["guard"] = done = guarding.take(pair, login, even_active, markers, timeout)
        text = guarding.taken(host, done)
    if bound:
        installing = importlib.import_module("orchestrator.remote.install")
        lost = installing.remove(login, key, timeout or installing.WITHIN)
        there = "removed" if lost.line == "removed" else "not there"
        text += (
            f"{host.name}: the key's line was {there}; the agent's code is gone from {lost.state}, its indexes stay.\n"
        )
        answer |= lost._asdict()
    return _told(front, answer, text)


def _laid(
    pair: Pair, host: Host, login: Host, line: str, guarded: bool, timeout: float | None
) -> tuple[dict[str, Any], str]:
    """Lay down what there is to be laid: the guard, the agent with its key's `line`; the answer, and its sentences."""
    answer: dict[str, Any] = {"host": host.name}
    text = ""
    if guarded:
        answer["guard"] = done = guarding.lay(pair, login, timeout)
        text = guarding.laid(host, done)
    if line:
        text += _lay_agent(host, login, line, timeout, answer)
    return answer, text


def _lay_agent(host: Host, login: Host, line: str, timeout: float | None, answer: dict[str, Any]) -> str:
    """Lay the agent and the key's line down, and say so."""
    installing = importlib.import_module("orchestrator.remote.install")
    done = installing.install(login, line, timeout or installing.WITHIN)
    answer |= {"authorized_keys": line, **done._asdict()}
    return f"{host.name}: the agent {__version__} stands in {done.state}; the key's line was {_SAID[done.line]}.\n"


_SAID = {"added": "added", "replaced": "put in place of the key's earlier ones", "there": "there already"}


def _line(pair: Pair, host: Host) -> str:
    """The line that binds the host's key; it may look at services where the pair has them. Raises UsageError."""
    if host.key_file is None:
        raise UsageError(
            f"{host.name} has no key of its own.",
            remedy="Make one with ssh-keygen and name it by ansible_ssh_private_key_file; or say --guard.",
        )
    key = importlib.import_module("orchestrator.remote.ssh").public_half(host.key_file)
    line: str = importlib.import_module("orchestrator.remote.install").key_line(
        host, key, ("replication", "services") if pair.services else ("replication",)
    )
    return line


def _login(host: Host, login_key: Path | None) -> Host:
    """The host as it is logged in to."""
    return replace(host, key_file=login_key) if login_key is not None else host


def _told(front: Front, answer: Mapping[str, object], text: str) -> int:
    sys.stdout.write(json.dumps(answer, indent=2) + "\n" if front.style == "json" else text)
    sys.stdout.flush()
    return 0


def _chosen(front: Front, pair_and_host: tuple[str, ...]) -> tuple[Pair, Host]:
    if len(pair_and_host) > 2:
        raise click.UsageError("It takes a pair and one host.")
    pair = reach.changeable(front, pair_and_host[0] if len(pair_and_host) == 2 else None)
    name = pair_and_host[-1]
    host = pair.hosts.get(name)
    if host is None:
        raise UsageError(
            f"The pair {pair.name} has no host {name}; it has {', '.join(pair.hosts)}.",
            remedy="Correct the name, or the inventory.",
        )
    return pair, host
