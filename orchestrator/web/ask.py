"""Asking the running daemon: the client's end of the control socket.

It is on the path of every quick command, so it imports next to nothing: the frame header is
packed here as `agent.wire` packs it (a test holds the two together), without wire's imports.

It doesn't know the verbs and makes no sentences: it hands over what the daemon said.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct

from orchestrator.web import unixpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

HEADER = struct.Struct(">IIBBI")
REQUEST, REPLY, FAULT, NOTICE = 2, 3, 4, 7
MAX_PAYLOAD = 8 << 20
CONNECT_WITHIN = 2.0  # seconds
STATUS_WITHIN = 1.0  # seconds; a daemon that is well answers at once


class NobodyListens(OSError):
    """No daemon answers at that path."""


class BrokenOff(OSError):
    """The daemon hung up, or didn't speak its protocol, before it had answered."""


class Silent(OSError):
    """A daemon is there, and hasn't answered within the time that was given: it hangs, or is stopped."""


class Fault(Exception):
    """The daemon's answer is no: error class, exit code, sentence and remedy."""

    def __init__(self, head: dict[str, Any]) -> None:
        super().__init__(str(head.get("message", "The daemon failed.")))
        self.code = str(head.get("code", ""))
        self.exit = int(head.get("exit", 1))
        self.remedy = str(head.get("remedy", ""))


def ask(
    path: str, request: dict[str, Any], on_notice: Callable[[Any], None] | None = None, within: float | None = None
) -> Any:
    """The answer to the request, as JSON; each NOTICE before it goes to `on_notice`.

    It waits as long as the daemon works (a timeout is a field of the request), or at most `within` seconds for each
    frame. Raises NobodyListens, PermissionError, BrokenOff, Silent and Fault.
    """
    head = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONNECT_WITHIN)
        try:
            with unixpath.reachable(path) as reachable:
                connection.connect(reachable)
        except (FileNotFoundError, ConnectionRefusedError, TimeoutError) as error:
            raise NobodyListens(error.errno, f"no daemon listens on {path}") from error
        with contextlib.suppress(ConnectionError):  # who is turned away unheard was told why: that is read below
            connection.sendall(HEADER.pack(len(head), len(head), REQUEST, 0, 1) + head)
        connection.settimeout(within)
        with connection.makefile("rb") as stream:
            while True:
                kind, told = _frame(stream.read)
                if kind == NOTICE:
                    if on_notice:
                        on_notice(told)
                elif kind == REPLY:
                    return told
                elif kind == FAULT:
                    raise Fault(told)


def _frame(read: Callable[[int], bytes]) -> tuple[int, Any]:
    header = _exactly(read, HEADER.size)
    size, head_size, kind, flags, _ = HEADER.unpack(header)
    if size > MAX_PAYLOAD or head_size > size or flags:
        raise BrokenOff(f"the daemon sent a frame of {size} bytes that isn't one")
    payload = _exactly(read, size)
    try:
        told = json.loads(payload[head_size:] if size > head_size else payload or b"{}")
    except ValueError as error:
        raise BrokenOff(f"the daemon's answer isn't JSON: {error}") from error
    return kind, told


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    try:
        data = read(size)
    except TimeoutError as error:
        raise Silent(error.errno, "the daemon doesn't answer") from error
    except ConnectionError as error:
        raise BrokenOff("the daemon hung up before it had answered") from error
    if len(data) != size:
        raise BrokenOff("the daemon hung up before it had answered")
    return data
