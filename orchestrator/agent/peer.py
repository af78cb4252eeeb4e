"""Who is at the other end of a Unix socket, as the kernel says (SO_PEERCRED, unix(7)), and whether that one may ask.

Invariant: nothing that the peer says of itself counts.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from typing import NamedTuple


class Peer(NamedTuple):
    """Process, user and group, by number."""

    pid: int
    uid: int
    gid: int


def peer(connection: socket.socket) -> Peer:
    """Raises OSError for a socket that isn't connected."""
    size = struct.calcsize("3i")
    return Peer(*struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)))


def may_ask(uid: int, gid: int, *, owner: int, group: int) -> bool:
    """Root, the owner and the members of the group may."""
    return uid in (0, owner) or gid == group or _is_member(uid, group)


def _is_member(uid: int, group: int) -> bool:
    try:
        return pwd.getpwuid(uid).pw_name in grp.getgrgid(group).gr_mem
    except KeyError:
        return False  # a user or a group without a name is a member of nothing


def refusal(fd: int, group: str) -> str:
    """Why who is connected at this descriptor may not speak to this process, or empty. It has to be of the group."""
    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError:
        return f"there is no group {group}"
    with socket.socket(fileno=os.dup(fd)) as connection:
        if connection.family != socket.AF_UNIX:
            return "this is no Unix socket, so nobody knows who asks"
        found = peer(connection)
    if may_ask(found.uid, found.gid, owner=os.geteuid(), group=number):
        return ""
    return f"user {found.uid} (process {found.pid}) isn't in the group {group}"
