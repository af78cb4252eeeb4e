"""A passive place emptied into its own quarantine, so that the mirror can be made anew.

Everything below the root goes, but for `.mailmirror` and lost+found: each message by itself, so that it can be listed
and brought back one by one, and then what is left of each top entry, whole.

Invariant: nothing is removed, only renamed into the quarantine on the same file system. After a crash at any instant
what still stands goes with the next order; the ledger forgets what was here only when nothing is here any more.
"""

from __future__ import annotations

from . import beneath
from .log import MESSAGE
from .maildir import list_directory, list_messages
from .marker import DIRECTORY
from .passive import PARTS, Passive
from .reconcile import populate
from .serve import Fault

STAYS = frozenset((DIRECTORY, b"lost+found"))
AT_ONCE = 1_000
"""Messages between two commits of the ledger."""


def look(passive: Passive) -> int:
    """How many messages `set_aside` would take; nothing is changed."""
    root, stack, messages = passive.root, [b""], 0
    while stack:
        path = stack.pop()
        here = list_directory(root.open_dir(path))
        if here.is_maildir:
            listed, _, _ = list_messages(*(root.open_dir(path + part) for part in PARTS))
            messages += len(listed)
        stack += [path + b"/" + name if path else name for name in here.folders]
    return messages


def set_aside(passive: Passive) -> int:
    """Empty the place into its quarantine, durable when this returns; how many messages that were.

    Raises Fault without a permit, OSError where something can't be moved, as a file system that is mounted below the
    root. Afterwards the store has to be opened anew: directories that were open stand elsewhere now.
    """
    if not passive.permitted:
        raise Fault("no-permit", "no deletion is permitted now", "See `mailmirror status`.")
    populate(passive)
    ledger = passive.ledger
    ledger.touch(ledger.places)
    ledger.commit()
    moved = 0
    for place in [each for each in ledger.places.values() if each.maildir]:
        for base, held in ledger.all_held(place.lid).items():
            name = base + held.info
            moved += passive.quarantine.take(place, MESSAGE, held.sub, name, counted=False, size=held.size)
            if moved % AT_ONCE == 0:
                ledger.commit()
    for entry in _entries(passive):
        passive.root.forget(entry)
        passive.quarantine.take_stray(entry)
    passive.sync_all()
    ledger.forget_all()
    ledger.commit()
    return moved


def _entries(passive: Passive) -> "list[bytes]":
    return [name for name in beneath.entries(passive.root.fd) if name not in STAYS]
