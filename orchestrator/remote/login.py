"""The login: which keys are offered to a host that has proven who it is.

Invariant: a key is offered only where the inventory names it, by file or by the SSH agent; nothing is looked for in
~/.ssh, and no password is ever asked for or sent. Gets paramiko handed in: `ssh` knows when to import it.
"""

from __future__ import annotations

import base64
import getpass
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from orchestrator.errors import HostUnreachable, NotPermitted
from orchestrator.inventory import Host, secret
from orchestrator.remote.dial import BUSY
from orchestrator.remote.known_hosts import Key

if TYPE_CHECKING:
    import paramiko

TRIES = 5
"""Keys of an SSH agent that are offered: sshd's MaxAuthTries is 6."""


def log_in(library: ModuleType, transport: paramiko.Transport, host: Host) -> None:
    """Log in with what the inventory says. Raises NotPermitted (no key is let in), HostUnreachable (it hangs up)."""
    user, tried = host.user or getpass.getuser(), []
    with _keys(library, host) as keys:
        for key in keys:
            label = f"{key.get_name()} {Key(key.get_name(), key.asbytes()).fingerprint}"
            began = time.monotonic()
            try:
                more = transport.auth_publickey(user, key)
            except library.BadAuthenticationType as error:
                raise NotPermitted(f"{host.name}: sshd takes no keys, only {', '.join(error.allowed_types)}") from error
            except library.AuthenticationException as error:
                if not transport.is_active():
                    raise HostUnreachable(f"{host.name}: it hung up during the login: {error}", remedy=BUSY) from error
                # paramiko tells a server that refuses and one that doesn't answer by the same exception.
                if time.monotonic() - began >= transport.auth_timeout:
                    raise HostUnreachable(f"{host.name}: it doesn't answer the login", remedy=BUSY) from error
                tried.append(label)
                continue
            except (library.SSHException, OSError, EOFError) as error:
                raise HostUnreachable(f"{host.name}: the login broke off: {error or 'it hung up'}") from error
            if not more:
                return
            raise NotPermitted(f"{host.name}: {label} isn't enough, sshd also wants {' or '.join(more)}")
    source = f"{host.key_file}" if host.key_file else "the SSH agent"
    raise NotPermitted(
        f"{host.name}: {user} may not log in with {' or '.join(tried)} (from {source})",
        remedy=f"Put the public half into ~{user}/.ssh/authorized_keys there, or correct ansible_user and "
        "ansible_ssh_private_key_file.",
    )


@contextmanager
def _keys(library: ModuleType, host: Host) -> Iterator[Sequence[paramiko.PKey]]:
    """The keys to offer: the file's, or those of the SSH agent where the inventory lets us. Never any others."""
    in_the_clear = _of_file(library, host)
    if in_the_clear is not None:
        yield [in_the_clear]
        return
    agent = library.Agent()
    try:
        yield _of_agent(library, host, list(agent.get_keys()) if host.use_agent else [])
    finally:
        agent.close()


def _of_file(library: ModuleType, host: Host) -> paramiko.PKey | None:
    """The key that the inventory names by file; None when it names none, or an encrypted one, which the SSH agent may
    hold in the clear. Raises NotPermitted when it can't be used.
    """
    if host.key_file is None:
        return None
    try:
        key: paramiko.PKey = library.PKey.from_path(secret.at_hand(host.key_file))
    except (library.PasswordRequiredException, TypeError):
        return None
    except (OSError, ValueError, library.SSHException) as error:
        raise NotPermitted(f"{host.name}: can't use the key {host.key_file}: {error}") from error
    return key


def _of_agent(library: ModuleType, host: Host, held: Sequence[paramiko.PKey]) -> Sequence[paramiko.PKey]:
    """The agent's keys that may be offered; of an encrypted file only the very key."""
    if host.key_file:
        held = [key for key in held if key.asbytes() == public_half(library, host.key_file).blob]
    if not held:
        what = f"the key {host.key_file} is encrypted" if host.key_file else "no ansible_ssh_private_key_file is given"
        raise NotPermitted(
            f"{host.name}: {what}, and "
            + ("the SSH agent doesn't hold one" if host.use_agent else "no agent may be asked"),
            remedy="Name a key without a passphrase in ansible_ssh_private_key_file, or `ssh-add` it.",
        )
    return held[:TRIES]


def public_half(library: ModuleType, key_file: Path) -> Key:
    """The public key that belongs to a private key file: from `FILE.pub` beside it, else from the file itself.

    Raises NotPermitted when neither can be read.
    """
    beside = key_file.with_name(key_file.name + ".pub")
    try:
        if beside.exists():
            kind, blob = beside.read_text(encoding="utf-8").split()[:2]
            return Key(kind, base64.b64decode(blob, validate=True))
        key = library.PKey.from_path(secret.at_hand(key_file))
        return Key(key.get_name(), key.asbytes())
    except (OSError, ValueError, TypeError) as error:
        raise NotPermitted(
            f"can't tell the public half of {key_file}: {error}",
            remedy=f"Run `ssh-keygen -y -f {key_file} > {beside}`.",
        ) from error
