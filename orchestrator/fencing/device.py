"""Fence devices: a fence agent's program, or a provider's own commands; both answer on, off or unknown.

A fence agent is spoken to by the conventions of ClusterLabs' FenceAgentAPI: `key=value` lines on its standard input,
`status` exits with 0 for on and 2 for off. Exit code 2 alone isn't believed: it is also what Python says when it can't
open a script, and EC_BAD_ARGS of the agents' own library. It has to print `Status: OFF` too, as that library does.
A provider's commands (`exec`) have no such convention, so their exit code must be 0 and their whole output the word
that the inventory names.

Invariant: a secret is read when it is needed, and goes only to the program's standard input (agent) or its environment
(exec): it stands in no command line, no error and no answer. An answer comes within its deadline; one that isn't
understood is UNKNOWN, never off. Nothing is run by a shell.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Protocol

from orchestrator.errors import MailmirrorError
from orchestrator.fencing import program
from orchestrator.inventory import secret
from orchestrator.inventory.model import Fence, FenceCommands, Secret

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LONGEST_SAID = 300  # characters of what a program printed that are kept
_STATUS = re.compile(r"^\s*Status:\s*(ON|OFF)\s*$", re.IGNORECASE | re.MULTILINE)


class State(Enum):
    """What a device says of a host's power."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """To a question of the power's state, or to an order, whose `state` says nothing. `said` is what was printed, or
    what went wrong; `began` and `ended` are of CLOCK_BOOTTIME. `done`: the program ended in time and claims success.
    """

    state: State
    said: str
    began: float
    ended: float
    done: bool = False


class Device(Protocol):
    """One device that holds one host's power. `fingerprint` changes with all that the inventory says of it."""

    title: str
    fingerprint: str
    level: int
    within: float

    def status(self, within: float) -> Answer:
        """Ask for the power's state, for at most so many seconds. Changes nothing, raises nothing."""
        ...

    def order(self, wanted: State, within: float) -> Answer:
        """Order it on or off. What it claims proves nothing: ask for the `status` afterwards. Raises nothing."""
        ...


def of(entry: Fence) -> Device:
    """The device that an entry of mm_fence describes."""
    return _Commands(entry, entry.exec) if entry.exec else _Agent(entry)


def boottime() -> float:
    """Now, as the times in answers are meant."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class _Said:
    """What came of one program: None for an exit code when it didn't end in time or didn't start."""

    code: int | None
    out: str
    words: str
    began: float

    def answer(self, state: State, words: str = "") -> Answer:
        return Answer(state, words or self.words, self.began, boottime(), self.code == 0)


def _ran(argv: Sequence[str], stdin: bytes, extra: Mapping[str, str], hidden: Sequence[str], within: float) -> _Said:
    """Run a program; nothing of `hidden` is in what comes back."""
    began = boottime()
    environment = {"PATH": PATH, "LANG": "C.UTF-8", **extra}
    found = argv[0] if "/" in argv[0] else shutil.which(argv[0], path=PATH)
    if not found:
        return _Said(None, "", f"{argv[0]} isn't installed.", began)
    try:
        ended = program.run([found, *argv[1:]], stdin, environment, within)
    except OSError as error:
        return _Said(None, "", f"{argv[0]} can't be started: {error.strerror}.", began)
    out, err = _without(ended.out, hidden), _without(ended.err, hidden)
    if ended.code is None:
        return _Said(None, out, f"{argv[0]} didn't end within {within:.1f} s.", began)
    told = " ".join((out + " " + err if ended.code in (0, 2) else err or out).split())
    return _Said(ended.code, out, f"exit code {ended.code}: {told[-LONGEST_SAID:] or 'nothing printed'}", began)


def _without(text: str, hidden: Sequence[str]) -> str:
    for value in sorted(hidden, key=len, reverse=True):
        text = text.replace(value, "***")
    return text


def _fingerprint(entry: Fence) -> str:
    """Of all that is said of the device; references to secrets, not the secrets."""
    meant = {key: value for key, value in asdict(entry).items() if key not in ("level", "within")}
    return hashlib.sha256(json.dumps(meant, sort_keys=True).encode()).hexdigest()[:16]


def _read(values: Mapping[str, str | Secret]) -> tuple[dict[str, str], list[str]]:
    """The values with the secrets in them, and the secrets. Raises as `secret.read`, and for one of several lines."""
    plain, hidden = {}, []
    for key, value in values.items():
        if isinstance(value, Secret):
            found = secret.read(value)
            if not found or not found.isprintable():
                raise MailmirrorError(f"{key} ({value.kind} {value.where}) is empty, or not one line of text.")
            hidden.append(found)
            plain[key] = found
        else:
            plain[key] = value
    return plain, hidden


class _Agent:
    """A program of the fence-agents conventions."""

    def __init__(self, entry: Fence) -> None:
        where = entry.parameters.get("ip") or entry.parameters.get("ipaddr") or ""
        plug = entry.parameters.get("plug") or entry.parameters.get("port") or ""
        self.title = " ".join(str(part) for part in (os.path.basename(entry.agent), where, plug) if part)
        self.fingerprint = _fingerprint(entry)
        self.level, self.within = entry.level, entry.within
        self._entry = entry

    def status(self, within: float) -> Answer:
        said = self._asked("status", within)
        printed = [word.upper() for word in _STATUS.findall(said.out)]
        if (said.code, printed) == (0, ["ON"]):
            return said.answer(State.ON)
        if (said.code, printed) == (2, ["OFF"]):
            return said.answer(State.OFF)
        return said.answer(State.UNKNOWN)

    def order(self, wanted: State, within: float) -> Answer:
        return self._asked(wanted.value, within).answer(State.UNKNOWN)

    def _asked(self, action: str, within: float) -> _Said:
        began = boottime()
        try:
            values, hidden = _read(self._entry.parameters)
        except MailmirrorError as error:
            return _Said(None, "", str(error), began)
        lines = "".join(f"{key}={value}\n" for key, value in {**values, "action": action}.items())
        return _ran([self._entry.agent], lines.encode(), {}, hidden, within)


class _Commands:
    """A provider's own commands."""

    def __init__(self, entry: Fence, commands: FenceCommands) -> None:
        self.title = " ".join(os.path.basename(word) for word in commands.status[:2])
        self.fingerprint = _fingerprint(entry)
        self.level, self.within = entry.level, entry.within
        self._commands = commands

    def status(self, within: float) -> Answer:
        said = self._ran(self._commands.status, within)
        printed = said.out.strip()
        known = {self._commands.says_on: State.ON, self._commands.says_off: State.OFF}
        return said.answer(known.get(printed, State.UNKNOWN) if said.code == 0 else State.UNKNOWN)

    def order(self, wanted: State, within: float) -> Answer:
        argv = self._commands.switch_off if wanted is State.OFF else self._commands.switch_on
        if not argv:
            now = boottime()
            return Answer(State.UNKNOWN, "no command for it is in the inventory", now, now)
        return self._ran(argv, within).answer(State.UNKNOWN)

    def _ran(self, argv: Sequence[str], within: float) -> _Said:
        began = boottime()
        try:
            values, hidden = _read(self._commands.environment)
        except MailmirrorError as error:
            return _Said(None, "", str(error), began)
        return _ran(argv, b"", values, hidden, within)
