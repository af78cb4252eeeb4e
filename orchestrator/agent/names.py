"""Names in a Maildir: what a file name says, which files travel, which directories are walked.

Everything is bytes, because a file name is bytes. A message's name is a base, which never
changes and may not be interpreted (cr.yp.to/proto/maildir.html: "none of your business"),
and an info part, which begins with the first ':' and carries the flags.

Invariant: the answers depend on the name alone, never on what the file holds. A name that
passes `check_component` can't lead out of the directory in which it stands. What a folder
*is* (Maildir, mbox, dbox) isn't decided here.
"""

from __future__ import annotations

import re

MAX_COMPONENT = 255  # NAME_MAX of every Linux file system that holds mail
MAX_PATH = 4000  # PATH_MAX is 4096, and our own temporary names need some of it
MAX_DEPTH = 64

KEYWORDS_RANK = 0
UIDLIST_RANK = 1
OTHER_RANK = 2

STATE_DIR = b".mailmirror"
MESSAGE_DIRS = (b"new", b"cur", b"tmp")

_SIZE = re.compile(rb",S=([0-9]{1,19})(?=,|\Z)")

UIDLIST = b"dovecot-uidlist"
_UIDLISTS = frozenset((UIDLIST, b"courierimapuiddb"))
_KEYWORDS = frozenset((b"dovecot-keywords", b"courierimapkeywords", b":list"))

# Caches, counters that rebuild themselves, and what is only true on this host.
_STAYS = re.compile(
    rb"(?:maildirsize|dovecot-acl-list|core(?:\.[0-9]+)?|\.mailmirror"
    rb"|dovecot(?:\.list|\.map)?\.index.*"
    rb"|\.temp\..*|temp\..*|\.nfs[0-9a-f]{8,}|dovecot-uidlist\.tmp"
    rb"|.*\.lock|.*\.tmp|.*\.svbin)",
    re.DOTALL,
)

# Full-text indexes and dbox's storage: caches that are rebuilt, or another mail format.
_UNWALKED = frozenset(
    (b"cur", b"new", b"tmp", STATE_DIR, b"dbox-Mails", b"mdbox", b"lucene-indexes", b"xapian-indexes", b"fts-flatcurve")
)


class BadName(ValueError):
    """A name or a path that may not be used below a root; the message says why."""


def split(name: bytes) -> tuple[bytes, bytes]:
    """(base, info) of a message's file name. `info` begins with the first ':', or is empty."""
    base, colon, rest = name.partition(b":")
    return base, colon + rest


def is_message(name: bytes) -> bool:
    """Whether a file of this name in new/ or cur/ is a message.

    Names that begin with '.' are everybody's to ignore (Maildir), and one that begins with
    ':' has no base; Dovecot renames it. Any other bytes are allowed, newlines included.
    """
    return 0 < len(name) <= MAX_COMPONENT and name[0] not in b".:" and b"/" not in name and b"\0" not in name


def size_in(base: bytes) -> int | None:
    """The size in bytes that the base announces as `,S=` (Maildir++), or None."""
    found = _SIZE.search(base)
    return int(found.group(1)) if found else None


def flags(info: bytes) -> bytes:
    """The flag letters of an info part (`:2,FLAGS`); empty for any other info part.

    What follows a second comma belongs to other programs and isn't counted.
    """
    return info[3:].split(b",", 1)[0] if info.startswith(b":2,") else b""


def travels(name: bytes) -> bool:
    """Whether a regular file in a folder's own directory (not new, cur or tmp) is replicated.

    Whatever isn't known as a lock, a temporary file or a cache travels: a sidecar that
    nobody thought of is better copied than lost (DESIGN 6, "What travels").
    """
    return _STAYS.fullmatch(name) is None


def enters(name: bytes) -> bool:
    """Whether a subdirectory of this name is walked for folders and sidecars.

    Not: message directories, deleted folders in transit (`..DOVECOT-TRASHED`), our own state,
    other mail formats' storage, full-text indexes, directories of locks.
    """
    return name not in _UNWALKED and b"DOVECOT-TRASHED" not in name and not name.endswith(b".locks")


def is_uidlist(name: bytes) -> bool:
    """Whether a sidecar of this name maps UIDs to messages (Dovecot's, or Courier's)."""
    return name in _UIDLISTS


def sidecar_rank(name: bytes) -> int:
    """In which order sidecars are applied, lowest first: keywords, uidlists, all others.

    Keywords come before the names that use their letters: Dovecot writes a letter that it
    doesn't know back as `unknown-0` (measured, 2.3.19).
    """
    if name in _KEYWORDS:
        return KEYWORDS_RANK
    return UIDLIST_RANK if name in _UIDLISTS else OTHER_RANK


def check_component(part: bytes) -> None:
    """Raise BadName unless `part` names one entry of a directory."""
    if part in (b"", b".", b".."):
        raise BadName(f"{_shown(part)} isn't a name")
    if len(part) > MAX_COMPONENT:
        raise BadName(f"a name of {len(part)} bytes is longer than {MAX_COMPONENT}: {_shown(part)}")
    if b"/" in part or b"\0" in part:
        raise BadName(f"a name may not hold '/' or NUL: {_shown(part)}")


def check_path(path: bytes) -> None:
    """Raise BadName unless `path` is a relative path of plain names below a root."""
    if not path:
        raise BadName("an empty path")
    if path.startswith(b"/"):
        raise BadName(f"an absolute path: {_shown(path)}")
    if len(path) > MAX_PATH:
        raise BadName(f"a path of {len(path)} bytes is longer than {MAX_PATH}: {_shown(path)}")
    parts = path.split(b"/")
    if len(parts) > MAX_DEPTH:
        raise BadName(f"a path of {len(parts)} levels is deeper than {MAX_DEPTH}: {_shown(path)}")
    for part in parts:
        check_component(part)


def _shown(name: bytes) -> str:
    """The name as a person may read it on one line, cut at 80 characters."""
    return repr(name[:80])[1:] + ("..." if len(name) > 80 else "")
