"""SSH key pairs for the site: Ed25519, in OpenSSH's own format, and the known_hosts that pins them."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def make(path: Path) -> str:
    """Write a new private key to `path`, mode 0600; the public half comes back as `ssh-ed25519 BASE64`."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(private)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public.decode("ascii")


def pin(address: str, port: int, public: str) -> str:
    """A known_hosts line (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    return f"[{address}]:{port} {public}\n"
