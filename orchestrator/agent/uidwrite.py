"""A uidlist as a passive place installs it: rows as they are, the next UID already raised.

A place that is promoted gives out UIDs from the raised next UID on, far above anything that the
lost place can have given out and not yet replicated; so no UID ever names two messages, and a
promotion writes nothing per folder. Folders that are made after a promotion are safe the same
way, by the raised uidvalidity counter.

Invariant: what is rendered differs from what was parsed in the header's next UID, and in rows
that were put in on purpose; all others are byte by byte the same. No I/O.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

from .uidlist import MAX_NEXT, MAX_UID, Header, UidList, parse, shown, tail

STEP = 1 << 20
COUNTER_STEP = 1 << 12
NEAR_THE_END = 1 << 31  # from here on status warns: half of all UIDs are used up

_COUNTER = re.compile(rb"(dovecot-uidvalidity\.)([0-9a-f]{8})")


class Exhausted(ValueError):
    """A number that would leave the 32 bits that IMAP has for it; nothing was changed."""


class Clash(ValueError):
    """A row that was to be put in has a UID that already names another message."""


def raised_next(next_uid: int) -> int:
    """The next UID that a passive place installs: the next multiple of 2^20, plus 2^20.

    At least 2^20 and less than 2^21 above. Raises Exhausted beyond 2^32-1.
    """
    raised = -(-next_uid // STEP) * STEP + STEP
    if raised > MAX_NEXT:
        raise Exhausted(f"the next UID {next_uid} can't be raised any more: UIDs end at {MAX_UID}")
    return raised


def render_header(header: Header) -> bytes:
    """The first line, with newline. Of version 3 every field stays where and as it was but V, N, G."""
    if header.version == 1:
        return b"1 %d %d\n" % (header.uidvalidity, header.next_uid)
    values = {b"V": b"%d" % header.uidvalidity, b"N": b"%d" % header.next_uid}
    if header.guid:
        values[b"G"] = header.guid
    parts = [key + values.pop(key, value) for key, value in header.fields]
    return b" ".join([b"3"] + parts + [key + value for key, value in values.items()]) + b"\n"


def with_next(listing: UidList, next_uid: int) -> bytes:
    """The whole file with another next UID in its header; every row byte by byte as it was."""
    start = listing.data.index(b"\n") + 1
    return render_header(listing.header._replace(next_uid=next_uid)) + listing.data[start:]


def raised(source: bytes | UidList) -> bytes:
    """The file as a passive place installs it. Raises Exhausted, and ValueError when it isn't usable."""
    listing = source if isinstance(source, UidList) else parse(source)
    if not listing.usable:
        raise ValueError(next(problem.what for problem in listing.problems if problem.fatal))
    return with_next(listing, raised_next(listing.next_uid))


def with_rows(listing: UidList, rows: Sequence[bytes]) -> bytes:
    """The file with raw rows (with newline) put in, each at its UID's place: waiting deletions.

    A row whose message has a row already is left out. Raises Clash when its UID names another
    message, ValueError when it is no row. One pass, however many there are.
    """
    extra = tail(b"".join(rows), version=listing.header.version)
    if extra.problems or len(extra.uids) != len(rows):
        raise ValueError("not rows in ascending order: " + "; ".join(problem.what for problem in extra.problems))
    present = set(listing.bases)
    pieces: list[bytes] = []
    done = at = 0
    for uid, base, row in zip(extra.uids, extra.bases, rows):
        if base in present:
            continue
        spot = bisect_left(listing.uids, uid)
        if spot == len(listing.uids):
            at = len(listing.data)
        else:
            if listing.uids[spot] == uid:
                raise Clash(f"UID {uid} of {shown(base)} names {shown(listing.bases[spot])}")
            at = listing.data.index(b"\n%d " % listing.uids[spot], max(at - 1, 0)) + 1
        pieces += (listing.data[done:at], row)
        done = at
    return b"".join(pieces) + listing.data[done:] if pieces else listing.data


def is_counter(content: bytes) -> bool:
    """Whether this is what `dovecot-uidvalidity` holds."""
    return re.fullmatch(rb"[0-9a-fA-F]{8}\n?", content) is not None


def raise_counter(content: bytes) -> bytes:
    """What `dovecot-uidvalidity` holds (8 hex digits), raised by 2^12. Raises ValueError, Exhausted."""
    if not is_counter(content):
        raise ValueError(f"not a uidvalidity counter: {shown(content)}")
    value = int(content, 16) + COUNTER_STEP
    if value > 0xFFFFFFFF:
        raise Exhausted(f"the uidvalidity counter {content.decode()} can't be raised any more")
    return b"%08x" % value


def raise_marker(name: bytes) -> bytes | None:
    """`dovecot-uidvalidity.<hex>` raised by 2^12, or None for any other name. Raises Exhausted.

    Dovecot renames the marker and then writes the counter; of several markers the highest
    counts (mailbox-uidvalidity.c), so that counter and markers may be raised one by one.
    """
    found = _COUNTER.fullmatch(name)
    return found.group(1) + raise_counter(found.group(2)) if found else None
