"""`mailmirror agent install`: bind a key to the agent on a host, and print or lay down its authorized_keys line."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import reach
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import UsageError

if TYPE_CHECKING:
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
@click.option("--yes", is_flag=True, help="Don't ask.")
@style_option
@click.pass_obj
def install(
    front: Front, pair_and_host: tuple[str, ...], only_print: bool, login_key: Path | None, dry_run: bool, yes: bool
) -> int:
    """Install the agent on HOST of PAIR, and let its key (ansible_ssh_private_key_file) do nothing but start it there.

    The key's line replaces every other line of that key in the user's authorized_keys: afterwards it opens no shell.
    """
    if len(pair_and_host) > 2:
        raise click.UsageError("install takes a pair and one host.")
    chosen = reach.changeable(front, pair_and_host[0] if len(pair_and_host) == 2 else None)
    host = _host(chosen, pair_and_host[-1])
    installing = importlib.import_module("orchestrator.remote.install")
    key = importlib.import_module("orchestrator.remote.ssh").public_half(host.key_file)
    line: str = installing.key_line(host, key)
    if only_print or dry_run:
        return _told(front, {"host": host.name, "authorized_keys": line}, f"{line}\n")
    sys.stderr.write(f"{line}\n")
    user = host.user or "your user"
    reach.confirm(f"Install the agent on {host.name}, with this line alone for the key of {user} there?", yes)
    done = installing.install(replace(host, key_file=login_key) if login_key else host, line)
    text = f"{host.name}: the agent stands in {done.state}; the key's line was {_SAID[done.line]}.\n"
    if not host.forced:
        text += f"Say so in the inventory: mm_forced: true for {host.name}.\n"
    return _told(front, {"host": host.name, "authorized_keys": line, **done._asdict()}, text)


_SAID = {"added": "added", "replaced": "put in place of the key's earlier ones", "there": "there already"}


def _told(front: Front, answer: dict[str, str], text: str) -> int:
    sys.stdout.write(json.dumps(answer, indent=2) + "\n" if front.style == "json" else text)
    sys.stdout.flush()
    return 0


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
