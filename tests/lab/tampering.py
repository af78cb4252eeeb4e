"""What is planted beneath a Dovecot, so that the outside client's verdict can be tried: one fault a function.

Each changes the Maildir, uidlist or indexes of one account, as a broken copier or a careless hand would.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tests.lab.oracle import letter
from tests.lab.oracle.stand import VMAIL

SEED = 5


def messages(maildir: Path, folder: str = "") -> dict[str, Path]:
    """Identity -> file, of one folder."""
    files = [path for part in ("cur", "new") for path in (maildir / folder / part).iterdir()]
    return {letter.identity(path.read_bytes()): path for path in files}


def identity(maildir: Path, number: int) -> str:
    return f"s{SEED}-{maildir.name}-{number}"


def owned(path: Path) -> None:
    os.chown(path, VMAIL, VMAIL)


def drop_indexes(maildir: Path) -> None:
    for path in maildir.glob("dovecot.index*"):
        path.unlink()


def edit_uidlist(maildir: Path, change: Callable[[str], str]) -> None:
    """As a copier that replaces the file; without indexes, so that Dovecot believes it."""
    uidlist = maildir / "dovecot-uidlist"
    new = maildir / "dovecot-uidlist.new"
    new.write_text(change(uidlist.read_text()))
    owned(new)
    new.rename(uidlist)
    drop_indexes(maildir)


def lost(maildir: Path) -> None:
    messages(maildir)[identity(maildir, 1)].unlink()


def duplicated(maildir: Path) -> None:
    source = messages(maildir)[identity(maildir, 1)]
    copy = maildir / "new" / f"{int(time.time())}.copy.oracle"
    shutil.copy(source, copy)
    owned(copy)


def resurrected(maildir: Path) -> None:
    """Number 5 was expunged, with an acknowledgement."""
    back = maildir / "new" / f"{int(time.time())}.back.oracle"
    back.write_bytes(letter.compose(identity(maildir, 5), "a@b", "c@d").replace(b"\r\n", b"\n"))
    owned(back)


def damaged(maildir: Path) -> None:
    path = messages(maildir)[identity(maildir, 1)]
    path.write_bytes(path.read_bytes().replace(b"This is", b"That is"))
    drop_indexes(maildir)


def misplaced(maildir: Path) -> None:
    path = messages(maildir)[identity(maildir, 1)]
    path.rename(maildir / ".box/cur" / path.name)


def unflagged(maildir: Path) -> None:
    """Number 3 was flagged, with an acknowledgement."""
    path = messages(maildir)[identity(maildir, 3)]
    path.rename(path.with_name(path.name.partition(":")[0] + ":2,"))


def folder_lost(maildir: Path) -> None:
    shutil.rmtree(maildir / ".empty")


def folder_resurrected(maildir: Path) -> None:
    """`gone` was deleted, with an acknowledgement."""
    for part in ("", "cur", "new", "tmp"):
        (maildir / ".gone" / part).mkdir()
        owned(maildir / ".gone" / part)


def uids_swapped(maildir: Path) -> None:
    def swap(text: str) -> str:
        head, *rows = text.splitlines()
        (one, base), (other, base2) = (row.split(" ", 1) for row in rows[:2])
        return "\n".join([head, f"{one} {base2}", f"{other} {base}", *rows[2:], ""])

    edit_uidlist(maildir, swap)


def uid_given_again(maildir: Path) -> None:
    """Next UID goes back to 5, that of an expunged message, and a new message comes: reference on failover 7.4."""
    edit_uidlist(maildir, lambda text: re.sub(r" N\d+", " N5", "".join(text.splitlines(True)[:4]), count=1))
    new = maildir / "new" / f"{int(time.time())}.other.oracle"
    new.write_bytes(letter.compose("s99-1-x", "a@b", "c@d"))
    owned(new)


def renumbered(maildir: Path) -> None:
    """A row is lost: the message comes back under the next UID."""
    edit_uidlist(maildir, lambda text: "".join(row for row in text.splitlines(True) if not row.startswith("2 ")))


def uidvalidity(maildir: Path) -> None:
    edit_uidlist(maildir, lambda text: re.sub(r"V(\d+)", lambda found: f"V{int(found[1]) + 1}", text, count=1))


def modseq_back(maildir: Path) -> None:
    drop_indexes(maildir)
