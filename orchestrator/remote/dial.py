"""The TCP connection below SSH, and when to try for another.

Invariant: a dead peer is found by the kernel too, within a quarter of a minute, whether or not
something is on its way (a heartbeat above finds it sooner). Knows nothing of SSH.
"""

from __future__ import annotations

import random
import socket

from orchestrator.errors import HostUnreachable
from orchestrator.inventory import Host

CONNECT = 10.0
"""Seconds for the TCP connection."""
UNSENT = 256 << 10
"""Bytes that may wait in the socket unsent: a PING isn't stuck behind more."""
KEEPALIVE_IDLE, KEEPALIVE_EVERY, KEEPALIVE_TIMES, USER_TIMEOUT = 15, 5, 3, 10_000
"""Seconds, seconds, probes, milliseconds: the kernel's own search for a dead peer, behind the heartbeat's."""
BUSY = (
    "Look at sshd's log there: too many connections at once (MaxStartups) or earlier failures (PerSourcePenalties) "
    "make it refuse an address for a while."
)


def backoff(attempt: int, rng: random.Random) -> float:
    """Seconds to wait before trying to connect again; `attempt` counts the failures so far, from 1.

    Doubles up to a minute, with jitter, so that many links don't come back at once. Never less than a second:
    sshd's PerSourcePenalties count one for each connection that ends before its login, and act at fifteen.
    """
    return rng.uniform(1.0, 1.5) * min(60.0, 2.0 ** min(attempt - 1, 6))


def dial(host: Host) -> socket.socket:
    """A TCP connection with the options that find a dead peer. Raises HostUnreachable."""
    where = f"{host.address} port {host.port}"
    try:
        sock = socket.create_connection((host.address, host.port), timeout=CONNECT)
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise HostUnreachable(f"{host.name}: can't connect to {where}: {reason}") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_EVERY)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_TIMES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    return sock
