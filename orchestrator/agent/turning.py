"""A store's role turned: the sink becomes the source, or the source the sink, in a later epoch.

What the agent remembers is made right for the new role first, the marker is replaced last. A new source reads its store
anew in the background, while it is served already: a change log of an earlier time as the source would tell of what was
changed by replication as if users had done it. A new sink forgets what it knew as an earlier one, and compares what
stands here by content (`adoption`); what is in quarantine stays there, and stays known.

Invariant: the marker is what decides, and it changes in one step, durably, and only while no other conversation has the
store open. Until then the old role is whole: a crash in between has at most forgotten what is found again by reading.
It stops nothing and starts nothing, and touches no mail, but for the torn end of a uidlist that a power cut left.
"""

from __future__ import annotations

import os
from contextlib import closing, contextmanager, suppress
from typing import Any, Dict, Generator, Iterator, NamedTuple, Optional

from . import beneath, guardtalk, index, indexes, marker, reconcile
from .beneath import Root
from .homes import PLAIN
from .ledger import Ledger, ledger_path
from .log import Log, log_path
from .marker import ACTIVE, PASSIVE, Marker
from .passive import Passive
from .serve import Answer, Fault, args

NOTHING = "Nothing was changed."


class Order(NamedTuple):
    """`active` is the place that is active in `epoch`; `role` is what this store's place is then."""

    operation: str
    epoch: int
    role: str
    active: str


def turned(
    path: str, state: str, head: Dict[str, Any], *, guard: str = PLAIN.settings, run: str = PLAIN.run
) -> Generator[Optional[float], None, Answer]:
    """The verb `store.turn`. Answers the marker, and whether it was `made` by this request.

    Raises Fault: bad-request, no-marker, older-epoch, wrong-epoch, busy, unguarded, refused; then nothing was changed.
    """
    operation, epoch, role, active = args(head, operation=str, epoch=int, role=str, active=str)
    order = Order(operation, epoch, role, active)
    with Root(path) as root:
        found = _known(root)
        _demand(order, found)
        if (found.epoch, found.role) == (order.epoch, order.role):
            return Answer({"marker": found.head(), "made": False})
        if os.path.exists(guard):
            told = yield from guardtalk.asked({"order": {"verb": "status"}}, run)
            why = disagreement(order, found.place, told.head)
            if why:
                raise Fault("refused", f"{path} isn't turned to {order.role}: {why}", NOTHING)
        return Answer({"marker": _turn(root, state, order).head(), "made": True})


def _known(root: Root) -> Marker:
    found = marker.read(root)
    if found is None:
        raise Fault("no-marker", f"{root.path} has no store marker", f"See what is mounted there. {NOTHING}")
    return found


def _demand(order: Order, found: Marker) -> None:
    """Raises Fault unless the order may follow this marker, or has been carried out."""
    is_active = order.active == found.place
    if not order.operation or order.role not in (ACTIVE, PASSIVE) or is_active != (order.role == ACTIVE):
        raise Fault(
            "bad-request", f"{found.place} can't be {order.role!r:.40} while the active is {order.active!r:.40}"
        )
    where = f"the store of the {found.place} is {found.role} in epoch {found.epoch}"
    if order.epoch < found.epoch or (order.epoch == found.epoch and order.role != found.role):
        raise Fault("older-epoch", f"{where}: it isn't turned to {order.role} in epoch {order.epoch}", NOTHING)
    if order.role == ACTIVE and order.epoch > found.epoch + 1:
        # A place that missed an epoch may lack what was written in it. Passive it may become: it is compared then.
        raise Fault("wrong-epoch", f"{where}: it has no part in epoch {order.epoch - 1}, and can't follow it", NOTHING)


def disagreement(order: Order, place: str, told: Dict[str, Any]) -> str:
    """Why the guard of this host, by its status, doesn't let the store be turned; "" if it does. Pure."""
    epoch, active, tombstone = int(told["epoch"]), str(told["active"]), int(told["tombstone"])
    register = f"the guard here is in epoch {epoch} (active: {active or 'nobody'})"
    if epoch > order.epoch:
        return f"{register}: epoch {order.epoch} is over"
    if epoch == order.epoch:
        return "" if active == order.active else register
    if order.role == ACTIVE:
        return f"{register}: it has to be in epoch {order.epoch} first"
    # A place that wasn't the active has nothing to give up.
    given_up = tombstone >= order.epoch or active != place
    return "" if given_up else f"{register}, and has no tombstone for epoch {order.epoch}"


def _turn(root: Root, state: str, order: Order) -> Marker:
    store = _known(root).store
    past = log_path(state, store)
    with closing(index.opened(Log, past)) as log, _held(index.opened(Ledger, ledger_path(state, store))) as ledger:
        found = _known(root)  # now that nobody else has it open
        _demand(order, found)
        if found.role != order.role and order.role == ACTIVE:
            log.close()  # before its name is another file's
            _as_source(root, ledger, past)
            indexes.promoted(root, order.operation)
        elif found.role != order.role:
            ledger.forget_all()
            ledger.commit()
        fresh = found._replace(role=order.role, epoch=order.epoch).raised(marker.boot_id())
        marker.write(root, fresh)
        return _proven(root, fresh)


@contextmanager
def _held(ledger: Ledger) -> Iterator[Ledger]:
    try:
        yield ledger
    finally:
        ledger.close(clean=not ledger.touched())


def _as_source(root: Root, ledger: Ledger, past: str) -> None:
    """Mend what the sink's crash left half-done, and forget the log of an earlier time as the source."""
    passive = Passive(root, ledger)
    reconcile.after_crash(passive)  # a server that appends to a torn uidlist would lose UIDs
    passive.sync_dirs()
    for each in (past, past + "-wal"):
        with suppress(FileNotFoundError):  # an index that was closed well leaves no such file
            os.unlink(each)
    fd = os.open(os.path.dirname(past), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        beneath.fsync_dir(fd)
    finally:
        os.close(fd)


def _proven(root: Root, fresh: Marker) -> Marker:
    found = marker.read(root)
    if found != fresh:
        raise Fault("marker", f"{root.path}: the marker that was laid down can't be read back", "Look at its disk.")
    return fresh
