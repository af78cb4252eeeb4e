"""Ships the agent: its code as an archive, the loader that starts it, and the talk before the first frame.

The loader (`loader.py`) travels in the command itself and keeps code on the host by its
SHA-256, so that it is sent once per version and its bytecode is cached. A login shell may print
what it likes: the talk begins at a mark that is searched in a bounded stretch.

Invariant: no byte before the mark is taken for a frame, and no code is run whose hash isn't
the one we asked for. This module runs nothing itself: it makes commands and talks over a `Line`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import time
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from orchestrator import agent
from orchestrator.errors import HostUnreachable
from orchestrator.remote.lines import Line
from orchestrator.remote.loader import MARK

PREAMBLE = 64 << 10
"""Bytes that a login shell may print before the loader's mark."""
WITHIN = 60.0
"""Seconds from the command to the loader's answer, the archive's way included."""


class Archive(NamedTuple):
    """The agent's code: what a host needs to be sent, and the name that it keeps it by."""

    sha: str
    data: bytes


@cache
def archive() -> Archive:
    """This version's agent, as the loader takes it."""
    folder = Path(agent.__file__).parent
    return pack({path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")})


def pack(files: Mapping[str, str]) -> Archive:
    """Modules of the package `orchestrator.agent` as an archive; `main.py` among them has `main(arguments)`.

    JSON of file name to text, deflated; its name is the SHA-256 of the JSON.
    """
    plain = json.dumps(files, sort_keys=True).encode()
    return Archive(hashlib.sha256(plain).hexdigest(), zlib.compress(plain, 6))


@cache
def loader_text() -> str:
    """The loader, less what only its readers need."""
    return Path(__file__).with_name("loader.py").read_text(encoding="utf-8")


def command(python: str, arguments: Sequence[str], code: Archive) -> str:
    """The command line that starts an agent on a host, for whatever shell its user has."""
    packed = base64.b64encode(zlib.compress(loader_text().encode(), 9)).decode()
    start = f'import zlib,base64;exec(zlib.decompress(base64.b64decode("{packed}")))'
    words = ["-I", "-S", "-c", start, "--code", code.sha, str(len(code.data)), *arguments]
    return "exec " + shlex.join([*interpreter(python), *words])


def interpreter(python: str) -> list[str]:
    """The words that start Python. Unless the inventory names one, the system's own comes before what a PATH offers:
    a version switcher's shim there is a shell script that takes a tenth of a second (measured with pyenv).
    """
    if python != "python3":
        return [python]
    return ["/bin/sh", "-c", 'p=/usr/bin/python3; test -x $p || p=python3; exec $p "$@"', "sh"]


def greet(line: Line, name: str, code: Archive, within: float = WITHIN) -> Line:
    """The talk with the loader; afterwards frames follow on the line that is returned.

    Raises HostUnreachable with what the host said instead, and what to do about it.
    """
    try:
        return Resumed(line, _talk(line, name, code, time.monotonic() + within))
    except BaseException:
        line.abort()
        line.settle()
        raise


def _talk(line: Line, name: str, code: Archive, deadline: float) -> bytes:
    """Until the agent is there; returns what came of its frames already."""
    rest = b""
    while True:
        word, text, rest = _hear(line, name, rest, deadline)
        if word == "have":
            return rest
        if word == "want":
            line.sendall(code.data)
        elif word == "fault":
            raise HostUnreachable(
                f"{name}: the agent can't run there: {text}",
                remedy="Mend it on that host; another interpreter is named by ansible_python_interpreter.",
            )
        else:
            raise HostUnreachable(f"{name}: the agent's loader said {word!r:.40}, which this version doesn't know")


def _hear(line: Line, name: str, heard: bytes, deadline: float) -> tuple[str, str, bytes]:
    """The loader's next line as (word, text), and what came after it."""
    while True:
        _, mark, after = heard.partition(MARK)
        if mark and b"\n" in after:
            said, _, rest = after.partition(b"\n")
            word, _, text = said.decode(errors="replace").partition(" ")
            return word, text, rest
        if len(heard) > PREAMBLE:
            raise _no_agent(name, heard, f"{PREAMBLE >> 10} KiB came from it, and no agent among them")
        try:
            data = line.recv(PREAMBLE)
        except TimeoutError:
            data = None
        except OSError as error:
            raise _no_agent(name, heard, str(error)) from error
        if data == b"":
            line.close()
            raise _no_agent(name, heard, line.settle())
        if time.monotonic() > deadline:
            raise _no_agent(name, heard, "no answer in time")
        heard += data or b""


def _no_agent(name: str, heard: bytes, why: str) -> HostUnreachable:
    printed = heard.decode(errors="replace").strip()[:500]
    shown = f"\nbefore that, it printed:\n{printed}" if printed else ""
    remedy = "Log in there by hand with the same user and key, and run `python3 -V`."
    if "exit status 127" in why or "not found" in why:
        remedy = "Install Python 3.9 or newer there, or name it by ansible_python_interpreter."
    return HostUnreachable(f"{name}: its agent didn't start: {why}{shown}", remedy=remedy)


class Resumed:
    """A line of which some bytes were read already: they come first."""

    def __init__(self, line: Line, first: bytes) -> None:
        self._line, self._first = line, first

    def recv(self, size: int, /) -> bytes:
        if self._first:
            piece, self._first = self._first[:size], self._first[size:]
            return piece
        return self._line.recv(size)

    def sendall(self, data: bytes | memoryview, /) -> None:
        self._line.sendall(data)

    def close(self) -> None:
        self._line.close()

    def abort(self) -> None:
        self._line.abort()

    def settle(self) -> str:
        return self._line.settle()
