"""The folders of a store that the source follows: where each stands and whose it is.

A folder is known by its id (`fid`), which stays the same when it is renamed: its directory's
inode tells a rename, so that nothing in it is read or sent again.

Invariant: every known path has one folder, and every change of a folder is in the change log.
This module reads no directory; the scanner tells it what it found.
"""

from __future__ import annotations

import os
from typing import Callable, Dict, Iterator, List, Set, Tuple

from .log import FolderRow, Log
from .maildir import ABSENT, Signature


class Folder:
    """A directory that is followed: a Maildir folder, or one that only holds sidecars."""

    __slots__ = (
        "account", "cur_sig", "digest", "dir_sig", "dirty", "due", "fid", "gone", "group", "inode", "maildir",
        "messages", "missing", "missing_sidecars", "mode", "named", "new_sig", "owner", "path", "seq", "unstable",
        "vanishing",
    )  # fmt: skip

    def __init__(self, row: FolderRow) -> None:
        self.fid, self.account, self.path, self.maildir = row.fid, row.account, row.path, bool(row.maildir)
        self.inode, self.mode, self.owner, self.group = row.inode, row.mode, row.owner, row.group
        self.dir_sig, self.new_sig, self.cur_sig = (sig_of(s) for s in (row.dir_sig, row.new_sig, row.cur_sig))
        self.digest, self.messages, self.seq = row.digest, row.messages, row.seq
        self.dirty = 0
        self.due = 0.0
        self.named: Set[bytes] = set()  # names that hints told, while they suffice
        self.missing: Set[bytes] = set()
        self.missing_sidecars: Set[bytes] = set()
        self.gone = False
        self.unstable = 0  # listings that missed something and didn't hold still
        self.vanishing = 0  # looks in which its new or cur wasn't there

    def row(self) -> FolderRow:
        # What is missed but isn't a removal yet is known in memory only: who starts anew has to list this again.
        dir_sig = ABSENT if self.missing_sidecars else self.dir_sig
        new_sig, cur_sig = (ABSENT, ABSENT) if self.missing else (self.new_sig, self.cur_sig)
        sigs = (sig_text(dir_sig), sig_text(new_sig), sig_text(cur_sig))
        return FolderRow(
            self.fid, self.account, self.path, int(self.maildir), self.inode, self.mode, self.owner, self.group,
            *sigs, self.digest, self.messages, self.seq,
        )  # fmt: skip


def sig_of(text: str) -> Signature:
    a, b, c = text.split()
    return int(a), int(b), int(c)


def sig_text(sig: Signature) -> str:
    return "%d %d %d" % sig


