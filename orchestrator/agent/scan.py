"""The scanner: the store as it stands, folder by folder, merged into the change log.

Hints mark folders; the truth is the listing. Additions and renames are taken from any
listing; what is missing counts only when the listing held still, and becomes a removal only
when no folder of its account is still waiting to be scanned: a message that moved is then
always found in its new place before it is missed in its old one (DESIGN section 6).

Invariant: memory follows the largest folder, not the store. An account whose own directory
is gone is never a removal of anything.
"""

from __future__ import annotations

import errno
import os
import time
from collections import OrderedDict
from typing import Callable, Dict, List, Optional, Set, Tuple

from . import beneath, maildir, names
from .accounts import Accounts
from .agenda import UNSTABLE_TRIES, Agenda
from .beneath import Outside, Root
from .delta import Listing, compare, digest
from .log import Log, Placement
from .maildir import ABSENT
from .removals import Removals
from .sidecar import GONE, look, settled, signature
from .tree import Folder, Tree

DIRECTORY, MESSAGES = 1, 2
SMALL = 16
"""Listing a folder costs about as much for so many of its messages as looking at one by its name: 4 us each, 80 us."""
MAX_NAMED = 500
UNREADABLE = "can't be read: "


class Scanner:
    """One store's scanner. One thread; every call does one small piece."""

    def __init__(self, root: Root, log: Log, accounts: Optional[str], follow: Callable[[bytes], None]) -> None:
        self.root = root
        self.log = log
        self.window_ns = maildir.settle_window(root.device)
        self.problems: "OrderedDict[Tuple[bytes, bytes], str]" = OrderedDict()
        self._formats = maildir.Formats()
        self._accounts = Accounts(accounts)
        self.agenda = Agenda(surveying=not log.meta.get("scanned"))
        self._unsettled: Set[bytes] = set()  # accounts with something missing
        self.tree = Tree(log, follow, self._moved)
        self.removals = Removals(self.tree, log)
        if b"" not in self.tree.by_path:
            self.enqueue(self.tree.adopt(b"", os.fstat(root.fd)), DIRECTORY)

    # --- what is to be done -----------------------------------------------------------

    def audit(self) -> None:
        """Have every folder looked at: a stat of each directory and sidecar, and of nothing else unless it changed."""
        for fid, name, sidecar in self.log.take_later():
            self.again(fid, name, sidecar)
        for folder in self.tree.by_fid.values():
            folder.unstable = 0  # it may hold still by now
            self.enqueue(folder, 0)

    def hint(self, directory: bytes, name: bytes, vanished_by: Optional[bytes], removed: bool) -> None:
        """Something happened to `name` in `directory`; mark what it may concern."""
        parent, _, last = directory.rpartition(b"/")
        folder = self.tree.by_path.get(parent) if last in (b"new", b"cur") else None
        if folder is not None and folder.maildir:
            if removed and vanished_by is not None:
                self.removals.by_service(folder.path, names.split(name)[0])
            few = len(folder.named) < min(MAX_NAMED, folder.messages // SMALL)
            if name and few and not folder.dirty & MESSAGES:
                folder.named.add(last + b"/" + name)
                self.enqueue(folder, 0)
            else:
                self.enqueue(folder, MESSAGES)
            return
        here = self.tree.nearest(directory)
        if removed and vanished_by is not None and here.path == directory:
            self.removals.by_service(here.path, name)
        self.enqueue(here, DIRECTORY)

    def _moved(self, folder: Folder) -> None:
        self.root.forget(folder.path)
        self.enqueue(folder, DIRECTORY)

    def enqueue(self, folder: Folder, what: int, due: float = 0.0) -> None:
        """Have a folder scanned: `what` is DIRECTORY, MESSAGES or both; 0 for whatever its signatures tell."""
        folder.dirty |= what
        self.agenda.add(folder, due)

    @property
    def missing_accounts(self) -> List[bytes]:
        """Accounts whose own directory is gone. Nothing of theirs is removed until they are retired."""
        return sorted(f.path for f in self.tree.by_fid.values() if f.gone and f.path == f.account)

    @property
    def unread(self) -> bool:
        """Whether something couldn't be read, so that the log lacks it."""
        return self.log.has_later() or any(what.startswith(UNREADABLE) for what in self.problems.values())

    @property
    def pending(self) -> bool:
        """Whether a folder waits to be scanned or an account to be settled."""
        return not self.agenda.empty or bool(self._unsettled)

    def step(self) -> Optional[float]:
        """Scan one folder, or settle one account; the seconds until the next call (None: nothing to do)."""
        now = time.monotonic()
        taken = self.agenda.take(now)
        if taken is not None:
            folder, read = taken
            if folder.fid in self.tree.by_fid:
                self.agenda.looking = True
                try:
                    self._scan(folder, read)
                finally:
                    self.agenda.looking = False
            return 0.0
        for account in self._unsettled - self.agenda.waiting_accounts:
            self._unsettled.discard(account)
            self.removals.settle(account)
            return 0.0
        return self.agenda.delay(now)

    # --- one folder -------------------------------------------------------------------

    def _scan(self, folder: Folder, read: bool) -> None:
        """Look at a folder; unless `read`, its messages are looked at later, when every directory is known."""
        try:
            fd = self.root.held(folder.path)
        except (FileNotFoundError, NotADirectoryError, Outside):
            self._lost(folder)
            return
        dirty, folder.dirty = folder.dirty, 0
        named, folder.named = folder.named, set()
        try:
            found = os.fstat(fd)
            if found.st_ino != folder.inode or not found.st_nlink:
                # Another directory under a known path, or one that was removed and that a descriptor keeps
                # (it reads as empty): what became of it must be looked up from above.
                self.root.forget(folder.path)
                self._lost(folder)
                return
            folder.gone = False
            self.problems.pop((folder.path, b""), None)
            sig = maildir.signature(found)
            if sig != folder.dir_sig or dirty & DIRECTORY:
                self._scan_directory(folder, fd, found)
            else:
                self._scan_sidecars(folder, fd)
            if folder.maildir and read:
                self._scan_messages(folder, fd, bool(dirty & MESSAGES), named)
            elif folder.maildir:
                folder.dirty |= dirty & MESSAGES
                folder.named |= named
                self.agenda.add_messages(folder)
        except Outside as error:
            self._unreadable(folder, str(error))
        except OSError as error:
            folder.vanishing += 1
            if error.errno not in (errno.ENOENT, errno.ENOTDIR) or folder.vanishing > UNSTABLE_TRIES:
                self._unreadable(folder, str(error.strerror))
            else:
                self.root.forget(folder.path)
                self.enqueue(folder, DIRECTORY | MESSAGES, time.monotonic() + 0.02)
        finally:
            os.close(fd)

    def _unreadable(self, folder: Folder, why: str) -> None:
        """Tell of a folder that can't be looked at, and look again with the next audit."""
        self.root.forget(folder.path)
        folder.dir_sig = ABSENT
        self.problem(folder.path, b"", f"{UNREADABLE}{why}")

    def _lost(self, folder: Folder) -> None:
        """A followed directory isn't there. Its parent's listing tells a rename; only a whole,
        settled look at the account makes it a removal."""
        self.root.forget(folder.path)
        if folder.fid not in self.tree.by_fid:
            return
        if folder.path != folder.account and folder.account:
            self._unsettled.add(folder.account)
        if folder.gone:
            return
        folder.gone = True
        parent = self.tree.by_path.get(folder.path.rpartition(b"/")[0])
        if parent is not None and parent is not folder and not parent.gone:
            self.enqueue(parent, DIRECTORY)

    def _scan_directory(self, folder: Folder, fd: int, found: os.stat_result) -> None:
        """List a folder's own directory: its subfolders and sidecars."""
        for part in (b"/new", b"/cur"):
            self.root.forget(folder.path + part)  # they may be other directories by now
        here = maildir.list_directory(fd)
        after = maildir.signature(os.fstat(fd))
        stable = after == maildir.signature(found) and maildir.settled([after], self.window_ns)
        self._formats.note(folder.path, folder.account, fd, here)
        for odd in here.odd:
            self.problem(folder.path, odd, "is neither file nor directory: not read")
        becomes = here.is_maildir and not folder.maildir and (folder.account or self._accounts.may_be(folder.path))
        if becomes and self.tree.become_maildir(folder):
            self._unsettled.add(folder.account)  # one of those that it took in may have gone by now
        for name in here.folders:
            self._meet(folder, name, here.folders[name], fd)
        for path in self.tree.children(folder):
            if path.rpartition(b"/")[2] not in here.folders and not self.tree.by_path[path].gone:
                self.root.forget(path)  # a kept descriptor would show what it was
                self.enqueue(self.tree.by_path[path], DIRECTORY, time.monotonic() + (0 if stable else 0.02))
        # Files outside the accounts travel only where the whole root was declared, not with a glob.
        files = here.files if folder.account or self._accounts.are_all else {}
        known = self._sidecar_pass(folder, fd, list(files))
        gone = known - files.keys()
        folder.missing_sidecars = {name for name in gone if not names.is_uidlist(name)} if stable else set()
        if gone and stable:
            self._unsettled.add(folder.account)
        elif gone:
            self.enqueue(folder, DIRECTORY, time.monotonic() + 0.02)
        if (found.st_mode & 0o7777, found.st_uid, found.st_gid) != (folder.mode, folder.owner, folder.group):
            folder.mode, folder.owner, folder.group = found.st_mode & 0o7777, found.st_uid, found.st_gid
            folder.seq = self.log.tick()
        folder.dir_sig = after if stable else ABSENT
        self.log.put_folder(folder.row())

    @property
    def foreign(self) -> Dict[bytes, str]:
        """Directories that hold another mailbox format than Maildir, and which."""
        return self._formats.found(self.tree.accounts())

    def _scan_sidecars(self, folder: Folder, fd: int) -> None:
        """Look at the known sidecars: an append to one doesn't touch its directory's times."""
        before = self.log.sidecars(folder.fid)
        self._sidecar_pass(folder, fd, list(before))

    def _sidecar_pass(self, folder: Folder, fd: int, present: List[bytes]) -> Set[bytes]:
        """Merge the named sidecars into the log; the names that it knew before."""
        before = self.log.sidecars(folder.fid)
        for name in sorted(present, key=names.sidecar_rank):
            sig = signature(fd, name)
            was = before.get(name)
            if was is not None and was.sig == sig:
                continue
            if not names.is_uidlist(name) and not settled(sig, self.window_ns):
                # Somebody may be writing in place: what is read now counts, and it is read once more.
                sig = GONE
                self.enqueue(folder, 0, time.monotonic() + self.window_ns / 1e9)
            outcome = look(fd, name, was)
            key = (folder.path, name)
            if isinstance(outcome, str):
                self.problem(folder.path, name, outcome)
                continue
            self.problems.pop(key, None)
            if outcome is None:
                continue
            row = outcome._replace(fid=folder.fid, sig=sig)
            same = was is not None and row[3:15] == was[3:15]
            self.log.put_sidecar(row._replace(seq=was.seq if same and was is not None else self.log.tick()))
        return set(before)

    # --- folders that appear, move and go ---------------------------------------------

    def _meet(self, parent: Folder, name: bytes, inode: int, fd: int) -> None:
        """A subdirectory was listed: known, renamed, or new."""
        path = parent.path + b"/" + name if parent.path else name
        known = self.tree.by_path.get(path)
        if known is not None and known.inode == inode:
            return
        if not parent.account and not self._accounts.may_be_at_or_below(path):
            return
        try:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        twin = self.tree.by_inode.get(inode)
        if twin is not None and twin.path != path and twin.account == parent.account and not self._stands(twin):
            if known is not None:
                self.tree.displace(known)
                self._unsettled.add(known.account)
            self.root.forget(twin.path)
            self.tree.move(twin, path)
            return
        if known is not None:
            self.tree.replaced(known, inode)
            self.root.forget(path)
            self.enqueue(known, DIRECTORY | MESSAGES)
            return
        self.enqueue(self.tree.adopt(path, found, parent.account), DIRECTORY | MESSAGES)

    def _stands(self, folder: Folder) -> bool:
        """Whether the folder's directory is still where it was."""
        self.root.forget(folder.path)
        try:
            return os.fstat(self.root.open_dir(folder.path)).st_ino == folder.inode
        except (OSError, Outside):
            return False

    # --- messages ---------------------------------------------------------------------

    def _scan_messages(self, folder: Folder, fd: int, force: bool, named: Set[bytes]) -> None:
        new_fd, cur_fd = (self.root.open_dir(folder.path + part) for part in (b"/new", b"/cur"))
        found = [os.fstat(each) for each in (new_fd, cur_fd)]
        if not all(each.st_nlink for each in found):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        folder.vanishing = 0
        before = [maildir.signature(each) for each in found]
        if named and not force and self._look_at(folder, new_fd, cur_fd, named):
            return
        if not force and not named and before == [folder.new_sig, folder.cur_sig]:
            return
        listed, twice, odd = maildir.list_messages(new_fd, cur_fd)
        after = [maildir.signature(os.fstat(each)) for each in (new_fd, cur_fd)]
        still = before == after
        stable = still and maildir.settled(after, self.window_ns)
        for name in odd:
            self.problem(folder.path, name, "isn't a regular file: not read")
        if stable:
            for base in twice:
                self.problem(folder.path, base, "stands twice in this folder; the copy in cur counts")
        known = self.log.listing(folder.fid)
        change = compare(known, listed)
        self._add(folder, sorted(change.added + change.replaced), listed, known, new_fd, cur_fd)
        self._rename(folder, change.renamed, listed, known, (new_fd, cur_fd))
        folder.missing = set(change.missing) if stable else set()
        if folder.missing:
            self._unsettled.add(folder.account)
        folder.unstable = 0 if stable or not change.missing else folder.unstable + 1
        folder.new_sig, folder.cur_sig = after if stable else (ABSENT, ABSENT)
        if change.missing and not stable:
            self.enqueue(folder, MESSAGES, time.monotonic() + self.window_ns / 1e9 * min(folder.unstable, 50))
            self._unsettled.add(folder.account)
        self.log.put_folder(folder.row())

    def _look_at(self, folder: Folder, new_fd: int, cur_fd: int, named: Set[bytes]) -> bool:
        """Look only at the names that hints told; False if that can't be enough."""
        listed = {}
        lost = set()
        for name in named:
            sub, _, file = name.partition(b"/")
            base, info = names.split(file)
            inode = maildir.signature_at(cur_fd if sub == b"cur" else new_fd, file)[2]
            if inode and base:
                listed[base] = (int(sub == b"cur"), info, inode)
            elif base:
                lost.add(base)
        rows = {base: self.log.placement(folder.fid, base) for base in listed}
        known = {base: (row.sub, row.info, row.inode) for base, row in rows.items() if row is not None}
        change = compare(known, listed)
        self._add(folder, change.added + change.replaced, listed, known, new_fd, cur_fd)
        self._rename(folder, change.renamed, listed, known, (new_fd, cur_fd))
        folder.missing -= listed.keys()
        folder.new_sig = folder.cur_sig = ABSENT
        self.log.put_folder(folder.row())
        return not any(base not in listed and self.log.placement(folder.fid, base) is not None for base in lost)

    def _add(
        self, folder: Folder, bases: List[bytes], listed: Listing, known: Listing, new_fd: int, cur_fd: int
    ) -> None:
        """Messages that weren't here, or whose file was replaced."""
        found: Dict[bytes, os.stat_result] = {}
        for base in bases:
            sub, info, _ = listed[base]
            try:
                here = os.stat(base + info, dir_fd=cur_fd if sub else new_fd, follow_symlinks=False)
            except FileNotFoundError:
                self.enqueue(folder, MESSAGES, time.monotonic() + 0.001)
                continue
            if maildir.is_regular(here):
                found[base] = here
        first = not folder.messages and not self.log.meta.get("scanned")
        inodes = {} if first else {base: here.st_ino for base, here in found.items()}
        twins = self.log.twins(self.tree.siblings(folder), inodes)
        rows = []
        for base, here in found.items():
            sub, info, _ = listed[base]
            if base in known:
                folder.digest ^= digest(base, known[base][0], known[base][1])
                folder.messages -= 1
            folder.digest ^= digest(base, sub, info)
            folder.messages += 1
            rows.append(
                Placement(
                    folder.fid, base, sub, info, here.st_ino, here.st_size, here.st_mtime_ns,
                    here.st_mode & 0o7777, here.st_uid, here.st_gid, twins.get(base), self.log.tick(), here.st_ctime_ns,
                )
            )  # fmt: skip
        if rows:
            self.log.put_placements(rows, fresh=True)
            self.log.put_folder(folder.row())

    def _rename(
        self, folder: Folder, bases: List[bytes], listed: Listing, known: Listing, fds: Tuple[int, int]
    ) -> None:
        rows = []
        for base in bases:
            sub, info, _ = listed[base]
            folder.digest ^= digest(base, known[base][0], known[base][1]) ^ digest(base, sub, info)
            changed = maildir.signature_at(fds[sub], base + info)[1]
            rows.append((sub, info, changed, self.log.tick(), folder.fid, base))
        if rows:
            self.log.rename_placements(rows)

    def again(self, fid: int, name: bytes, sidecar: bool = False) -> None:
        """Offer something anew, as it is by now: what was offered couldn't be read or wasn't taken."""
        folder = self.tree.by_fid.get(fid)
        if folder is None:
            return
        if sidecar:
            row = self.log.sidecars(fid).get(name)
            if row is not None:
                self.log.put_sidecar(row._replace(sig=GONE, seq=self.log.tick()))
            self.enqueue(folder, DIRECTORY)
            return
        placement = self.log.placement(fid, name)
        if placement is None:
            return
        part = b"/cur" if placement.sub else b"/new"
        try:
            found = beneath.stat(self.root.open_dir(folder.path + part), placement.base + placement.info)
        except (OSError, Outside):
            self.enqueue(folder, MESSAGES)
            return
        fresh = placement._replace(
            inode=found.st_ino, size=found.st_size, mtime=found.st_mtime_ns, mode=found.st_mode & 0o7777,
            owner=found.st_uid, group=found.st_gid, seq=self.log.tick(), changed=found.st_ctime_ns,
        )  # fmt: skip
        self.log.put_placements([fresh], fresh=False)

    # --- telling ----------------------------------------------------------------------

    def problem(self, folder: bytes, name: bytes, what: str) -> None:
        self.problems[folder, name] = what
        while len(self.problems) > 1000:
            self.problems.popitem(last=False)
