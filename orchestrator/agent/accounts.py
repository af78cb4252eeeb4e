"""Which directories below a root are accounts: every topmost Maildir, or those that a glob names. Pure.

Invariant: with a glob, nothing that doesn't lead to a matching path is walked, and nothing else is an account.
"""

from __future__ import annotations

import fnmatch
import os
from typing import Optional


class Accounts:
    """`glob` is the inventory's, such as "*/Maildir"; None: every topmost Maildir is an account."""

    def __init__(self, glob: Optional[str]) -> None:
        self._parts = [os.fsencode(part) for part in glob.split("/")] if glob else None

    @property
    def are_all(self) -> bool:
        """Whether the whole root was declared."""
        return self._parts is None

    def may_be_at_or_below(self, path: bytes) -> bool:
        """Whether a path leads to an account, or may be one."""
        if self._parts is None:
            return True
        parts = path.split(b"/")
        return len(parts) <= len(self._parts) and all(map(fnmatch.fnmatchcase, parts, self._parts))

    def may_be(self, path: bytes) -> bool:
        """Whether a Maildir at this path is an account, if it is a topmost one."""
        if self._parts is None:
            return True
        return path.count(b"/") + 1 == len(self._parts) and self.may_be_at_or_below(path)
