"""Reading a secret from where the inventory says it is, when it is needed and not before.

A file that only root may read is handed to the daemon by systemd, as a credential named after it: the inventory names
the file, and the same inventory is good for root.

Invariant: a secret is never part of an error, and one that others may read is refused.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from orchestrator.errors import ConfigError, NotPermitted
from orchestrator.inventory.model import Secret

LARGEST = 1 << 16


def read(secret: Secret) -> str:
    """The secret, without white space around it. Raises ConfigError, and NotPermitted for a file of others."""
    if secret.kind == "env":
        found = os.environ.get(secret.where)
        if found is None:
            raise ConfigError(f"The variable {secret.where} isn't set.", remedy="Set it for whoever runs mailmirror.")
        return found.strip()
    path = Path(secret.where).expanduser()
    if secret.kind == "credential":
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise ConfigError(
                f"The credential {secret.where} can only be read in a systemd unit.",
                remedy=f"Run it there, with LoadCredential={secret.where}:PATH, or write {{file: PATH}}.",
            )
        path = Path(folder) / secret.where
    return _of_file(path)


def credential_name(path: Path) -> str:
    """What the unit calls the credential that has a file's content (LoadCredential=, systemd.exec(5))."""
    return str(path).strip("/").replace("/", "-").replace(":", "-")


def at_hand(path: Path) -> Path:
    """Where a file that the inventory names is read: the credential that systemd made of it, else the file itself."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    laid = Path(folder) / credential_name(path)
    return laid if folder.startswith("/") and os.path.isfile(laid) else path


def _of_file(named: Path) -> str:
    path = at_hand(named)
    try:
        with path.open("rb") as stream:
            if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o007:
                raise NotPermitted(f"Everybody on this host may use {path}.", remedy=f"chmod o= {path}")
            content = stream.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(
            f"{path} can't be read: {error.strerror}.", remedy="Create it, or correct the inventory."
        ) from error
    if len(content) > LARGEST or b"\0" in content:
        raise ConfigError(f"{path} is no secret: it is too large, or not text.", remedy="Correct the inventory.")
    return content.decode("utf-8", "replace").strip()
