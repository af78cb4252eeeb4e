"""`mailmirror service install|remove`: the daemon as a systemd unit, and where it is needed the agent of this host.

Invariant: it lays down what `--dry-run` prints and nothing else; mail, roles and state stay as they are, whether the
units come, are started anew, or go.
"""

from __future__ import annotations

import grp
import importlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import reach
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import ConfigError, MailmirrorError, NothingToDo, NotPermitted, OperatorError
from orchestrator.inventory import secret
from orchestrator.inventory.model import Host, Secret

if TYPE_CHECKING:
    from orchestrator.daemon.unitfiles import Installation
    from orchestrator.inventory.model import Inventory

UNITS = Path("/etc/systemd/system")
STATES = Path("/var/lib")
WITHIN = 120.0
"""Seconds for one command of systemd's: starting the daemon waits until it is ready."""


@click.group("service")
def command() -> None:
    """Have systemd run the daemon on this host: as a user of its own, watched and sandboxed."""


@command.command()
@click.option("--dry-run", is_flag=True, help="Print the units, and change nothing.")
@click.option("--no-start", is_flag=True, help="Lay it all down; start nothing now.")
@style_option
@click.pass_obj
def install(front: Front, dry_run: bool, no_start: bool) -> int:
    """Lay the units down, or anew after a change of stores, keys or version, and start them.

    Makes the user mailmirror; people of the group mailmirror may then use the other verbs without sudo.
    """
    inventory = reach.inventory(front)
    found = _installation(inventory)
    unitfiles = importlib.import_module("orchestrator.daemon.unitfiles")
    texts: dict[str, str] = unitfiles.units(found)
    if dry_run:
        for name, text in texts.items():
            click.echo(f"# {UNITS / name}\n{text}")
        return 0
    _demand_root()
    user = unitfiles.USER
    _do("systemd-sysusers", "--inline", f'u {user} - "mailmirror" {STATES / found.state}')
    readable = _made_readable(_read_by_the_daemon(inventory), user)
    for name in (unitfiles.DAEMON, unitfiles.SOCKET, unitfiles.AGENT):
        if name in texts:
            _write(UNITS / name, texts[name])
        elif (UNITS / name).exists():
            _take(name)
    _do("systemctl", "daemon-reload")
    enabled = [name for name in (unitfiles.SOCKET, unitfiles.DAEMON) if name in texts]
    _do("systemctl", "enable", *enabled)
    if not no_start:
        for name in enabled:
            _do("systemctl", "restart", name)
    answer = {"units": list(texts), "user": user, "readable": readable, "started": not no_start}
    begun = "; it runs" if not no_start else f"; start it with `systemctl start {unitfiles.DAEMON}`"
    text = "".join(f"{path}: the group {user} may read it now.\n" for path in readable)
    return _told(front, answer, f"{text}{', '.join(texts)} in {UNITS}{begun}.\n")


@command.command()
@style_option
@click.pass_obj
def remove(front: Front) -> int:
    """Stop the daemon and take the units away. Mail flows on; the state, the user and the inventory stay."""
    unitfiles = importlib.import_module("orchestrator.daemon.unitfiles")
    there = [name for name in (unitfiles.DAEMON, unitfiles.SOCKET, unitfiles.AGENT) if (UNITS / name).exists()]
    if not there:
        raise NothingToDo(f"No unit of mailmirror's lies in {UNITS}.")
    _demand_root()
    for name in there:
        _take(name)
    _do("systemctl", "daemon-reload")
    return _told(front, {"removed": there}, f"{', '.join(there)}: stopped and taken away.\n")


def _take(name: str) -> None:
    if not name.endswith("@.service"):  # conversations of the agent end with the daemon
        _do("systemctl", "disable", "--now", name)
    (UNITS / name).unlink()


def _installation(inventory: Inventory) -> Installation:
    """What the units need to know. Raises ConfigError for what can't be a unit's."""
    unitfiles = importlib.import_module("orchestrator.daemon.unitfiles")
    state = inventory.state_dir
    if STATES not in state.parents:
        raise ConfigError(
            f"mm_state_dir is {state}, which a unit can't be given.",
            remedy=f"Say one below {STATES}, {STATES}/mailmirror.",
        )
    lines = importlib.import_module("orchestrator.remote.lines")
    found = shutil.which("mailmirror") or os.path.abspath(sys.argv[0])
    return unitfiles.Installation(  # type: ignore[no-any-return]
        command=found,
        python=sys.executable,
        house=lines.house(),
        inventory=os.path.abspath(inventory.path),
        state=str(state.relative_to(STATES)),
        credentials=dict(credentials(inventory)),
        local=_local(inventory),
    )


