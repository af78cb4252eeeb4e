"""The verb `queue`: a Postfix's letters listed, put on hold, read out, and let go or taken out, by explicit list.

What the receiving host does with them is `received`'s. A move is: `list` at both, `hold`, `read` and `lay` by pieces,
later `release` there and `drop` here. To undo it before a release: `lift` there, then `unhold` here. Each is
idempotent, and may be cut off anywhere: what is to be done is in the ledger before it is done.

Invariant: nothing is touched but what the request names, and of what is on hold only what we put there. Nothing is put
on hold while Postfix runs, since a letter that is being delivered would go on and stand twice. A letter is taken out
only when it is, byte for byte, what the receiver says to have. A changing request with an older epoch than this host
knows of is refused. Letters in `maildrop` stay: pickup takes them when Postfix runs, also where it only queues.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any, Callable, Dict, Generator, List, Optional, Tuple

from . import posture, received, settings
from .homes import PLAIN
from .queueledger import DROPPED, HELD, HOLDING, LEFT, RELEASED, Held, QueueLedger
from .queueorder import MOST, current, ids, known, operation
from .serve import Answer, Fault, args
from .spool import HOLD, LOGS, MAY_MOVE, Found, Spool, hexdigest
from .wire import Frame

PIECES = 2 << 20
"""Bytes of letters in one answer of `read`, and in one `lay`."""
LOG = 256 << 10


NOTHING: Dict[str, Dict[str, Any]] = {
    "list": {"letters": [], "more": False, "runs": False, "instances": [], "senders": {}},
    "laid": {"laid": [], "more": False},
}
"""What a host without Postfix has: another program's queue is the site's own to carry, by a step of its own."""


def asked(
    head: Dict[str, Any], frame: Frame, guard: str = PLAIN.settings, run: str = PLAIN.run
) -> Generator[Optional[float], None, Answer]:
    """The head: `do`, and `instance`, a configuration directory, "" for the first. `guard`: its file says that
    there is one, and whether Postfix is of this host's services; without it `list` and `laid` tell of nothing. `run`:
    its socket's directory.

    list {after}: {"letters": [[id, queue, arrived, size, inode, ctime, whole, held, operation]], "more", "runs",
        "instances", "senders": {id: [sender, recipients that are left]} or null}; `held`: "", or if on hold us,
        holding (`hold` was cut off: ask it again), laid, site
    hold {ids}: {"held", "missing", "unfit", "site": [ids]}; `site`: the site's own
    read {want: [[id, offset]]}: {"pieces": [piece]} and their bytes; what `received.lay` takes
    drop {confirmed: {id: digest}}: {"dropped", "missing", "differs": [ids]}
    unhold {ids}: {"released", "missing": [ids]}, of this operation
    lay, laid, release, lift: see `received`

    All but list, read and laid take `operation` and `epoch`. Raises Fault, also as `Spool` and `QueueLedger` do:
    bad-request, stale, running, not-ours, postfix.
    """
    do, instance = args(head, do=str, instance=str)
    if do in NOTHING and not _may_queue(guard):
        return Answer(NOTHING[do])
    if do in LOOKS:
        with Spool(instance) as spool, QueueLedger(spool.root, make=False) as ledger:
            return LOOKS[do](spool, ledger, head, frame)
    if do not in ACTS:
        raise Fault("bad-request", f"no action {do!r:.40}", f"There are {', '.join((*LOOKS, *ACTS))}.")
    (epoch,) = args(head, epoch=int)
    operation(head)
    latest = yield from known(guard, do == "unhold", run)
    with Spool(instance) as spool, QueueLedger(spool.root) as ledger:
        current(epoch, max(latest, ledger.epoch))
        ledger.note_epoch(epoch)
        return ACTS[do](spool, ledger, head, frame)


def _may_queue(guard: str) -> bool:
    try:
        return settings.has_postfix(guard)
    except settings.Unusable as error:
        raise Fault("unguarded", str(error)) from error


# --- looks ------------------------------------------------------------------------------------------------------------


def _listed(spool: Spool, ledger: QueueLedger, head: Dict[str, Any], _: Frame) -> Answer:
    (after,) = args(head, after=str)
    given = ledger.held("state<>?", (DROPPED,))
    ours = {row.key: ("us" if row.state == HELD else "holding", row.operation) for row in given}
    ours.update({row.key: ("laid", row.operation) for row in ledger.laid("state IN ('laying','laid','releasing')")})
    found = sorted((each for each in spool.look() if each.name > after), key=lambda each: each.name)
    letters = []
    for each in found[:MOST]:
        arrived = spool.arrival(each)
        held, whose = ours.get((each.inode, arrived or 0), ("site", "")) if each.queue == HOLD else ("", "")
        letters.append([each.name, each.queue, arrived, each.size, each.inode, each.ctime, each.whole, held, whose])
    told = {"runs": spool.runs, "instances": posture.instances(), "senders": _senders(spool)}
    return Answer({"letters": letters, "more": len(found) > MOST, **told})


def _senders(spool: Spool) -> Optional[Dict[str, Tuple[str, int]]]:
    """By id, what `postqueue -j` says of a letter; None when it can't be asked, or there are too many."""
    try:
        lines = posture.run(["postqueue", "-c", spool.instance, "-j"]).splitlines()
        rows = [json.loads(line) for line in lines]
        found = {str(row["queue_id"]): (str(row["sender"])[:320], len(row["recipients"])) for row in rows}
    except (Fault, ValueError, KeyError):
        return None
    return found if len(found) <= MOST else None


