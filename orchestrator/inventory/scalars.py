"""What a plain YAML scalar says: read the YAML 1.2 way, refused where Ansible (YAML 1.1) reads it otherwise.

Invariant: a scalar that is accepted means the same to mailmirror and to Ansible (`22:30` is 1350 to Ansible,
`NO` is false, `0750` is 488; measured with PyYAML 6). Pure: text in, value or reason out.
"""

from __future__ import annotations

import re
from typing import NamedTuple

Scalar = str | int | float | bool | None

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_WORDS = re.compile(r"(?:yes|no|on|off)", re.IGNORECASE)
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_OCTAL = re.compile(r"[-+]?0[0-7_]+|0o[0-7]+")
_OTHER_BASE = re.compile(r"[-+]?0(?:x[0-9a-fA-F_]+|b[01_]+)")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_FLOAT = re.compile(r"[-+]?[0-9]+\.[0-9]*|\.[0-9]+")
_LOOSE = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?|\.[0-9])[0-9_]*(?:[eE][-+]?[0-9]+)?")  # with underscores or a power
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class Trap(NamedTuple):
    """A scalar that two readers of YAML read differently."""

    what: str
    hint: str


def plain(text: str) -> Scalar | Trap:
    """The value of a scalar that stands without quotes."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if not (text[0].isdigit() or text[0] in "+-.") and not _WORDS.fullmatch(text):
        return text
    return _number(text)


def _number(text: str) -> Scalar | Trap:
    if _INT.fullmatch(text) and len(text) < 20:
        return int(text)
    if _WORDS.fullmatch(text):
        value = "true" if text.lower() in ("yes", "on") else "false"
        hint = f'write {value}, or "{text}" if the word is meant'
        return Trap(f"{text} is {value} to Ansible and a word to others", hint)
    if _SEXAGESIMAL.fullmatch(text):
        return Trap(f"{text} is a number in base 60 to Ansible", f'put it in quotes: "{text}"')
    if _OCTAL.fullmatch(text):
        hint = f'write it without the 0, or in quotes: "{text}"'
        return Trap(f"{text} is an octal number to some readers of YAML", hint)
    if _DATE.fullmatch(text):
        return Trap(f"{text} is a date to Ansible", f'put it in quotes: "{text}"')
    if _FLOAT.fullmatch(text) and len(text) < 40:
        return float(text)
    if _OTHER_BASE.fullmatch(text) or (_LOOSE.fullmatch(text) and not _INT.fullmatch(text)):
        return Trap(f"{text} is a number to some readers of YAML and a word to others", "write it in plain digits")
    if _INFINITE.fullmatch(text) or _INT.fullmatch(text):
        return Trap(f"{text} is not a number that means anything here", "write a number of fewer digits")
    return text
