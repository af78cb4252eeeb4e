"""A JSON Schema of inventory.yaml as it is written, for editors that complete and check while one types.

Invariant: made from `written`, so that it knows the keys that `load` knows. It can't say the laws, and knows
nothing of YAML's traps: `config check` has the last word.
"""

from __future__ import annotations

from typing import TypeAlias

from pydantic.json_schema import models_json_schema

from orchestrator.inventory.written import HostVars, PairVars

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def json_schema() -> dict[str, Json]:
    """The schema, draft 2020-12, as a value that json.dumps takes."""
    _, made = models_json_schema([(PairVars, "validation"), (HostVars, "validation")])
    definitions: dict[str, Json] = made["$defs"]
    _forget_nulls(definitions)
    pair_vars: dict[str, Json] = {"$ref": "#/$defs/PairVars"}
    host: dict[str, Json] = {"anyOf": [{"$ref": "#/$defs/HostVars"}, {"type": "null"}]}
    pair: dict[str, Json] = _record({"vars": pair_vars, "hosts": {"type": "object", "additionalProperties": host}})
    names: dict[str, Json] = {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}
    children: dict[str, Json] = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": names,
        "additionalProperties": pair,
    }
    group: dict[str, Json] = _record({"vars": pair_vars, "children": children})
    wrapped: dict[str, Json] = {"type": "object", "properties": {"mailmirror": group}}
    whole: dict[str, Json] = {"type": "object", "properties": {"children": wrapped}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mailmirror inventory",
        "description": "Pairs of mail hosts; also an Ansible inventory, whose other groups may hold anything.",
        "type": "object",
        "properties": {"mailmirror": group, "all": whole},
        "$defs": definitions,
    }


def _record(properties: dict[str, Json]) -> dict[str, Json]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _forget_nulls(part: Json) -> None:
    """No key may be written without a value, so the null that stands for "not written" must not show.

    Nor must a default that isn't in the file's own words: a duration in seconds.
    """
    if isinstance(part, list):
        for item in part:
            _forget_nulls(item)
    elif isinstance(part, dict):
        default = part.get("default", "")
        if default is None or (part.get("type") == "string" and not isinstance(default, str)):
            del part["default"]
        options = part.get("anyOf")
        if isinstance(options, list) and {"type": "null"} in options:
            options.remove({"type": "null"})
            if len(options) == 1 and isinstance(options[0], dict):
                del part["anyOf"]
                part.update(options[0])
        for value in list(part.values()):
            _forget_nulls(value)
