"""Does the controller itself reach the world? TCP connections to the addresses of `mm_references`, all side by side.

An answer of any kind counts, also a refusal: it came from there. TCP takes no privilege; an ICMP echo takes
net.ipv4.ping_group_range, which many hosts leave empty.

Invariant: a round ends within its seconds, whatever the network does, and leaves no socket open.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack

_ANSWERED = (0, errno.ECONNREFUSED, errno.ECONNRESET)


def reached(references: Sequence[str], seconds: float) -> dict[str, bool]:
    """ADDRESS:PORT -> whether anything came back within so many seconds."""
    found = dict.fromkeys(references, False)
    with ExitStack() as opened:
        waiting: dict[int, tuple[str, socket.socket]] = {}
        poll = select.poll()
        for reference in references:
            host, _, port = reference.rpartition(":")
            family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
            sock = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
            sock.setblocking(False)
            begun = sock.connect_ex((host.strip("[]"), int(port)))
            if begun == errno.EINPROGRESS:
                waiting[sock.fileno()] = reference, sock
                poll.register(sock, select.POLLOUT)
            else:
                found[reference] = begun in _ANSWERED
        _await(poll, waiting, found, time.monotonic() + seconds)
    return found


def _await(
    poll: select.poll, waiting: dict[int, tuple[str, socket.socket]], found: dict[str, bool], deadline: float
) -> None:
    while waiting and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            reference, sock = waiting.pop(descriptor)
            poll.unregister(descriptor)
            found[reference] = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in _ANSWERED
