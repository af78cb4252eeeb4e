"""SHA-256 of a message's bytes, read in pieces."""

from __future__ import annotations

import hashlib
import os

from . import beneath
from .sidecar import read_range

PIECE = 1 << 20


def sha256_of(fd: int, size: int, first: bytes = b"") -> str:
    """The digest of `first` and the file's first `size` bytes, in hex."""
    digest = hashlib.sha256(first)
    for at in range(0, size, PIECE):
        digest.update(read_range(fd, at, min(at + PIECE, size)))
    return digest.hexdigest()


def sha256_at(dirfd: int, name: bytes) -> str:
    """The digest of a whole file. Raises OSError, Outside, NotRegular as `beneath.open_with_stat`."""
    fd, found = beneath.open_with_stat(dirfd, name)
    try:
        return sha256_of(fd, found.st_size)
    finally:
        os.close(fd)
