"""inventory.yaml to `Inventory`: whole or not at all, all problems at once.

Invariant: either every law holds for what is returned, or InventoryError (exit 78) names every problem with
its place; no other exception comes of a file's content. Groups beside `mailmirror` are Ansible's: they are
not judged. Includes, host_vars/ and group_vars/ are not read, templates not evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from orchestrator.inventory import find, model, quantities
from orchestrator.inventory.laws import Violation, check_laws
from orchestrator.inventory.model import ARCHIVE, WITNESS, DeleteBudget, Host, Inventory, Pair, Store
from orchestrator.inventory.problems import InventoryError, Place, Problem, closest
from orchestrator.inventory.said import Said
from orchestrator.inventory.scopes import Findings, Path, Scope, is_mapping, read_scope
from orchestrator.inventory.tree import Node, Unreadable, decoded, read_tree
from orchestrator.inventory.written import (
    AlertSaid,
    Canary,
    Connection,
    Dns,
    Exec,
    FenceEntry,
    FenceExec,
    HostVars,
    PairVars,
    Probe,
    Secret,
    Services,
    SmarthostSaid,
    StoreRoot,
)

GROUP = "mailmirror"
_PAIR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = {"all", "ungrouped", GROUP}
_PYTHON_FOUND_BY_ANSIBLE = {"auto", "auto_silent", "auto_legacy", "auto_legacy_silent"}


@dataclass
class PairReading:
    """What the file says of one pair, level by level, lowest precedence first."""

    name: str
    place: Place
    levels: list[Scope]  # all, mailmirror, pair
    hosts: dict[str, Scope] = field(default_factory=dict)
    host_places: dict[str, Place] = field(default_factory=dict)

    def scopes(self) -> Iterable[Scope]:
        """Every level and every host."""
        return (*self.levels, *self.hosts.values())


@dataclass
class Reading:
    """An inventory with where each of its values comes from."""

    inventory: Inventory
    pairs: list[PairReading]


def load(path: FilePath | str) -> Inventory:
    """The inventory at a path. Raises ConfigError where it can't be read, InventoryError where it is wrong."""
    return read(path).inventory


def read(path: FilePath | str) -> Reading:
    """The inventory at a path, with its origins. Raises as `load` does."""
    path = FilePath(path)
    return read_bytes(find.read(path), path)


def read_bytes(content: bytes, path: FilePath) -> Reading:
    """The inventory that these bytes are; `path` is what errors call it. Raises InventoryError."""
    _not_vault(content, path)
    lines = content.decode("utf-8-sig", errors="replace").split("\n")
    findings = Findings()
    try:
        top, problems = read_tree(decoded(content))
    except Unreadable as error:
        raise InventoryError(path, error.problems, lines) from error
    readings = _pairs(findings, top)
    pairs = [_pair(reading) for reading in readings]
    for violation in check_laws(pairs):
        _report(findings, readings, violation)
    if problems or findings.problems:
        raise InventoryError(path, [*problems, *findings.problems], lines)
    by_name = {pair.name: pair for pair in pairs}
    return Reading(Inventory(path, by_name, find.digest(content)), readings)


def _not_vault(content: bytes, path: FilePath) -> None:
    if content.lstrip().startswith(b"$ANSIBLE_VAULT"):
        what = "the file is encrypted by Ansible Vault, which mailmirror can't open"
        hint = "keep the inventory in plain text, and name secrets by {file: PATH} or {credential: NAME}"
        raise InventoryError(path, [Problem(Place(), "", what, hint)], ["$ANSIBLE_VAULT"])


