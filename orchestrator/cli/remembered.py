"""The inventory as it was last understood, so that a command needn't import YAML and pydantic to read it again.

Reading the inventory costs a one-shot pass 0.2 s of its 0.65 s (2 cores, Python 3.11); what comes of it depends on
the file's bytes, its path, the user, two variables and our own code. All of these are kept beside the result, byte for
byte, in one file in the user's cache directory (XDG base directories).

Invariant: what is remembered is equal to what reading would give, proven before it is written, or it isn't used. It is
believed only from a file that nobody but this user could have written. It is plain JSON; a broken inventory is never
remembered, and where nothing can be written only time is lost.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator import __version__, inventory
from orchestrator.inventory.model import (
    AlertChannel,
    AlertProgram,
    Canary,
    DeleteBudget,
    Dns,
    Exec,
    Fence,
    FenceCommands,
    Host,
    Inventory,
    Mx,
    Pair,
    Probe,
    Restart,
    Secret,
    Smarthost,
    Store,
    Vip,
    Webhook,
    Window,
)

MAX_BYTES = 8 << 20


def recall(path: Path, content: bytes) -> Inventory | None:
    """The inventory that these bytes at this path were understood as; None when they weren't yet."""
    place = _place()
    if place is None:
        return None
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, encoding="ascii") as file:
            if not _is_ours(os.fstat(descriptor)):
                return None
            told = json.loads(file.read(MAX_BYTES))
        return _revived(path, told["inventory"]) if told["of"] == _circumstances(path, content) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or none that can be read: not remembered
        return None


def remember(path: Path, content: bytes, understood: Inventory) -> None:
    """Keep it for the next command, instead of the one that was kept."""
    place = _place()
    if place is None:
        return
    plain = {"fingerprint": understood.fingerprint, "pairs": [asdict(pair) for pair in understood.pairs.values()]}
    text = json.dumps({"of": _circumstances(path, content), "inventory": plain}, default=str)
    if len(text) > MAX_BYTES or _revived(path, json.loads(text)["inventory"]) != understood:
        return
    with suppress(OSError):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = place.with_suffix(f".{os.getpid()}.new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
        os.replace(beside, place)


def _place() -> Path | None:
    base = os.environ.get("XDG_CACHE_HOME", "") or os.path.expanduser("~/.cache")
    return Path(base, "mailmirror", "inventory.json") if base.startswith("/") else None


def _is_ours(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _circumstances(path: Path, content: bytes) -> dict[str, Any]:
    """All that the meaning of an inventory depends on."""
    code = [os.stat(entry) for entry in os.scandir(os.path.dirname(inventory.__file__)) if entry.name.endswith(".py")]
    return {
        "path": str(path),
        "content": content.decode("latin-1"),
        "user": os.geteuid(),
        "home": os.path.expanduser("~"),
        "state_home": os.environ.get("XDG_STATE_HOME", ""),
        "version": __version__,
        "code": [len(code), max(found.st_mtime_ns for found in code), sum(found.st_size for found in code)],
    }


def _revived(path: Path, told: dict[str, Any]) -> Inventory:
    pairs = [_pair(pair) for pair in told["pairs"]]
    return Inventory(path, {pair.name: pair for pair in pairs}, told["fingerprint"])


def _pair(told: dict[str, Any]) -> Pair:
    return Pair(
        **{
            **told,
            "hosts": {name: _host(host) for name, host in told["hosts"].items()},
            "stores": _stores(told["stores"]),
            "delete_budget": DeleteBudget(**told["delete_budget"]),
            "state_dir": Path(told["state_dir"]),
            "units": tuple(told["units"]),
            "not_used": tuple(told["not_used"]),
            "dns": _dns(told["dns"]) if told["dns"] else None,
            "vip": Vip(tuple(told["vip"]["addresses"]), told["vip"]["interface"]) if told["vip"] else None,
            "exec": _exec(told["exec"]) if told["exec"] else None,
            "canary": _canary(told["canary"]) if told["canary"] else None,
            "probe": Probe(**{**told["probe"], "services": tuple(told["probe"]["services"])}),
            "restart": Restart(**{**told["restart"], "services": tuple(told["restart"]["services"])}),
            "references": tuple(told["references"]),
            "alerts": tuple(map(_alert, told["alerts"])),
            "windows": tuple(Window(**window) for window in told["windows"]),
        }
    )


def _alert(told: dict[str, Any]) -> AlertChannel:
    hook, smtp, program = told["webhook"], told["smtp"], told["program"]
    if hook:
        hook = Webhook(hook["url"], Secret(**hook["token"]) if hook["token"] else None)
    if smtp:
        password = Secret(**smtp["password"]) if smtp["password"] else None
        smtp = Smarthost(**{**smtp, "to": tuple(smtp["to"]), "password": password})
    if program:
        program = AlertProgram(tuple(program["command"]), program["within"])
    return AlertChannel(told["name"], told["least"], hook, smtp, program)


def _dns(told: dict[str, Any]) -> Dns:
    mx = Mx(**told["mx"]) if told["mx"] else None
    names, watch = tuple(told["names"]), tuple(told["watch"])
    return Dns(**{**told, "names": names, "tsig": Secret(**told["tsig"]), "mx": mx, "watch": watch})


def _exec(told: dict[str, Any]) -> Exec:
    env = {name: Secret(**secret) for name, secret in told["env"].items()}
    return Exec(tuple(told["show"]), tuple(told["point"]), told["within"], env)


def _canary(told: dict[str, Any]) -> Canary:
    return Canary(**{**told, "password": Secret(**told["password"])})


def _host(told: dict[str, Any]) -> Host:
    key_file, known_hosts = told["key_file"], Path(told["known_hosts"])
    return Host(
        **{
            **told,
            "key_file": None if key_file is None else Path(key_file),
            "known_hosts": known_hosts,
            "stores": _stores(told["stores"]),
            "fences": tuple(map(_fence, told["fences"])),
        }
    )


def _fence(told: dict[str, Any]) -> Fence:
    commands = told["exec"]
    if commands:
        words = {key: tuple(commands[key]) for key in ("switch_off", "switch_on", "status")}
        commands = FenceCommands(**{**commands, **words, "environment": _values(commands["environment"])})
    return Fence(**{**told, "parameters": _values(told["parameters"]), "exec": commands})


def _values(told: dict[str, Any]) -> dict[str, str | Secret]:
    return {key: value if isinstance(value, str) else Secret(**value) for key, value in told.items()}


def _stores(told: list[dict[str, Any]]) -> tuple[Store, ...]:
    return tuple(Store(**store) for store in told)
