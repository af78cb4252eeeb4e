"""Whose files are, on a passive place: owner, mode and time as the source has them, as far as this process may.

Invariant: nothing is given to root that wasn't root's at the source, or that the operator named; who isn't root keeps
the owner that a new file gets.
"""

from __future__ import annotations

import grp
import os
import pwd
from functools import lru_cache
from typing import Dict, Iterable, Optional, Tuple

from .install import SidecarRow
from .serve import Fault


class Owner:
    """Sets owner, mode and time as far as this process may.

    `how` is "name" (the source's names, its numbers where a name is unknown here), "number", or
    USER:GROUP for everything. Raises Fault for a user or group that this host doesn't have.
    """

    def __init__(self, how: str) -> None:
        self._may = os.geteuid() == 0
        self._by_name = how == "name"
        self._fixed: Optional[Tuple[int, int]] = None
        self._users: Dict[int, int] = {}
        self._groups: Dict[int, int] = {}
        if ":" in how:
            user, _, group = how.partition(":")
            try:
                self._fixed = (pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)
            except KeyError as error:
                raise Fault("owner", f"mm_owner {how}: {error.args[0]}", "Create it on this host.") from error

    def learn(self, users: Dict[str, str], groups: Dict[str, str]) -> None:
        """What the source's numbers are called there."""
        if not self._by_name:
            return
        for number, name in users.items():
            try:
                self._users[int(number)] = pwd.getpwnam(name).pw_uid
            except KeyError:
                self._users[int(number)] = int(number)
        for number, name in groups.items():
            try:
                self._groups[int(number)] = grp.getgrnam(name).gr_gid
            except KeyError:
                self._groups[int(number)] = int(number)

    def _own(self, fd: int, owner: int, group: int) -> None:
        if self._may:
            local = self._fixed or (self._users.get(owner, owner), self._groups.get(group, group))
            if local != (0, 0):
                os.fchown(fd, *local)

    def directory(self, fd: int, mode: int, owner: int, group: int) -> None:
        self._own(fd, owner, group)
        os.fchmod(fd, mode)

    def file(self, fd: int, mode: int, owner: int, group: int, mtime: int) -> None:
        self._own(fd, owner, group)
        if mode != 0o600:
            os.fchmod(fd, mode)
        os.utime(fd, ns=(mtime, mtime))

    def sidecar(self, fd: int, row: SidecarRow) -> None:
        self.file(fd, row.mode, row.owner, row.group, row.mtime)


def names_of(users: Iterable[int], groups: Iterable[int]) -> Dict[str, Dict[str, str]]:
    """What numbers are called here, as `Owner.learn` takes it; those without a name are left out."""
    called = {"users": {str(uid): _user(uid) for uid in users}, "groups": {str(gid): _group(gid) for gid in groups}}
    return {what: {number: name for number, name in found.items() if name} for what, found in called.items()}


@lru_cache(maxsize=4096)
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


@lru_cache(maxsize=4096)
def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""
