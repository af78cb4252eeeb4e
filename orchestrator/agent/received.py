"""Letters that another host's queue gives: laid on hold, let go once, or taken back.

A letter is written under a name of ours in `hold`, where Postfix doesn't see it, and made durable; the ledger notes it;
it takes its queue id, or a free one where that is taken; the ledger notes that. The name of ours being gone is what
tells a later run, after a crash, that it has taken the other.

Invariant: a letter that the ledger has is never laid again, also after it was delivered here, unless it was taken back
or has gone on to another host; it is let go only by the operation that laid it. Whole content, arrival, time of the
next attempt and mode are the sender's, the owner is this host's Postfix.
"""

from __future__ import annotations

import base64
import json
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from . import beneath, queuefile
from .queueledger import DROPPED, LAID, LAYING, LEFT, LIFTED, RELEASED, RELEASING, Laid, QueueLedger
from .queueorder import MOST, ids, operation
from .serve import Answer, Fault, args
from .spool import HOLD, LOGS, QUEUES, READY, Spool, hexdigest
from .wire import Frame

_SOURCE = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")
_LARGEST = 1 << 40


class Piece(NamedTuple):
    """A part of a letter on its way; `digest` stands in the last one."""

    id: str
    arrived: int
    offset: int
    length: int
    size: int
    mtime_ns: int
    digest: Optional[str]
    logs: Dict[str, bytes]

    @property
    def name(self) -> bytes:
        """What it is called until it has its queue id."""
        return _ours(self.id, self.arrived)


def _ours(queue_id: str, arrived: int) -> bytes:
    return f".mailmirror-{queue_id}-{arrived}".encode()


def laid(_: Spool, ledger: QueueLedger, head: Dict[str, Any], __: Frame) -> Answer:
    """The head: `after`, how many rows to leave out. The answer: {"laid": [[source, id, arrived, digest, size, local,
    inode, state, operation]], "more"}.
    """
    (after,) = args(head, after=int)
    rows = [list(row[:-1]) for row in ledger.laid()][max(0, after) :]
    return Answer({"laid": rows[:MOST], "more": len(rows) > MOST})


def lay(spool: Spool, ledger: QueueLedger, head: Dict[str, Any], frame: Frame) -> Answer:
    """The head: `source`, the host that gives, and `pieces` as its `read` told them, whose bytes the blob holds.

    The answer: {"laid": [ids laid now or before], "known": [ids that were released, or have another content than was
    laid], "again": [ids to begin anew at 0], "remains": [ids of what this host gave away itself and hasn't dropped: do
    that first, or it would stand here twice]}. Raises Fault("damaged") when a letter isn't what its digest says.
    """
    (source,) = args(head, source=str)
    if not _SOURCE.fullmatch(source):
        raise Fault("bad-request", f"{source!r:.100} is no host's name")
    pieces, whose, blob = _pieces(head, len(frame.blob)), operation(head), memoryview(frame.blob)
    told: Dict[str, List[str]] = {"laid": [], "known": [], "again": [], "remains": []}
    given = ledger.held("state<>?", (DROPPED,))
    on_hold = spool.on_hold() if given else {}
    remains = {row.arrived for row in given if row.key in on_hold}
    fresh, at = [], 0
    for piece in pieces:
        content, at = blob[at : at + piece.length], at + piece.length
        row = _finished(spool, ledger, source, piece)
        if row is not None and row.state not in (LIFTED, LEFT):
            same = row.state == LAID and piece.digest in (None, row.digest)
            told["laid" if same else "known"].append(piece.id)
            if same and row.operation != whose:
                ledger.put([row._replace(operation=whose)])
        elif piece.arrived in remains:
            told["remains"].append(piece.id)
        elif not _written(spool, piece, content):
            told["again"].append(piece.id)
        elif piece.digest is not None:
            fresh.append(_whole(spool, piece, source, whose))
    if fresh:
        spool.settle({HOLD.encode()})
        fresh = [row._replace(local=_free(spool, row)) for row in fresh]
        ledger.put(fresh)
        _settled(spool, ledger, fresh)
    told["laid"] += [row.id for row in fresh]
    return Answer(told)


