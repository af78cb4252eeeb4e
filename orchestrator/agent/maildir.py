"""A Maildir on disk, read: what stands in a directory, and whether the listing held still.

Sources: cr.yp.to/proto/maildir.html; Dovecot's Maildir++ and `fs` layouts (doc.dovecot.org,
"Maildir Mailbox Format"). Reads names, and of a file outside the accounts the first bytes; opens
only what stands in a directory that the caller opened, and no link.

Invariant: `new` is listed before `cur`, and the signature is taken before and after: a
readdir that runs while names change may miss one (measured: 13 % of the scans of a busy
folder), and only equal, settled signatures make an absence believable.
"""

from __future__ import annotations

import os
import stat
import time
from typing import Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from . import beneath, names
from .delta import CUR, NEW, Listing, listing

SETTLE_NS = 20_000_000
"""Directory times older than this can be told from a change that comes now (kernel tick: up to 10 ms)."""

SETTLE_COARSE_NS = 2_000_000_000
"""The same on NFS and file systems that aren't known to keep finer times."""

FINE = frozenset(("ext2", "ext3", "ext4", "tmpfs", "xfs", "btrfs", "zfs", "f2fs", "overlay"))
"""File systems with nanosecond directory times."""

Signature = Tuple[int, int, int]
"""(mtime in ns, ctime in ns, inode) of a directory or file."""

ABSENT: Signature = (0, 0, 0)

MBOX_START = b"From "
"""How every mbox begins (RFC 4155)."""

MBOX_LOOKS = 20


class Directory(NamedTuple):
    """What stands in a folder's own directory."""

    folders: Dict[bytes, int]  # subdirectories that are walked: name -> inode
    files: Dict[bytes, int]  # regular files and links that travel: name -> inode
    odd: List[bytes]  # FIFOs, devices, sockets: never read
    is_maildir: bool
    foreign: str  # "mdbox", "sdbox" when another mailbox format stands here; for mbox ask `holds_mbox`


def signature(found: os.stat_result) -> Signature:
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def signature_at(fd: int, name: bytes) -> Signature:
    """The signature of `name` below `fd`, ABSENT when there is none. Links aren't followed."""
    try:
        return signature(os.stat(name, dir_fd=fd, follow_symlinks=False))
    except FileNotFoundError:
        return ABSENT


def settled(signatures: List[Signature], window_ns: int, now_ns: Optional[int] = None) -> bool:
    """Whether every directory last changed longer than `window_ns` ago.

    A time in the future (a clock that was set back) never settles by waiting; such a
    signature counts as settled once it is further ahead than a clock step explains away.
    """
    now = time.time_ns() if now_ns is None else now_ns
    return all(not -window_ns < now - max(mtime, ctime) < window_ns for mtime, ctime, _ in signatures)


def list_directory(fd: int) -> Directory:
    """What stands in the directory `fd`."""
    folders: Dict[bytes, int] = {}
    files: Dict[bytes, int] = {}
    odd: List[bytes] = []
    seen = set()
    foreign = ""
    with os.scandir(b"/proc/self/fd/%d" % fd) as entries:
        for entry in entries:
            name = entry.name
            if entry.is_dir(follow_symlinks=False):
                seen.add(name)
                if names.enters(name):
                    folders[name] = entry.inode()
            elif not names.travels(name):
                if name == b"dovecot.map.index":
                    foreign = "mdbox"
                elif name.startswith(b"u.") and name[2:].isdigit():
                    foreign = "sdbox"
            elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                if name.startswith(b"u.") and name[2:].isdigit():
                    foreign = "sdbox"
                files[name] = entry.inode()
            else:
                odd.append(name)
    if b"dbox-Mails" in seen:
        foreign = "sdbox"
    if {b"storage", b"mailboxes"} <= seen or (b"mdbox" in seen and _is_mdbox(fd)):
        foreign = "mdbox"
    return Directory(folders, files, odd, b"cur" in seen and b"new" in seen, foreign)


def _is_mdbox(fd: int) -> bool:
    """Whether the subdirectory `mdbox` (which isn't walked) is what Dovecot makes of one."""
    try:
        inner = os.open(b"mdbox", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    except OSError:
        return False
    try:
        return {b"storage", b"mailboxes"} <= set(beneath.entries(inner))
    finally:
        os.close(inner)


def holds_mbox(fd: int, files: Iterable[bytes]) -> bool:
    """Whether one of the files in the directory `fd` begins as an mbox does. Looks at a few of them only."""
    for name in sorted(files)[:MBOX_LOOKS]:
        try:
            file = beneath.open_file(fd, name)
        except (OSError, beneath.Outside, beneath.NotRegular):
            continue
        try:
            if os.read(file, len(MBOX_START)) == MBOX_START:
                return True
        finally:
            os.close(file)
    return False


class Formats:
    """Which directories hold mail in another format. An mbox counts only outside the accounts, and only where no
    Maildir is below or beside it: elsewhere it is some file that a user keeps."""

    def __init__(self) -> None:
        self._boxes: Dict[bytes, str] = {}
        self._mboxes: Set[bytes] = set()

    def note(self, path: bytes, account: bytes, fd: int, here: Directory) -> None:
        """Take what a listing of the directory `fd` at `path` says, in place of what was known of it."""
        self._boxes.pop(path, None)
        self._mboxes.discard(path)
        if here.foreign:
            self._boxes[path] = here.foreign
        elif not account and not here.is_maildir and holds_mbox(fd, here.files):
            self._mboxes.add(path)

    def found(self, accounts: Iterable[bytes]) -> Dict[bytes, str]:
        """Path -> format."""
        if not self._mboxes:
            return dict(self._boxes)
        known = list(accounts)
        alone = (path for path in self._mboxes if not any(_is_near(account, path) for account in known))
        return {**self._boxes, **dict.fromkeys(alone, "mbox")}


def _is_near(account: bytes, path: bytes) -> bool:
    """Whether an account is below `path` or below what holds it."""
    around = path.rpartition(b"/")[0] or path
    return not around or account == around or account.startswith(around + b"/")


def list_messages(new_fd: int, cur_fd: int) -> Tuple[Listing, List[bytes], List[bytes]]:
    """(listing, base names that stood twice, names that aren't regular files)."""
    entries: List[Tuple[bytes, bytes, int, int]] = []
    odd: List[bytes] = []
    for sub, fd in ((NEW, new_fd), (CUR, cur_fd)):
        with os.scandir(b"/proc/self/fd/%d" % fd) as found:
            for entry in found:
                name = entry.name
                if name[:1] == b".":
                    continue
                base, colon, flags = name.partition(b":")
                if not base:
                    continue
                if not entry.is_file(follow_symlinks=False):
                    odd.append(name)
                    continue
                entries.append((base, colon + flags, entry.inode(), sub))
    found_listing, twice = listing(entries)
    return found_listing, twice, odd


def is_regular(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode)


def settle_window(device: int) -> int:
    """How long ago a directory must have changed for its listing to count, by the file system on `device` (st_dev)."""
    try:
        with open("/proc/self/mountinfo") as mounts:
            number = f"{os.major(device)}:{os.minor(device)}"
            kinds = [line.split(" - ", 1)[1].split()[0] for line in mounts if line.split()[2] == number]
    except (OSError, IndexError):
        kinds = []
    fine = kinds and kinds[-1] in FINE
    return SETTLE_NS if fine else SETTLE_COARSE_NS