def _read(spool: Spool, ledger: QueueLedger, head: Dict[str, Any], _: Frame) -> Answer:
    (want,) = args(head, want=list)
    ours = {row.id: row for row in ledger.held("state='held'")}
    on_hold = spool.on_hold()
    pieces: List[Dict[str, Any]] = []
    blob = bytearray()
    for queue_id, offset in want[:MOST]:
        row = ours.get(queue_id)
        found = on_hold.get(row.key) if row else None
        if row is None or found is None:
            raise Fault("not-ours", f"{queue_id!r:.40} isn't on hold by us", "Ask for `hold` first.")
        if len(blob) >= PIECES or not isinstance(offset, int) or not 0 <= offset <= found.size:
            break
        piece, content = _piece(spool, row, found, offset, PIECES - len(blob))
        pieces.append(piece)
        blob += content
    return Answer({"pieces": pieces}, bytes(blob))


def _piece(spool: Spool, row: Held, found: Found, offset: int, most: int) -> Tuple[Dict[str, Any], bytes]:
    """So many bytes of a letter; the last piece says the digest of all, and brings what is still to be told of it."""
    with os.fdopen(spool.open(found), "rb") as file:
        content = os.pread(file.fileno(), most, offset)
        piece: Dict[str, Any] = {
            "id": row.id, "arrived": row.arrived, "offset": offset, "length": len(content), "size": found.size,
            "mtime_ns": found.mtime_ns,
        }  # fmt: skip
        if offset + len(content) < found.size:
            return piece, content
        piece["digest"] = hexdigest(file.fileno())
    logs = {log: spool.log(log, found.name) for log in LOGS}
    if sum(len(each or b"") for each in logs.values()) > LOG:
        remedy = "Let Postfix run here for a moment, before the journey."
        raise Fault("too-long", f"{row.id}: what its sender is still to be told is too long", remedy)
    piece["logs"] = {log: base64.b64encode(each).decode() for log, each in logs.items() if each is not None}
    return piece, content


# --- acts of the host that gives --------------------------------------------------------------------------------------


