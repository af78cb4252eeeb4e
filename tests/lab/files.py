"""Files for a host's root, said as values and then laid down: the configuration is pure, the writing is dumb.

Invariant: `lay` writes below the root that it is given, through no symbolic link of the last component.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class File:
    """A file as it is to be; `owner` is (uid, gid)."""

    content: str | bytes
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


Files = Mapping[str, str | File | Link]


def lay(root: Path, files: Files) -> None:
    """Writes each file at its path below `root`, with the directories that it needs; what stood there is replaced."""
    for name, what in files.items():
        place = root / name.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        if isinstance(what, Link):
            place.symlink_to(what.target)
            continue
        file = File(what) if isinstance(what, str) else what
        content = file.content.encode() if isinstance(file.content, str) else file.content
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as out:
            out.write(content)
            os.fchmod(descriptor, file.mode)
            os.fchown(descriptor, *file.owner)
