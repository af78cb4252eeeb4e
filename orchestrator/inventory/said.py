"""pydantic's errors in our words: what is wrong with one value, and what to write. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from pydantic_core import ErrorDetails

from orchestrator.inventory.problems import closest
from orchestrator.inventory.quantities import shown


class Said(NamedTuple):
    """A message and its hint; `secret` when the value must not be shown."""

    what: str
    hint: str = ""
    secret: bool = False
    is_key: bool = False  # the place is the key's: what follows it is the secret


PLAIN_SECRET = Said(
    "a secret must not stand in the inventory", "write {file: PATH}, {env: NAME} or {credential: NAME}", secret=True
)
SECRET_KEY = re.compile("pass|secret|token|private|become_", re.IGNORECASE)
_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_HINTS = {
    "a list": "write [value], or one `- value` a line",
    "a text": "put it in quotes",
    "a mapping": "write {key: value}",
    "true or false": "write true or false",
}
_FORMS = {
    "start": 'write the day and the time in quotes: "Sun 02:30"',
    "interface": "write the name that `ip link` shows, at most 15 characters",
    "mm_owner": "write name, number, or USER:GROUP",
    "ansible_user": "write a user's name",
    "ansible_python_interpreter": "write one path or name, without arguments",
    "env": "write the name of an environment variable",
}
_WORD = "use letters, digits, dots, dashes and underscores"


def said(error: ErrorDetails) -> Said:
    """The message for one of pydantic's errors, other than an unknown or a missing key."""
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    if kind == "wrong":
        return Said(str(context["what"]), str(context["hint"]))
    if kind == "literal_error":
        options = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        near = closest(str(value), options) if isinstance(value, str) else ""
        return Said(f"{shown(value)} is not one of {', '.join(options)}", near or "write one of them")
    if kind in _TYPES:
        wanted = _TYPES[kind]
        digits = isinstance(value, str) and value.isdigit() and wanted != "a list"
        hint = "remove the quotes" if digits else _HINTS.get(wanted, "")
        return Said(f"must be {wanted}, is {_kind(value)}", hint)
    if kind == "string_pattern_mismatch":
        name = next((part for part in reversed(error["loc"]) if isinstance(part, str)), "")
        return Said(f"{shown(value)} has the wrong form", _FORMS.get(name, _WORD))
    if kind == "too_short":
        return Said("must not be empty", "name at least one, or remove the key")
    bounds = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
    words = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
    if kind in bounds:
        bound = context[bounds[kind]]
        limit = f"{words[bounds[kind]]} {bound:g}"
        return Said(f"must be {limit}, is {shown(value)}", f"write a value of {limit}")
    return Said(error["msg"])


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return f"the truth value {shown(value)}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {shown(value)}"
    return shown(value)


def unknown(key: str, known: Collection[str], elsewhere: Collection[str] = ()) -> Said:
    """A key that nothing reads here; `elsewhere` are keys that are read at another level."""
    if key in elsewhere:
        level = "a host" if key in ("mm_place", "ansible_host") else "the pair"
        place = "a host, below hosts:" if level == "a host" else "the pair's vars:"
        return Said(f"{key} belongs to {level}", f"move it to {place}")
    near = closest(key, known)
    if not near and len(known) <= 8:
        near = f"known here: {', '.join(known)}"
    if not near:
        near = "the commented sample shows every key; variables for Ansible alone belong into another group"
    return Said(f"unknown key {key}", near, secret=bool(SECRET_KEY.search(key)), is_key=True)