def _pieces(head: Dict[str, Any], length: int) -> List[Piece]:
    """What the other host says, word by word. Raises Fault."""
    (said,) = args(head, pieces=list)
    found = [_piece(each) for each in said[:MOST]]
    if len({each.id for each in found}) != len(said) or sum(each.length for each in found) != length:
        raise Fault("bad-request", "each letter comes once in a request, and the bytes are those of its pieces")
    return found


def _piece(said: Dict[str, Any]) -> Piece:
    numbers = args(said, arrived=int, offset=int, length=int, size=int, mtime_ns=int)
    queue_id, digest, logs = said.get("id"), said.get("digest"), said.get("logs") or {}
    _, offset, length, size, _ = numbers
    if not isinstance(queue_id, str) or not queuefile.is_id(queue_id):
        raise Fault("bad-request", f"{queue_id!r:.60} is no queue id")
    if not all(0 <= each < 1 << 62 for each in numbers) or offset + length > size or size > _LARGEST:
        raise Fault("bad-request", f"{queue_id}: numbers that can't be")
    if (digest is not None) != (offset + length == size) or not isinstance(logs, dict) or set(logs) - set(LOGS):
        raise Fault("bad-request", f"{queue_id}: its last piece has the digest, and maybe logs")
    try:
        kept = {log: base64.b64decode(each, validate=True) for log, each in logs.items()}
    except (TypeError, ValueError) as error:
        raise Fault("bad-request", f"{queue_id}: its logs can't be read: {error}") from error
    return Piece(queue_id, numbers[0], offset, length, size, numbers[4], digest, kept)


def _written(spool: Spool, piece: Piece, content: "memoryview") -> bool:
    """Write a piece where it belongs; False when what stands there doesn't fit before it."""
    there = spool.root.open_dir(HOLD.encode())
    try:
        standing = beneath.stat(there, piece.name).st_size
    except FileNotFoundError:
        standing = -1
    if piece.offset == 0:
        if standing >= 0:
            beneath.unlink(there, piece.name)
        # Ready from the start: when Postfix starts it removes old files that aren't, whatever they are called.
        fd = beneath.create(there, piece.name, READY)
    elif standing != piece.offset:
        return False
    else:
        fd = os.open(piece.name, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=there)
    try:
        beneath.write_all(fd, content)
    finally:
        os.close(fd)
    return True


def _whole(spool: Spool, piece: Piece, source: str, whose: str) -> Laid:
    """A letter whose last piece has come: checked, given to Postfix, durable under the name of ours. Raises Fault."""
    there = spool.root.open_dir(HOLD.encode())
    fd, found = beneath.open_with_stat(there, piece.name)
    try:
        digest, head = hexdigest(fd), os.pread(fd, queuefile.HEAD, 0)
        if (digest, found.st_size, queuefile.arrival(head)) != (piece.digest, piece.size, piece.arrived):
            beneath.unlink(there, piece.name)
            raise Fault("damaged", f"{piece.id} didn't come as it was sent", "It is sent again.")
        spool.own(fd, READY)
        os.utime(fd, ns=(piece.mtime_ns, piece.mtime_ns))
        os.fsync(fd)
    finally:
        os.close(fd)
    logs = {log: base64.b64encode(each).decode() for log, each in piece.logs.items()}
    return Laid(
        source, piece.id, piece.arrived, digest, piece.size, piece.id, found.st_ino, LAYING, whose, json.dumps(logs)
    )


def _finished(spool: Spool, ledger: QueueLedger, source: str, piece: Piece) -> Optional[Laid]:
    """What the ledger has of a letter; one that was being laid is laid now."""
    row = ledger.of(source, piece.id, piece.arrived)
    return _settled(spool, ledger, [row])[0] if row is not None else None


def _settled(spool: Spool, ledger: QueueLedger, rows: List[Laid]) -> List[Laid]:
    """The same rows; what was being laid is laid now."""
    now = {row[:3]: _named(spool, ledger, row) for row in rows if row.state == LAYING}
    spool.settle({folder for row in now.values() for folder in (HOLD.encode(), spool.folder(HOLD, row.local))})
    ledger.put(list(now.values()))
    return [now.get(row[:3], row) for row in rows]


def _free(spool: Spool, row: Laid) -> str:
    """The letter's own id, or where a letter here has that, one that nobody has: its inode is its alone."""
    tries = (row.id, *(queuefile.another(row.id, row.inode, n) for n in range(100)))
    return next(each for each in tries if not spool.taken(each))