def _pairs(findings: Findings, top: Node) -> list[PairReading]:
    """The pairs below the group `mailmirror`, which stands at the top or below `all: children:`."""
    group, key_place, around = _group(findings, top)
    if group is None or not is_mapping(findings, group, (GROUP,)):
        return []
    _only(findings, group, (GROUP,), {"vars": "", "children": "", "hosts": "hosts stand below a pair, in its hosts:"})
    levels = [around, read_scope(findings, "mailmirror", (GROUP, "vars"), group.get("vars"), PairVars)]
    children = group.get("children")
    if children is not None and not is_mapping(findings, children, (GROUP, "children")) and not children.empty:
        return []
    if children is None or not children.entries:
        findings.add(key_place, (GROUP,), Said("there is no pair", "add one below children:, as the sample shows"))
        return []
    found = []
    for name, entry in children.entries.items():
        if not _PAIR_NAME.fullmatch(name) or name in _RESERVED:
            proposal = re.sub(r"\W", "_", name, flags=re.ASCII)
            better = f"write {proposal}: letters, digits and _, as Ansible wants"
            hint = "choose another name" if name in _RESERVED or not name else better
            findings.add(entry.key, (GROUP,), Said(f"{name or 'nothing'} can't be the name of a pair", hint))
        found.append(_read_pair(findings, name, entry.key, entry.value, levels))
    return found


def _group(findings: Findings, top: Node) -> tuple[Node | None, Place, Scope]:
    nothing = Scope("all", ("all", "vars"), None)
    if not is_mapping(findings, top, ()):
        if top.empty:
            findings.add(top.place, (), Said("the inventory is empty", "start from the commented sample"))
        return None, top.place, nothing
    whole = top.get("all")
    inner = whole.get("children") if whole else None
    wrapped = inner.entries.get(GROUP) if inner else None
    entry = top.entries.get(GROUP) or wrapped
    if entry is not None:
        if wrapped is not None and entry is not wrapped:
            findings.add(wrapped.key, (), Said("mailmirror stands here and at the top", "keep one of them"))
        around = read_scope(findings, "all", ("all", "vars"), whole.get("vars") if whole else None, PairVars)
        return entry.value, entry.key, around
    near = next((name for name in top.entries if closest(name, [GROUP])), None)
    place = top.entries[near].key if near is not None else top.place
    hint = "did you mean mailmirror?" if near is not None else "begin with `mailmirror:`, as the sample shows"
    findings.add(place, (), Said("there is no group mailmirror", hint))
    return None, place, nothing


def _only(findings: Findings, node: Node, path: Path, known: dict[str, str]) -> None:
    """A problem for each key that isn't known, or that is known to be out of place (its hint says so)."""
    for name, entry in node.entries.items():
        hint = known.get(name)
        if hint == "":
            continue
        usable = [key for key, advice in known.items() if not advice]
        what = f"{name} can't stand here" if hint else f"unknown key {name}"
        findings.add(entry.key, path, Said(what, hint or closest(name, usable) or f"known here: {', '.join(usable)}"))


def _read_pair(findings: Findings, name: str, place: Place, node: Node, levels: list[Scope]) -> PairReading:
    reading = PairReading(name, place, list(levels))
    if not is_mapping(findings, node, (name,)):
        reading.levels.append(Scope("pair", (name, "vars"), None))
        return reading
    _only(findings, node, (name,), {"vars": "", "hosts": "", "children": "a pair has hosts, no groups below it"})
    reading.levels.append(read_scope(findings, "pair", (name, "vars"), node.get("vars"), PairVars))
    hosts = node.get("hosts")
    if hosts is None or not is_mapping(findings, hosts, (name, "hosts")):
        return reading
    for host, entry in hosts.entries.items():
        _check_host_name(findings, name, host, entry.key)
        scope = read_scope(findings, "host", (name, host), entry.value, HostVars)
        if "mm_place" not in scope.values and "mm_place" not in scope.bad:
            hint = "add mm_place: primary, mirror, archive or witness"
            findings.add(entry.key, (name, host), Said("mm_place is missing", hint))
            scope.bad.add("mm_place")
        reading.hosts[host] = scope
        reading.host_places[host] = entry.key
    return reading