def _hold(spool: Spool, ledger: QueueLedger, head: Dict[str, Any], _: Frame) -> Answer:
    wanted, whose = ids(head), operation(head)
    there = {each.name: each for each in spool.look() if each.name in set(wanted)}
    ours = {row.key for row in ledger.held("state<>?", (DROPPED,))}
    told: Dict[str, List[str]] = {"held": [], "site": [], "unfit": [], "missing": []}
    rows = []
    for each in wanted:
        found = there.get(each)
        arrived = spool.arrival(found) if found else None
        if found is None:
            told["missing"].append(each)
        elif arrived is None or found.queue not in (*MAY_MOVE, HOLD):
            told["unfit"].append(each)
        elif found.queue == HOLD and (found.inode, arrived) not in ours:
            told["site"].append(each)
        else:
            rows.append(Held(each, arrived, found.inode, HOLDING, whose, ""))
    moving = [row.id for row in rows if there[row.id].queue != HOLD]
    if moving and spool.runs:
        raise Fault(
            "running", "Postfix runs: a letter that is being delivered would stand twice", "Stop it there first."
        )
    ledger.put_held(rows)
    spool.hold(moving)
    on_hold = spool.on_hold()
    done = [row for row in rows if row.key in on_hold]
    ledger.put_held([row._replace(state=HELD) for row in done])
    told["held"] = [row.id for row in done]
    told["missing"] += [row.id for row in rows if row not in done]
    return Answer(told)


def _unhold(spool: Spool, ledger: QueueLedger, head: Dict[str, Any], _: Frame) -> Answer:
    wanted, whose = set(ids(head)), operation(head)
    rows = [row for row in ledger.held("operation=? AND state<>?", (whose, DROPPED)) if row.id in wanted]
    on_hold = spool.on_hold()
    names = [on_hold[row.key].name for row in rows if row.key in on_hold]
    spool.let_go(names)
    _none_left(spool, rows)
    cut_off = ledger.held("operation=? AND state=?", (whose, HOLDING))
    ledger.forget_held([*rows, *(row for row in cut_off if row.key not in on_hold)])
    missing = sorted(wanted - {row.id for row in rows})
    return Answer({"released": names, "missing": missing})


def _none_left(spool: Spool, rows: List[Held]) -> None:
    still = spool.on_hold()
    if stuck := [row.id for row in rows if row.key in still]:
        raise Fault("postfix", f"still on hold: {', '.join(stuck[:5])}", "See what postsuper says in Postfix's log.")


def _drop(spool: Spool, ledger: QueueLedger, head: Dict[str, Any], _: Frame) -> Answer:
    (confirmed,) = args(head, confirmed=dict)
    wanted = ids({"ids": list(confirmed)})
    told: Dict[str, List[str]] = {"dropped": [], "missing": [], "differs": []}
    on_hold = spool.on_hold()
    known_rows = sorted(ledger.held(), key=lambda row: row.key in on_hold)
    rows = {row.id: row for row in known_rows}  # of an id that came again, the one that stands there
    leaving: List[Tuple[Held, Found]] = []
    for each in wanted:
        row = rows.get(each)
        found = on_hold.get(row.key) if row else None
        if row is not None and found is not None:
            same = _is(spool, found, str(confirmed[each]))
            told["dropped" if same else "differs"].append(each)
            leaving += [(row, found)] if same else []
        elif row is not None and (row.state == DROPPED or spool.is_out(row.out)):
            told["dropped"].append(each)
        else:
            told["missing"].append(each)
    spool.take_out([(found, row.out) for row, found in leaving])
    gone = [rows[each] for each in told["dropped"]]
    # A letter that came from elsewhere may come again from there, now that it leaves. First that, then its own row:
    # a crash between the two is made good by the next request, which finds the row as it was.
    keys = {row.key for row in gone}
    left = [row for row in ledger.laid("state=?", (RELEASED,)) if row.key in keys]
    ledger.put([row._replace(state=LEFT) for row in left])
    ledger.put_held([row._replace(state=DROPPED, digest=str(confirmed[row.id])) for row in gone])
    spool.sweep()
    return Answer(told)


def _is(spool: Spool, found: Found, digest: str) -> bool:
    fd = spool.open(found)
    try:
        return hexdigest(fd) == digest
    finally:
        os.close(fd)


Do = Callable[[Spool, QueueLedger, Dict[str, Any], Frame], Answer]
LOOKS: Dict[str, Do] = {"list": _listed, "read": _read, "laid": received.laid}
ACTS: Dict[str, Do] = {
    "hold": _hold,
    "unhold": _unhold,
    "drop": _drop,
    "lay": received.lay,
    "release": received.release,
    "lift": received.lift,
}