def _named(spool: Spool, ledger: QueueLedger, row: Laid) -> Laid:
    """Have a letter take its queue id, its logs first; also when it has done so before. `_settled` makes it durable."""
    here, name = spool.root.held(HOLD.encode()), _ours(row.id, row.arrived)
    try:
        if spool.has(here, name):
            if spool.taken(row.local, QUEUES):
                row = row._replace(local=_free(spool, row))
                ledger.put([row])
            for log, content in json.loads(row.logs).items():
                spool.write_log(log, row.local, base64.b64decode(content))
            beneath.rename(here, name, spool.ready_folder(HOLD, row.local), row.local.encode())
    finally:
        os.close(here)
    return row._replace(state=LAID, logs="{}")


# --- afterwards -------------------------------------------------------------------------------------------------------


def release(spool: Spool, ledger: QueueLedger, head: Dict[str, Any], _: Frame) -> Answer:
    """The head: `source`, `ids` (those of the sender). They are let go, and tried at once where Postfix runs.

    The answer: {"released": [ids], now or before, "foreign": [ids that this operation didn't lay], "flushed"}.
    """
    rows, before, foreign = _wanted(spool, ledger, head, (RELEASED, LEFT))
    on_hold = spool.on_hold()
    ledger.put([row._replace(state=RELEASING) for row in rows])
    spool.let_go([on_hold[row.key].name for row in rows if row.key in on_hold])
    still = spool.on_hold()
    if stuck := [row.local for row in rows if row.key in still]:
        raise Fault("postfix", f"still on hold: {', '.join(stuck[:5])}", "See what postsuper says in Postfix's log.")
    ledger.put([row._replace(state=RELEASED) for row in rows])
    told = sorted({row.id for row in rows} | before)
    return Answer({"released": told, "foreign": foreign, "flushed": spool.flush() if told else False})


def lift(spool: Spool, ledger: QueueLedger, head: Dict[str, Any], _: Frame) -> Answer:
    """The head as for `release`. What isn't released yet is taken back, so that the sender may keep it. The answer:
    {"lifted": [ids], now or before, "released": [ids that the sender must not let go], "foreign": [ids]}.
    """
    rows, before, foreign = _wanted(spool, ledger, head, (LIFTED,))
    begun = [row for row in rows if row.state == RELEASING]
    rows = [row for row in rows if row.state == LAID]
    on_hold = spool.on_hold()
    spool.take_out([(on_hold[row.key], row.out) for row in rows if row.key in on_hold])
    back = [row for row in rows if spool.is_out(row.out)]
    by_hand = [row for row in rows if row not in back]  # somebody let it go here
    ledger.put([row._replace(state=LIFTED) for row in back] + [row._replace(state=RELEASED) for row in by_hand])
    _tidy(spool, ledger)
    told = {"lifted": sorted({row.id for row in back} | before), "released": [row.id for row in begun + by_hand]}
    released = [each for each in foreign if any(ledger.laid("id=? AND state=?", (each, RELEASED)))]
    told["released"] += released
    return Answer({**told, "foreign": [each for each in foreign if each not in released]})


def _wanted(
    spool: Spool, ledger: QueueLedger, head: Dict[str, Any], done: Sequence[str]
) -> Tuple[List[Laid], Set[str], List[str]]:
    """This operation's rows that stand here on hold; ids whose rows are in one of the states `done`; the other ids."""
    (source,) = args(head, source=str)
    wanted, whose = set(ids(head)), operation(head)
    known = [row for row in ledger.laid("source=? AND operation=?", (source, whose)) if row.id in wanted]
    standing = [row for row in known if row.state in (LAYING, LAID, RELEASING)]
    before = {row.id for row in known if row.state in done}
    return _settled(spool, ledger, standing), before, sorted(wanted - before - {row.id for row in standing})


def _tidy(spool: Spool, ledger: QueueLedger) -> None:
    """Remove what was begun to be written and never noted."""
    noted = {_ours(row.id, row.arrived) for row in ledger.laid("state=?", (LAYING,))}
    there = spool.root.open_dir(HOLD.encode())
    for name in beneath.entries(there):
        if name.startswith(b".mailmirror-") and name not in noted:
            beneath.unlink(there, name)