class Tree:
    """Every followed folder. `follow(path)` is called for each directory that is to be watched;
    `changed(folder)` for one that has to be scanned."""

    def __init__(self, log: Log, follow: Callable[[bytes], None], changed: Callable[[Folder], None]) -> None:
        self._log = log
        self._follow = follow
        self._changed = changed
        self.by_fid: Dict[int, Folder] = {}
        self.by_path: Dict[bytes, Folder] = {}
        self.by_inode: Dict[int, Folder] = {}
        self.of_account: Dict[bytes, Set[int]] = {}
        self._above: Set[bytes] = set()  # where folders were seen directly below that no account held
        for row in log.folders():
            folder = Folder(row)
            self._know(folder)
            self._watch(folder)

    def nearest(self, path: bytes) -> Folder:
        """The folder at `path`, or the nearest known one above it."""
        while path not in self.by_path:
            path = path.rpartition(b"/")[0]
        return self.by_path[path]

    def siblings(self, folder: Folder) -> Set[int]:
        """The ids of the account's other folders."""
        return self.of_account.get(folder.account, set()) - {folder.fid}

    def children(self, folder: Folder) -> List[bytes]:
        """Paths of the known folders directly below. The account's size bounds the search."""
        prefix = folder.path + b"/" if folder.path else b""
        if folder.account:
            fids = self.of_account.get(folder.account, set())
            paths = [self.by_fid[fid].path for fid in fids]
        else:
            paths = list(self.by_path)
        return [p for p in paths if p.startswith(prefix) and p != folder.path and b"/" not in p[len(prefix) :]]

    def accounts(self) -> Iterator[bytes]:
        return (account for account, fids in self.of_account.items() if account and fids)

    def totals(self) -> Tuple[int, int, int]:
        """(accounts, folders, messages)."""
        folders = [folder for folder in self.by_fid.values() if folder.maildir]
        return sum(1 for _ in self.accounts()), len(folders), sum(folder.messages for folder in folders)

    def displace(self, folder: Folder) -> None:
        """Another directory took a known folder's path; it stays known, to be found again or missed."""
        del self.by_path[folder.path]
        hidden = folder.path + b"\0%d" % folder.fid
        folder.path = hidden
        folder.gone = True
        self.by_path[hidden] = folder
        self._log.put_folder(folder.row())

    def replaced(self, folder: Folder, inode: int) -> None:
        """Another directory stands under a folder's path (a restored copy): the same folder, to be read anew."""
        self.by_inode.pop(folder.inode, None)
        folder.inode = inode
        folder.gone = False
        folder.dir_sig = folder.new_sig = folder.cur_sig = ABSENT
        self.by_inode[inode] = folder
        self._watch(folder)
        self._log.put_folder(folder.row())

    def adopt(self, path: bytes, found: os.stat_result, account: bytes = b"") -> Folder:
        """A new directory."""
        fid = self._log.new_fid()
        row = FolderRow(
            fid, account, path, 0, found.st_ino, found.st_mode & 0o7777, found.st_uid, found.st_gid,
            sig_text(ABSENT), sig_text(ABSENT), sig_text(ABSENT), 0, 0, self._log.tick(),
        )  # fmt: skip
        folder = Folder(row)
        self._know(folder)
        self._watch(folder)
        self._log.put_folder(row)
        return folder

    def move(self, folder: Folder, path: bytes) -> None:
        """A folder got another path, and with it all below it. Nothing in it is read again."""
        old = folder.path
        below = [f for f in self.by_fid.values() if f.path == old or f.path.startswith(old + b"/")]
        for each in below:
            del self.by_path[each.path]
        for each in below:
            each.path = path + each.path[len(old) :]
            if each.account and (each.account + b"/").startswith(old + b"/"):
                self._give(each, path + each.account[len(old) :])
            each.seq = self._log.tick()
            each.gone = False
            self.by_path[each.path] = each
            self._note_above(each)
            self._watch(each)
            self._log.put_folder(each.row())
            self._changed(each)

    def watch(self, path: bytes) -> None:
        """Follow the directory that appeared at a path, if it is a folder's own, its new or its cur."""
        parent, _, last = path.rpartition(b"/")
        if path in self.by_path:
            self._watch(self.by_path[path])
        elif last in (b"new", b"cur") and parent in self.by_path:
            self._follow(path)

    def _watch(self, folder: Folder) -> None:
        self._follow(folder.path)
        if folder.maildir:
            self._follow(folder.path + b"/new")
            self._follow(folder.path + b"/cur")

    def become_maildir(self, folder: Folder) -> bool:
        """A followed directory turned out to be a Maildir; the topmost one is an account. Whether it took others in."""
        folder.maildir = True
        taken = False
        if not folder.account:
            self._give(folder, folder.path)
            taken = folder.path in self._above and self._take_in(folder)
        folder.seq = self._log.tick()
        self._watch(folder)
        return taken

    def _take_in(self, top: Folder) -> bool:
        """What was seen before the Maildir that it belongs to was made: no user's Sent is an account for itself.

        A Maildir below that isn't named as a Maildir++ folder stays the account that it was: should a stray Maildir
        appear above a domain's accounts, one that vanishes must not become a removal.
        """
        prefix = top.path + b"/"
        below = sorted((f for f in self.by_fid.values() if f.path.startswith(prefix)), key=lambda each: each.path)
        early = {f.path for f in below if f.path == f.account and f.path.startswith(prefix + b".")}
        taken = [f for f in below if not f.account or f.account in early]
        for each in taken:
            self._give(each, top.path)
            each.seq = self._log.tick()
            self._log.put_folder(each.row())
        return bool(taken)

    def _give(self, folder: Folder, account: bytes) -> None:
        self.of_account[folder.account].discard(folder.fid)
        folder.account = account
        self.of_account.setdefault(account, set()).add(folder.fid)

    def _know(self, folder: Folder) -> None:
        self.by_fid[folder.fid] = folder
        self.by_path[folder.path] = folder
        self.by_inode[folder.inode] = folder
        self.of_account.setdefault(folder.account, set()).add(folder.fid)
        self._note_above(folder)

    def _note_above(self, folder: Folder) -> None:
        if folder.account in (b"", folder.path):
            self._above.add(folder.path.rpartition(b"/")[0])

    def forget(self, folder: Folder) -> None:
        del self.by_fid[folder.fid]
        self.by_path.pop(folder.path, None)
        if self.by_inode.get(folder.inode) is folder:
            del self.by_inode[folder.inode]
        self.of_account.get(folder.account, set()).discard(folder.fid)
