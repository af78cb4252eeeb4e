"""nftables by its own library, in this process: each text is one transaction (libnftables(3)).

A table with `flags owner` belongs to the netlink socket that made it, and so to this process: the kernel removes it
with the process, and refuses everybody else's changes. No child has to be kept alive or watched for that, and one
transaction takes half a millisecond, where a program's start takes twenty.

Invariant: a text is applied whole or not at all. Nothing here knows what the rules mean.
"""

from __future__ import annotations

import ctypes
from typing import Optional

LIBRARY = "libnftables.so.1"
_JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON


class Refused(Exception):
    """The kernel, or the library, took nothing of the text. The message is theirs."""


class Missing(Exception):
    """There is no nftables on this host. The message says what to do."""


class Nft:
    """One netlink socket. Not for more than one thread at a time."""

    def __init__(self) -> None:
        """Raises Missing."""
        try:
            library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise Missing(f"there is no nftables here ({error}): apt-get install nftables") from error
        library.nft_ctx_new.restype = ctypes.c_void_p
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, name).restype = ctypes.c_char_p
            getattr(library, name).argtypes = [ctypes.c_void_p]
        for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
        library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._library = library
        self._context: Optional[int] = library.nft_ctx_new(0)
        if not self._context:
            raise Missing("nftables can't be spoken to: the kernel has none, or this process isn't root's")
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)
        library.nft_ctx_output_set_flags(self._context, _JSON)

    def run(self, text: str) -> str:
        """What it answers: JSON, or nothing. Raises Refused."""
        failed = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        said = self._library.nft_ctx_get_error_buffer(self._context).decode(errors="replace").strip()
        answer: str = self._library.nft_ctx_get_output_buffer(self._context).decode(errors="replace")
        if failed:
            raise Refused(said or "nftables refused it without a word")
        return answer

    def close(self) -> None:
        """The socket ends, and tables that it owns with it. Idempotent."""
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = None
