"""Which inventory file is meant, and which version of it: enough to ask the daemon, nothing more.

Invariant: imports neither YAML nor pydantic, and never reads more than `MAX_BYTES`. It doesn't look at what
the file says.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from orchestrator.errors import ConfigError

USUAL_PLACES = (Path("inventory.yaml"), Path("/etc/mailmirror/inventory.yaml"))
MAX_BYTES = 1 << 20


def locate(explicit: str | None = None, *, usual: tuple[Path, ...] = USUAL_PLACES) -> Path:
    """The inventory that `-i` names, or the first of the usual places that exists.

    The path is returned as it was given (errors show it so). Raises ConfigError when there is none, naming
    every place that was looked at.
    """
    if explicit is not None:
        path = Path(explicit)
        if not path.exists():
            raise ConfigError(
                f"There is no inventory at {path}.",
                remedy="Name the file with -i, or copy the commented sample inventory.yaml there and edit it.",
            )
        return path
    for path in usual:
        if path.exists():
            return path
    looked = " and ".join(str(path if path.is_absolute() else Path(".").resolve() / path) for path in usual)
    raise ConfigError(
        f"There is no inventory: looked for {looked}.",
        remedy="Name the file with -i, or copy the commented sample inventory.yaml to one of these places.",
    )


def read(path: Path) -> bytes:
    """The file's bytes, at most MAX_BYTES of them. Raises ConfigError when it can't be read or is larger."""
    try:
        # O_NONBLOCK: a FIFO that somebody left there must not make the command wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigError(f"{path} is not a regular file.", remedy="Name the inventory file with -i.")
            content = file.read(MAX_BYTES + 1)
    except PermissionError as error:
        raise ConfigError(
            f"{path} can't be read: {error.strerror}.", remedy="Run it as a user who may read the inventory."
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}.", remedy="Name the inventory with -i.") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(
            f"{path} is larger than {MAX_BYTES >> 20} MiB: this can't be an inventory.",
            remedy="Name the inventory with -i.",
        )
    return content


def fingerprint(path: Path) -> str:
    """SHA-256 of the file, in hex: equal means that the daemon has read the same inventory. Raises ConfigError."""
    return digest(read(path))


def digest(content: bytes) -> str:
    """The fingerprint of an inventory that was read already."""
    return hashlib.sha256(content).hexdigest()
