"""How a quick command finds the running daemon without reading the inventory.

The daemon leaves a note in the runtime directory, named after the inventory's real path:
where its control socket is, and which state of the inventory (time, size, inode) it has
loaded. When the inventory has changed since, the note doesn't count: the command then goes
the long way and reads the inventory itself.

Invariant: a note is believed only where nobody but root or the one who asks could have put
it: in the asker's own $XDG_RUNTIME_DIR, or in /run/mailmirror, which only root can make
or hand to the daemon's user. Imports next to nothing, like `web.ask`.
"""

from __future__ import annotations

import json
import os
import stat

SYSTEM = "/run/mailmirror"
MAX_SIZE = 4096  # bytes of a note
MAX_NAME = 200  # longer paths have no note: the name must stay below 255 bytes


def publish(inventory: str, socket_path: str) -> str | None:
    """Leave the note; its path, or None where there is no runtime directory to leave it in."""
    try:
        note = {"socket": socket_path, "stamp": _stamp(inventory)}
    except OSError:  # it is gone since it was read; quick commands won't find it either
        return None
    for directory in _directories():
        try:
            if not os.path.lexists(directory):
                os.mkdir(directory, 0o755)
            path = _note_path(directory, inventory)
            if path is None or not _is_trusted(directory):
                continue
            beside = f"{path}.{os.getpid()}.new"
            with open(beside, "w", encoding="utf-8") as file:
                json.dump(note, file)
            os.replace(beside, path)
        except OSError:  # not ours to write: the next one, or none; only speed is lost
            continue
        return path
    return None


def find(inventory: str) -> str | None:
    """The control socket of the daemon that runs this inventory as it is now; None where no note says so."""
    for directory in _directories():
        try:
            path = _note_path(directory, inventory)
            if path is None or not _is_trusted(directory):
                continue
            with open(path, encoding="utf-8") as file:
                note = json.loads(file.read(MAX_SIZE))
            if note["stamp"] == _stamp(inventory):
                return str(note["socket"])
        except (OSError, ValueError, KeyError, TypeError):  # no note, or none that can be read
            continue
    return None


def _directories() -> list[str]:
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    return [os.path.join(own, "mailmirror"), SYSTEM] if own.startswith("/") else [SYSTEM]


def _is_trusted(directory: str) -> bool:
    found, above = os.lstat(directory), os.lstat(os.path.dirname(directory))
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
        return False
    if directory == SYSTEM:
        return above.st_uid == 0
    return found.st_uid == above.st_uid == os.geteuid()


def _note_path(directory: str, inventory: str) -> str | None:
    name = os.path.realpath(inventory).replace("%", "%25").replace("/", "%2F")
    return os.path.join(directory, name + ".json") if len(name) <= MAX_NAME else None


def _stamp(inventory: str) -> list[int]:
    found = os.stat(inventory)
    return [found.st_mtime_ns, found.st_size, found.st_ino]