def _check_host_name(findings: Findings, pair: str, host: str, place: Place) -> None:
    if "[" in host:
        hint = "write each host out: a pair has a few, each with its own place"
        findings.add(place, (pair, "hosts"), Said(f"{host} is a range of Ansible's, which is not expanded here", hint))
        return
    try:
        quantities.address(host)
    except quantities.Wrong as error:
        findings.add(place, (pair, "hosts"), Said(f"not a host: {error.what}", error.hint))


def _pair(reading: PairReading) -> Pair:
    merged: dict[str, object] = {}
    for scope in reading.levels:
        merged |= scope.values
    said = PairVars.model_construct(None, **merged)
    stores = _stores(said.mm_stores)
    hosts = {name: _host(name, merged, scope, stores) for name, scope in reading.hosts.items()}
    budget = said.mm_delete_budget
    services = (said.mm_services or Services()).model_dump(exclude_none=True)
    options: dict[str, object] = {
        "mode": said.mm_mode,
        "cooldown": said.mm_cooldown,
        "qresync_after": said.mm_qresync_after,
        "rpo": said.mm_rpo,
        "bandwidth": said.mm_bandwidth,
        "owner": said.mm_owner,
        "undelete": said.mm_undelete,
        "delete_budget": DeleteBudget(**budget.model_dump()) if budget else None,
        "watch": said.mm_watch,
        "audit": said.mm_audit,
        "verify": said.mm_verify,
        "state_dir": FilePath(said.mm_state_dir).expanduser() if said.mm_state_dir else None,
        "listen": said.mm_listen,
        "url": said.mm_url,
        "dns": _dns(said.mm_dns) if said.mm_dns else None,
        "lease": said.mm_lease.ttl if said.mm_lease else None,
        "guard_port": said.mm_guard_port,
        "units": said.mm_units,
        "vip": model.Vip(said.mm_vip.addresses, said.mm_vip.interface) if said.mm_vip else None,
        "exec": _exec(said.mm_exec) if said.mm_exec else None,
        "canary": _canary(said.mm_canary) if said.mm_canary else None,
        "probe": _probe(said.mm_probe) if said.mm_probe else None,
        "ports": said.mm_ports.model_dump() if said.mm_ports else None,
        "references": said.mm_references,
        "restart": model.Restart(**said.mm_restart.model_dump()) if said.mm_restart else None,
        "alerts": tuple(map(_alert, said.mm_alerts or ())),
        "windows": tuple(model.Window(**each.model_dump()) for each in said.mm_windows or ()),
    }
    given = {key: value for key, value in options.items() if value is not None}
    idle = (ARCHIVE,) if said.mm_lease or services else (ARCHIVE, WITNESS)
    unused = [f"host {host.name} ({host.place})" for host in hosts.values() if host.place in idle]
    return Pair(
        name=reading.name,
        hosts=hosts,
        stores=stores,
        services=services,
        not_used=tuple(unused),
        **given,  # type: ignore[arg-type]  # each was validated under its own key
    )


def _alert(written: AlertSaid) -> model.AlertChannel:
    hook, smtp, program = written.webhook, written.smtp, written.exec
    return model.AlertChannel(
        written.name,
        written.least,
        model.Webhook(hook.url, _secret(hook.token) if hook.token else None) if hook else None,
        _smarthost(smtp) if smtp else None,
        model.AlertProgram(program.command, program.within) if program else None,
    )


def _smarthost(written: SmarthostSaid) -> model.Smarthost:
    password = _secret(written.password) if written.password else None
    return model.Smarthost(
        written.server, written.sender, written.to, written.port, written.tls, written.user, password
    )


def _dns(written: Dns) -> model.Dns:
    mx = model.Mx(written.mx.name.lower(), written.mx.active, written.mx.passive) if written.mx else None
    secret = _secret(written.tsig)
    return model.Dns(written.server, written.zone, written.names, written.ttl, secret, mx, written.watch, written.port)