def _local(inventory: Inventory) -> Any:
    """What the agent on this host may do; None where no pair has it here. Raises ConfigError."""
    pairs = [(pair, host) for pair in inventory.pairs.values() for host in pair.hosts.values() if host.local]
    if not pairs:
        return None
    stores = [store.root for pair, host in pairs for store in (host.stores or pair.stores)]
    bad = [root for root in stores if "," in root or not root.isprintable()]
    if bad:
        raise ConfigError(
            f"The store {bad[0]!r} can't stand in a unit.", remedy="Name it without commas (a bind mount)."
        )
    unitfiles = importlib.import_module("orchestrator.daemon.unitfiles")
    return unitfiles.Local(tuple(dict.fromkeys(stores)), any(pair.services for pair, _ in pairs))


def credentials(inventory: Inventory) -> Iterator[tuple[str, str]]:
    """(name, file) of each secret that the inventory names, for LoadCredential=; a {credential: NAME} is looked for in
    /etc/credstore. One that doesn't exist isn't loaded: the daemon says what lacks when it needs it.
    """
    for path in dict.fromkeys(_secrets(inventory)):
        if path.is_file():
            store = path.parent == Path("/etc/credstore")
            yield (path.name if store else secret.credential_name(path)), str(path)


def _secrets(thing: object) -> Iterator[Path]:
    if isinstance(thing, Secret):
        if thing.kind != "env":
            yield Path("/etc/credstore", thing.where) if thing.kind == "credential" else Path(thing.where).expanduser()
    elif isinstance(thing, dict | list | tuple):
        for each in thing.values() if isinstance(thing, dict) else thing:
            yield from _secrets(each)
    elif is_dataclass(thing):
        if isinstance(thing, Host) and thing.key_file is not None and not thing.local:
            yield thing.key_file
        for field in fields(thing):
            yield from _secrets(getattr(thing, field.name))


def _read_by_the_daemon(inventory: Inventory) -> list[Path]:
    """What isn't secret, and has to be readable itself: it is read again while the daemon runs."""
    known = [host.known_hosts for pair in inventory.pairs.values() for host in pair.hosts.values() if not host.local]
    return [path for path in dict.fromkeys([inventory.path, *known]) if path.exists()]


def _made_readable(paths: list[Path], group: str) -> list[str]:
    """Give those that not everybody may read to the group, for reading; which."""
    number, changed = grp.getgrnam(group).gr_gid, []
    for path in paths:
        found = path.stat()
        if not found.st_mode & stat.S_IROTH and (found.st_gid != number or not found.st_mode & stat.S_IRGRP):
            os.chown(path, -1, number)
            path.chmod(stat.S_IMODE(found.st_mode) | stat.S_IRGRP)
            changed.append(str(path))
    return changed


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(text)
        beside.chmod(0o644)
        os.replace(beside, path)
    except OSError as error:
        raise OperatorError(f"{path} can't be written: {error.strerror}.", remedy="Make room there.") from error


def _demand_root() -> None:
    if os.geteuid() != 0:
        raise NotPermitted("Units are root's to lay down.", remedy="Use sudo; --dry-run only prints them.")


def _do(*argv: str) -> None:
    """A command of systemd's. Raises MailmirrorError with what it said."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=WITHIN, check=False)
    except FileNotFoundError as error:
        raise OperatorError(
            f"There is no {argv[0]} here.", remedy="The service needs systemd; else `mailmirror run`."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise MailmirrorError(f"`{' '.join(argv)}` wasn't done within {WITHIN:g} s.") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise MailmirrorError(f"`{' '.join(argv)}` failed: {said}", remedy="See `journalctl -u mailmirror`.")


def _told(front: Front, answer: dict[str, Any], text: str) -> int:
    click.echo(json.dumps(answer, indent=2) + "\n" if front.style == "json" else text, nl=False)
    return 0
