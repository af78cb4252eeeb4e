"""The short way for `sync` and `status` while the daemon runs: no click, no YAML, no pydantic.

It understands exactly `[-i FILE] [--format F] sync|status [PAIR] [--format F]`; for anything
else, and whenever the daemon can't be found through its note (`web.pointer`), it answers None
and the ordinary way begins. Invariant: both ways print the same, because both print the
daemon's answer through `words`; a daemon's usage error is left to the ordinary way.

Measured (2 cores, Python 3.11, best of 15): see docs/decisions; each import here is paid by
every quick command.
"""

from __future__ import annotations

import importlib
import os
import sys

from orchestrator.cli import words
from orchestrator.web import ask, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from orchestrator.cli.progress import Shown

PLACES = ("inventory.yaml", "/etc/mailmirror/inventory.yaml")


class Typed:
    """What the command line says, where it is one of the simple ones."""

    def __init__(self) -> None:
        self.inventory = ""
        self.format = "table"
        self.words: list[str] = []

    @property
    def pair(self) -> str:
        return self.words[1] if len(self.words) > 1 else ""


def answer(argv: list[str]) -> int | None:
    """The exit code after the daemon has answered, or None when the ordinary way has to be gone."""
    typed = understand(argv)
    if typed is None:
        return None
    inventory = typed.inventory or next((path for path in PLACES if os.path.exists(path)), "")
    path = pointer.find(inventory) if inventory else None
    if path is None:
        return None
    try:
        with Lazily() as progress:
            told = ask.ask(path, _request(typed), progress, ask.STATUS_WITHIN if typed.words[0] == "status" else None)
        return words.show(typed.words[0], told, typed.format)
    except ask.Fault as fault:
        if fault.exit == 2:
            return None
        sys.stderr.write(words.failure(str(fault), fault.remedy))
        return fault.exit
    except (ask.NobodyListens, ask.BrokenOff, ask.Silent, PermissionError):
        return None  # the ordinary way meets the same and explains it
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        words.abandon_stdout()
        return 141


def understand(argv: list[str]) -> Typed | None:
    """The command line taken apart, or None when anything in it is unusual."""
    typed, rest = Typed(), list(argv)
    while rest:
        word = rest.pop(0)
        name, _, value = word.partition("=")
        if name in ("-i", "--inventory") and not typed.words:
            typed.inventory = value or (rest.pop(0) if rest else "")
            if not typed.inventory or (name == "-i" and value):
                return None
        elif name == "--format":
            typed.format = value or (rest.pop(0) if rest else "")
        elif word.startswith("-") or not word:
            return None
        else:
            typed.words.append(word)
    usual = typed.words[:1] in (["sync"], ["status"]) and len(typed.words) <= 2
    return typed if usual and typed.format in ("table", "json") else None


def _request(typed: Typed) -> dict[str, Any]:
    request: dict[str, Any] = {"verb": typed.words[0]}
    if typed.pair:
        request["pair"] = typed.pair
    return request


class Lazily:
    """Progress of a pass that takes long: what shows it is imported when there is something to show."""

    def __init__(self) -> None:
        self._shown: Shown | None = None

    def __call__(self, told: Any) -> None:
        """Show it; `told` is a `Progress` as JSON."""
        if self._shown is None:
            self._shown = importlib.import_module("orchestrator.cli.progress").Shown()
        self._shown(told)

    def __enter__(self) -> Lazily:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._shown.close()