def _exec(written: Exec) -> model.Exec:
    env = {name: _secret(secret) for name, secret in written.env.items()}
    return model.Exec(written.show, written.point, written.within, env)


def _secret(written: Secret) -> model.Secret:
    [(kind, where)] = ((kind, where) for kind in Secret.model_fields if (where := getattr(written, kind)))
    return model.Secret(kind, where)


def _canary(written: Canary) -> model.Canary:
    return model.Canary(written.address, _secret(written.password), written.user or written.address, written.every)


def _probe(written: Probe) -> model.Probe:
    return model.Probe(**written.model_dump(exclude={"services"}), services=written.services or ())


def _host(name: str, shared: dict[str, object], scope: Scope, stores: tuple[Store, ...]) -> Host:
    reach = {key: value for key, value in shared.items() if key in Connection.model_fields}
    said = HostVars.model_construct(None, **(reach | scope.values))
    python = said.ansible_python_interpreter
    key_file = FilePath(said.ansible_ssh_private_key_file).expanduser() if said.ansible_ssh_private_key_file else None
    hosts_keys = FilePath(said.mm_known_hosts).expanduser() if said.mm_known_hosts else model.default_known_hosts()
    return Host(
        name=name,
        place=said.mm_place or "",
        address=said.ansible_host or name,
        port=said.ansible_port or 22,
        user=said.ansible_user,
        key_file=key_file,
        use_agent=said.mm_ssh_agent if said.mm_ssh_agent is not None else key_file is None,
        connection=said.ansible_connection or "ssh",
        known_hosts=hosts_keys,
        stores=_stores(said.mm_stores) if said.mm_stores else stores,
        python="python3" if python is None or python in _PYTHON_FOUND_BY_ANSIBLE else python,
        forced=said.mm_forced or False,
        other_dovecot=said.mm_other_dovecot or False,
        vip_interface=said.mm_vip.interface if said.mm_vip else None,
        fences=_fences(said.mm_fence or ()),
    )


def _fences(written: tuple[FenceEntry, ...]) -> tuple[model.Fence, ...]:
    found = [_fence(entry, at) for at, entry in enumerate(written, 1)]
    return tuple(sorted(found, key=lambda fence: fence.level))


def _fence(entry: FenceEntry, at: int) -> model.Fence:
    values = _fence_values(entry.parameters or {})
    commands = _commands(entry.exec) if entry.exec else None
    return model.Fence(entry.level or at, entry.within, entry.agent or "", values, commands)


def _commands(written: FenceExec) -> model.FenceCommands:
    return model.FenceCommands(
        switch_off=written.switch_off,
        status=written.status,
        says_on=written.says_on.strip(),
        says_off=written.says_off.strip(),
        switch_on=written.switch_on or (),
        environment=_fence_values(written.environment or {}),
    )


def _fence_values(written: dict[str, str | Secret]) -> dict[str, str | model.Secret]:
    return {key: value if isinstance(value, str) else _secret(value) for key, value in written.items()}


def _stores(written: tuple[StoreRoot, ...] | None) -> tuple[Store, ...]:
    return tuple(Store(entry.root, entry.accounts) for entry in written or ())


def _report(findings: Findings, readings: list[PairReading], violation: Violation) -> None:
    """The violation at the narrowest place that the file has for it; unsaid where its key was wrong anyway."""
    reading = next(reading for reading in readings if reading.name == violation.pair)
    if violation.key and any(violation.key in scope.bad for scope in reading.scopes()):
        return
    chain = [*reading.levels, *([reading.hosts[violation.host]] if violation.host else [])]
    place: Place = reading.place
    path: Path = (reading.name,)
    if violation.host:
        place, path = reading.host_places[violation.host], (reading.name, violation.host)
    for scope in reversed(chain):
        found = scope.node.get(violation.key) if scope.node and violation.key in scope.values else None
        if found is not None:
            place, path = found.place, (*scope.path, violation.key)
            break
    findings.add(place, path, Said(violation.what, violation.hint))
