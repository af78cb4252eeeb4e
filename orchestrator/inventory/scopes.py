"""Levels of variables: one mapping of the file, validated key by key, each problem at its place.

Invariant: a scope's `values` holds only valid values; a key that was wrong is in `bad`, so that no law speaks
about what the operator didn't get to say.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from pydantic import ValidationError

from orchestrator.inventory.problems import Place, Problem, closest
from orchestrator.inventory.said import PLAIN_SECRET, SECRET_KEY, Said, said, unknown
from orchestrator.inventory.tree import Node
from orchestrator.inventory.written import Connection, HostVars, PairVars

MOST_PROBLEMS = 200
SECRETS = {"tsig"}
SECRET_VARIABLES = ("mm_exec", "env")  # each of them
Path = tuple[str | int, ...]


class Findings:
    """The problems so far; no more than MOST_PROBLEMS, which no reader would miss."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    @property
    def full(self) -> bool:
        return len(self.problems) >= MOST_PROBLEMS

    def add(self, place: Place, path: Path, said: Said) -> None:
        """One more, unless there are too many already."""
        if not self.full:
            mask = place.column + place.width if said.is_key else place.column
            problem = Problem(place, where(path), said.what, said.hint, mask if said.secret else 0)
            self.problems.append(problem)


@dataclass
class Scope:
    """The variables of one level."""

    origin: str  # all, mailmirror, pair, host
    path: Path
    node: Node | None
    values: dict[str, object] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)


def where(path: Path) -> str:
    """A path of keys as messages show it: example_org/vars/mm_stores[0]/root."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f"/{part}" if text else part
    return text


def read_scope(findings: Findings, origin: str, path: Path, node: Node | None, model: type[Connection]) -> Scope:
    """The variables under `node`. In `all: vars:` only our keys are judged: the rest is Ansible's own."""
    scope = Scope(origin, path, node)
    if node is None:
        return scope
    if not is_mapping(findings, node, path):
        if not node.empty:
            scope.bad |= set(model.model_fields)
        return scope
    chosen = {
        key: entry.value
        for key, entry in node.entries.items()
        if origin != "all" or key.startswith("mm_") or key in Connection.model_fields
    }
    bad: list[Path] = []
    raw = {key: plain_value(findings, value, (*path, key), bad) for key, value in chosen.items()}
    damaged = [found[len(path) :] for found in bad]
    try:
        valid = model.model_validate(raw)
    except ValidationError as error:
        details = error.errors(include_url=False)
        for detail in details:
            scope.bad.add(str(detail["loc"][0]))
            emptied = detail["type"] == "too_short" and detail["input"]  # its items failed, which is said already
            if not emptied and not any(_related(detail["loc"], spot) for spot in damaged):
                _report(findings, scope, node, model, detail["loc"], said(detail), detail["type"])
        scope.bad |= {str(spot[0]) for spot in damaged}
        valid = model.model_validate({key: value for key, value in raw.items() if key not in scope.bad})
    scope.bad |= {str(spot[0]) for spot in damaged}
    scope.values = {key: getattr(valid, key) for key in valid.model_fields_set if key not in scope.bad}
    return scope


def _related(one: Path, other: Path) -> bool:
    length = min(len(one), len(other))
    return one[:length] == other[:length]


def _report(
    findings: Findings, scope: Scope, node: Node, model: type[Connection], loc: Path, said: Said, kind: str
) -> None:
    if findings.full:
        return
    above, at, key_place, depth = node, node, node.place, 0
    for part in loc:
        following = at.items[part] if isinstance(part, int) and part < len(at.items) else at.get(str(part))
        if following is None:
            break
        key_place = at.entries[str(part)].key if isinstance(part, str) else following.place
        above, at, depth = at, following, depth + 1
    if kind == "extra_forbidden":
        if any(fault.place == key_place for fault in above.faults):
            return
        known: Collection[str] = model.model_fields
        elsewhere = {*PairVars.model_fields, *HostVars.model_fields} - set(known)
        if len(loc) > 1:
            known, elsewhere = _known_below(model, loc), set()
        key = str(loc[-1])
        near = closest(key, known)
        if near:  # whoever meant that key did say it
            scope.bad.add(near.removeprefix("did you mean ").removesuffix("?"))
        findings.add(key_place, (*scope.path, *loc[:-1]), unknown(key, known, elsewhere))
    elif kind == "missing":
        name = str(loc[-1])
        findings.add(at.place, (*scope.path, *loc[:-1]), Said(f"{name} is missing", f"add {name}: here"))
    else:
        findings.add(at.place, (*scope.path, *loc[: max(1, depth)]), said)


def _known_below(model: type[Connection], loc: Path) -> list[str]:
    """The keys of the mapping at a path, from the description that editors get."""
    schema = model.model_json_schema()
    found: dict[str, object] = schema
    for part in loc[:-1]:
        found = _resolved(found, schema)
        below = found.get("items") if isinstance(part, int) else _mapping(found.get("properties")).get(str(part))
        found = _mapping(below)
    return list(_mapping(_resolved(found, schema).get("properties")))


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _resolved(part: dict[str, object], schema: dict[str, object]) -> dict[str, object]:
    """Through `anyOf` and `$ref` to the description that has properties or items."""
    options = part.get("anyOf")
    for option in options if isinstance(options, list) else [part]:
        name = str(_mapping(option).get("$ref", "")).rpartition("/")[2]
        found = _mapping(_mapping(schema.get("$defs")).get(name)) if name else _mapping(option)
        if "anyOf" in found:
            found = _resolved(found, schema)
        if "properties" in found or "items" in found:
            return found
    return part


def is_mapping(findings: Findings, node: Node, path: Path) -> bool:
    """True for a mapping, whose own faults are then reported; a problem for anything else."""
    if node.kind == "map":
        for fault in node.faults:
            findings.add(fault.place, path, Said(fault.what, fault.hint))
        return True
    if node.faults:
        for fault in node.faults:
            findings.add(fault.place, path, Said(fault.what, fault.hint))
    elif node.kind == "list" or node.scalar is not None:
        kind = "a list" if node.kind == "list" else "a single value"
        findings.add(node.place, path, Said(f"must be a mapping, is {kind}", "write `key: value`, one a line"))
    return False


def _is_secret(path: Path) -> bool:
    """Whether what stands there must stand there by reference: a TSIG key, a password among a device's parameters."""
    key = str(path[-1])
    among = len(path) > 2 and path[-2] in ("parameters", "environment") and "mm_fence" in path
    return key in SECRETS or (among and bool(SECRET_KEY.search(key)) and not key.endswith(("_script", "_file")))


def plain_value(findings: Findings, node: Node, path: Path, bad: list[Path]) -> object:
    """The node as plain values, lists as tuples. Faults are reported; where a value is no use, its path is bad."""
    if (_is_secret(path) or path[-3:-1] == SECRET_VARIABLES) and node.kind == "scalar":
        findings.add(node.place, path, PLAIN_SECRET)
        bad.append(path)
        return None
    for fault in node.faults:
        findings.add(fault.place, path, Said(fault.what, fault.hint))
    if node.broken:
        bad.append(path)
        return None
    if node.kind == "map":
        return {key: plain_value(findings, entry.value, (*path, key), bad) for key, entry in node.entries.items()}
    if node.kind == "list":
        return tuple(plain_value(findings, item, (*path, at), bad) for at, item in enumerate(node.items))
    if node.faults:
        bad.append(path)
    elif node.scalar is None:
        findings.add(node.place, path, Said("has no value", "give it a value, or remove the key"))
        bad.append(path)
    return node.scalar
