"""The daemon's web server: waitress, on one address, from construction to `close`.

Invariant: clients have CONNECTIONS places and THREADS threads of their own; whoever is slow takes them from other
clients, and never from the daemon.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from waitress import wasyncore
from waitress.server import create_server

from orchestrator.errors import UsageError

THREADS, CONNECTIONS = 4, 64
LARGEST = 64 << 10
"""Bytes of a request's head or body: nothing that is asked here is longer."""
SILENT = 30
"""Seconds after which a silent client's connection ends."""


class Serving:
    """`address` is HOST:PORT ([HOST]:PORT for IPv6; port 0: any). Raises UsageError where it can't be had."""

    def __init__(self, address: str, application: Callable[..., Any]) -> None:
        host, _, port = address.rpartition(":")
        try:
            listening = socket.create_server(
                (host.strip("[]") or "127.0.0.1", int(port)),
                family=socket.AF_INET6 if host.startswith("[") else socket.AF_INET,
            )
        except (OSError, ValueError, OverflowError) as error:
            raise UsageError(
                f"Pages and metrics can't be served on {address}: {error}.",
                remedy="Correct mm_listen, or free the port.",
            ) from error
        self.port = int(listening.getsockname()[1])
        self._map: dict[int, Any] = {}
        self._server = create_server(
            application, map=self._map, sockets=[listening], threads=THREADS, connection_limit=CONNECTIONS,
            channel_timeout=SILENT, max_request_header_size=LARGEST, max_request_body_size=LARGEST, ident=None,
            clear_untrusted_proxy_headers=True,
        )  # fmt: skip
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Serve no more."""
        self._stop.set()
        with suppress(OSError):  # it has ended by itself
            self._server.pull_trigger()
        self._thread.join(3.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            wasyncore.loop(timeout=0.5, use_poll=True, map=self._map, count=1)
        self._server.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(self._map)
