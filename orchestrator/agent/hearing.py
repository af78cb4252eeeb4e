"""The guards' UDP port: bound once, and kept by systemd while the guard is started anew; what systemd is told.

The port isn't privileged: whoever bound it between a guard's end and its next start would keep that guard away, and so
take a granter from the pair. So the socket lies in systemd's store meanwhile (`FileDescriptorStoreMax=1` in the unit),
and the next guard is handed it. Only while the unit is stopped is the port free; a guard that finds it taken then says
so, and tries until it is free.

Invariant: a socket that is handed down is used only if it is bound as the settings say. What has arrived in it
meanwhile is as a datagram that was long on its way. Sources: sd_notify(3), sd_listen_fds(3).
"""

from __future__ import annotations

import array
import errno
import os
import socket
import sys
import time
from typing import Optional

NAME = "guards"
AGAIN = 0.1
_FIRST = 3  # the number of the first descriptor that systemd hands down


def bound(listen: str, port: int) -> socket.socket:
    """The socket that the guard before this one left, else a new one; `listen` "" is every address. Raises OSError."""
    kept, said = _handed_down(), False
    if kept is not None:
        address, at = kept.getsockname()[:2]
        if at == port and address in ([listen] if listen else ["::", "0.0.0.0"]):
            kept.setblocking(False)
            return kept
        kept.close()
        notify(f"FDSTOREREMOVE=1\nFDNAME={NAME}")  # the settings have changed
    while True:
        try:
            udp = _new(listen, port)
            break
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        if not said:
            said = True
            sys.stderr.write(f"another process has UDP port {port}; waiting for it (ss -ulnp 'sport = {port}')\n")
            sys.stderr.flush()
        time.sleep(AGAIN)
    udp.setblocking(False)
    notify(f"FDSTORE=1\nFDNAME={NAME}\nFDPOLL=0", udp)
    return udp


def notify(word: str, handed: Optional[socket.socket] = None) -> None:
    """Tells systemd, and gives it a socket to keep; nothing where nobody asked for it."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where:
        return
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [handed.fileno()]))] if handed else []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendmsg([word.encode()], rights, 0, "\0" + where[1:] if where.startswith("@") else where)


def _handed_down() -> Optional[socket.socket]:
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDNAMES") != NAME:
        return None
    os.set_inheritable(_FIRST, False)
    return socket.socket(fileno=_FIRST)


def _new(listen: str, port: int) -> socket.socket:
    """Bound to one address, or to every one; IPv4 alone where the kernel has no IPv6."""
    if listen:
        return _at(socket.AF_INET6 if ":" in listen else socket.AF_INET, listen, port)
    try:
        return _at(socket.AF_INET6, "::", port)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
    return _at(socket.AF_INET, "0.0.0.0", port)


def _at(family: int, address: str, port: int) -> socket.socket:
    udp = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if address == "::":
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        udp.bind((address, port))
    except OSError:
        udp.close()
        raise
    return udp
