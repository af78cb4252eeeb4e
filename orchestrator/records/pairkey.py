"""The keys that are made here: that which the guards of a pair sign with, laid down on each host of the pair too, and
that of the links in alerts, which stays on the controller.

Invariant: a key that was given out is on this disk, durably, and is never replaced here: guards with different keys
don't hear each other, and the pair's lease would run out. Whoever reads one can speak as any guard, or as an operator
who was asked: 0600.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from orchestrator.errors import NotPermitted, OperatorError
from orchestrator.records.lock import state_dir

SIZE = 32  # bytes


def path_of(directory: Path, pair: str) -> Path:
    return directory / f"{pair}.guard.key"


def key(directory: Path, pair: str) -> bytes:
    """The pair's key, made when there is none. Raises NotPermitted, OperatorError."""
    return _kept(path_of(state_dir(directory), pair), "Put it back from /etc/mailmirror of a host.")


def of_links(directory: Path) -> bytes:
    """The key of the links, made when there is none. Raises NotPermitted, OperatorError."""
    return _kept(
        state_dir(directory) / "links.key", "Remove it: a new one is made, and links that were sent count no more."
    )


def _kept(path: Path, remedy: str) -> bytes:
    try:
        if not path.exists():
            _make(path)
        found = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except PermissionError as error:
        raise NotPermitted(f"{path} can't be read or made: {error.strerror}.") from error
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}.", remedy="Make room there, or mend mm_state_dir.") from error
    except ValueError:
        found = b""
    if len(found) != SIZE:
        raise OperatorError(f"{path} holds no key of {SIZE} bytes.", remedy=remedy)
    return found


def _make(path: Path) -> None:
    """Whole and durable before it has its name; of two processes that make one at once, the first one's stays."""
    beside = path.with_suffix(f".{secrets.token_hex(4)}.new")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_bytes(SIZE).hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # somebody else has just made one: theirs counts
            os.link(beside, path)
    finally:
        beside.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
