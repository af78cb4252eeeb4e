"""Each key's value in effect and where it comes from, for `config show`. Reads what `load` read; decides nothing.

Invariant: values are shown as they were written; a secret stands in the inventory only by reference, so
nothing secret can be shown. `DEFAULTS` says the defaults in the file's own words (a test holds them to
`model`'s values and to the sample's comments).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.inventory.load import PairReading, Reading
from orchestrator.inventory.model import default_known_hosts, default_state_dir
from orchestrator.inventory.scopes import Scope
from orchestrator.inventory.tree import Node
from orchestrator.inventory.written import Connection, HostVars, PairVars

DEFAULTS = {
    "mm_mode": "auto",
    "mm_cooldown": "1h",
    "mm_qresync_after": "30d",
    "mm_rpo": "30s",
    "mm_owner": "name",
    "mm_undelete": "7d",
    "mm_delete_budget": "{account_messages: 200, account_percent: 20, store_messages: 5000, store_percent: 5, "
    "within: 10m}",
    "mm_probe": "{interval: 1s, timeout: 3s, fall: 3, rise: 3}",
    "mm_ports": "{smtp: 25, submission: 587, lmtp: 24, imap: 993, pop3: 995}",
    "mm_watch": "auto",
    "mm_audit": "15m",
    "mm_verify": "24h",
    "mm_guard_port": "7521",
    "mm_forced": "false",
    "mm_other_dovecot": "false",
    "ansible_port": "22",
    "ansible_connection": "ssh",
    "ansible_python_interpreter": "python3",
}


@dataclass(frozen=True)
class Setting:
    """One key in effect. `host` is empty for a pair's own; `line` is 0 for a default."""

    pair: str
    host: str
    key: str
    value: str
    origin: str  # default, all, pair, host
    line: int = 0


def settings(reading: Reading) -> Iterator[Setting]:
    """Every key of every pair and host, in the order of the file; keys without value or default are left out."""
    for pair in reading.pairs:
        for key in PairVars.model_fields:
            if key not in Connection.model_fields:
                yield from _setting(pair, "", key, pair.levels)
        for name, scope in pair.hosts.items():
            for key in HostVars.model_fields:
                yield from _setting(pair, name, key, [*pair.levels, scope])


def _setting(pair: PairReading, host: str, key: str, levels: list[Scope]) -> Iterator[Setting]:
    for scope in reversed(levels):
        node = scope.node.get(key) if scope.node and key in scope.values else None
        if node is not None:
            origin = "all" if scope.origin == "mailmirror" else scope.origin
            yield Setting(pair.name, host, key, flow(node), origin, node.place.line)
            return
    default = _default(key, host, levels)
    if default:
        yield Setting(pair.name, host, key, default, "default")


def _default(key: str, host: str, levels: list[Scope]) -> str:
    if key == "mm_state_dir":
        return str(default_state_dir())
    if key == "mm_known_hosts":
        return str(default_known_hosts())
    if key == "ansible_host":
        return host
    if key == "mm_ssh_agent":
        named = any("ansible_ssh_private_key_file" in scope.values for scope in levels)
        return "false" if named else "true"
    return DEFAULTS.get(key, "")


def flow(node: Node) -> str:
    """A node in one line, as YAML's flow style."""
    if node.kind == "map":
        return "{" + ", ".join(f"{key}: {flow(entry.value)}" for key, entry in node.entries.items()) + "}"
    if node.kind == "list":
        return "[" + ", ".join(map(flow, node.items)) + "]"
    value = node.scalar
    if not isinstance(value, str):
        return json.dumps(value)
    plain = value and not set(value) & set("{}[],#&*!|>'\"%@`") and ": " not in value
    return value if plain else json.dumps(value, ensure_ascii=False)
