"""What went away at the source, made into removals.

What is missing comes from listings that held still; it becomes a removal when every folder of
its account has been scanned, so that a message that moved has been found in its new place.

Invariant: an account whose own directory is gone loses nothing until it is retired. A removal
that a mail user's own session made is marked as exempt from the budgets.
"""

from __future__ import annotations

from typing import List, Set, Tuple

from .delta import digest
from .log import FOLDER, MESSAGE, SIDECAR, Log, Removal
from .tree import Folder, Tree

MAX_EXEMPT = 200_000


class Removals:
    """Decides and records what went away. One thread."""

    def __init__(self, tree: Tree, log: Log) -> None:
        self._tree = tree
        self._log = log
        self._exempt: Set[Tuple[bytes, bytes]] = set()

    def by_service(self, folder: bytes, name: bytes) -> None:
        """A mail user's own session removed this: it won't count against a budget."""
        if len(self._exempt) < MAX_EXEMPT:
            self._exempt.add((folder, name))

    def settle(self, account: bytes) -> None:
        """Every folder of the account has been scanned: what is still missing, is gone."""
        home = self._tree.by_path.get(account) if account else self._tree.by_path.get(b"")
        if home is None or home.gone:
            return
        for folder in self._deepest_first(account):
            if folder.gone:
                if account and not self._under_gone_account(folder):
                    self._remove_folder(folder)
                continue
            if folder.missing:
                missing, folder.missing = folder.missing, set()
                self._remove_messages(folder, missing)
            if folder.missing_sidecars:
                names, folder.missing_sidecars = folder.missing_sidecars, set()
                self._remove_sidecars(folder, names)

    def _deepest_first(self, account: bytes) -> List[Folder]:
        """The account's folders, each before the one that holds it: so they can be taken away."""
        folders = [self._tree.by_fid[fid] for fid in self._tree.of_account.get(account, ())]
        return sorted(folders, key=lambda each: each.path, reverse=True)

    def _under_gone_account(self, folder: Folder) -> bool:
        home = self._tree.by_path.get(folder.account)
        return home is None or home.gone

    def _removal(self, folder: Folder, what: int, name: bytes, moved: bool = False) -> Removal:
        key = (folder.path, name)
        exempt = key in self._exempt
        self._exempt.discard(key)
        return Removal(self._log.tick(), folder.fid, what, name, int(moved), int(exempt), folder.account)

    def _remove_messages(self, folder: Folder, bases: Set[bytes]) -> None:
        known = self._log.listing(folder.fid)
        gone = sorted(bases & known.keys())
        elsewhere = self._log.twins(self._tree.siblings(folder), {base: known[base][2] for base in gone})
        rows = []
        for base in gone:
            sub, info, _ = known[base]
            rows.append(self._removal(folder, MESSAGE, base, base in elsewhere))
            folder.digest ^= digest(base, sub, info)
            folder.messages -= 1
        self._log.drop_placements(folder.fid, bases)
        self._log.put_removals(rows)
        self._log.put_folder(folder.row())

    def _remove_sidecars(self, folder: Folder, names: Set[bytes]) -> None:
        rows = [self._removal(folder, SIDECAR, name) for name in sorted(names)]
        for name in names:
            self._log.drop_sidecar(folder.fid, name)
        self._log.put_removals(rows)
        self._log.put_folder(folder.row())

    def _remove_folder(self, folder: Folder) -> None:
        self._remove_messages(folder, set(self._log.listing(folder.fid)))
        self._log.put_removals([self._removal(folder, FOLDER, b"")])
        self._log.drop_folder(folder.fid)
        self._tree.forget(folder)

    def retire(self, account: bytes) -> int:
        """Let a vanished account's deletion through; how many messages that are."""
        count = 0
        for folder in self._deepest_first(account):
            if folder.gone:
                count += folder.messages
                self._remove_folder(folder)
        return count
