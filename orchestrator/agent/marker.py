"""The store marker: which store this is, who may write it, and how old its content is.

`ROOT/.mailmirror/store.json` holds the store's id (the same on every place of a pair), the
place and its role, the epoch (grows by one with every promotion) and a generation that the
active's agent raises each minute and at each boot. Whoever remembers a higher generation
for this epoch is looking at a restored snapshot; a root without its marker is an unmounted
or foreign disk. Both are refused in either direction (DESIGN section 6).

Invariant: a marker is replaced atomically and durable before anyone is told.
"""

from __future__ import annotations

import json
import os
import uuid
from contextlib import contextmanager
from typing import Any, Dict, Iterator, NamedTuple, Optional, Tuple

from . import beneath
from .beneath import Outside, Root
from .serve import Fault

DIRECTORY = b".mailmirror"
FILE = b"store.json"
TEMPORARY = b"store.json.tmp"
ACTIVE, PASSIVE = "active", "passive"


class Marker(NamedTuple):
    store: str
    pair: str
    place: str
    role: str
    epoch: int
    generation: int
    nonce: str  # drawn anew with each raise: two lives of one disk never look the same
    boot: str

    def raised(self, boot: str) -> "Marker":
        """The marker with the next generation, for this boot."""
        return self._replace(generation=self.generation + 1, nonce=uuid.uuid4().hex, boot=boot)

    def head(self) -> Dict[str, Any]:
        return dict(self._asdict())


def boot_id() -> str:
    """This boot of this kernel (proc(5), random/boot_id)."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def new_store_id() -> str:
    return uuid.uuid4().hex


def read(root: Root) -> Optional[Marker]:
    """The marker of `root`; None when there is none. Raises Fault("marker") for a damaged one."""
    try:
        fd = root.open_dir(DIRECTORY)
        with os.fdopen(beneath.open_file(fd, FILE), "rb") as file:
            raw = file.read(65536)
    except FileNotFoundError:
        return None
    try:
        found = json.loads(raw)
        marker = Marker(*(found[field] for field in Marker._fields))
        if not all(isinstance(v, int if n in ("epoch", "generation") else str) for n, v in marker._asdict().items()):
            raise ValueError("a field of the wrong type")
        return marker
    except (ValueError, KeyError, TypeError) as error:
        raise Fault(
            "marker",
            f"the store marker {root.path}/.mailmirror/store.json is damaged: {error}",
            "Restore it after the other place's marker (same store id), or check both stores and run `init`.",
        ) from error


def look(path: str) -> Optional[Marker]:
    """The marker of the root at a path; None where there is none that can be read."""
    try:
        root = Root(path)
        try:
            return read(root)
        finally:
            root.close()
    except (OSError, Outside, Fault):
        return None


def write(root: Root, marker: Marker) -> None:
    """Lay the marker down, durable when this returns."""
    for made in root.make_dirs(DIRECTORY, 0o700):
        beneath.fsync_dir(root.open_dir(made.rpartition(b"/")[0]))
    fd = root.open_dir(DIRECTORY)
    if TEMPORARY in beneath.entries(fd):
        beneath.unlink(fd, TEMPORARY)
    out = beneath.create(fd, TEMPORARY, 0o600)
    try:
        os.write(out, json.dumps(marker.head(), indent=1).encode() + b"\n")
        os.fsync(out)
    finally:
        os.close(out)
    beneath.rename(fd, TEMPORARY, fd, FILE)
    beneath.fsync_dir(fd)


@contextmanager
def demanded(path: str, head: Dict[str, Any], role: Optional[str] = None) -> Iterator[Tuple[Root, Marker]]:
    """The root at `path` and its marker, for a request: of the store `store_id`, of this role if one is given, and,
    where the request has an `epoch`, of none that is later. Raises Fault."""
    root = Root(path)
    try:
        found = demand(root, head.get("store_id"), role)
        if int(head.get("epoch", found.epoch)) < found.epoch:
            raise Fault(
                "older-epoch",
                f"the request is of epoch {head['epoch']}; {path} is in epoch {found.epoch}",
                "Another promotion came between: look at `mailmirror status` and begin anew.",
            )
        yield root, found
    finally:
        root.close()


def demand(root: Root, store: Optional[str], role: Optional[str]) -> Marker:
    """The marker, if it lets this root be used as `role` (None: whatever it is). Raises Fault("refused") otherwise."""
    marker = read(root)
    if marker is None:
        raise Fault(
            "no-marker",
            f"{root.path} has no store marker: it isn't initialised, or its file system isn't mounted",
            "Mount it; or, for a new pair, run `mailmirror init`.",
        )
    if store is not None and marker.store != store:
        raise Fault(
            "other-store",
            f"{root.path} holds store {marker.store}, not {store}",
            "Check what is mounted there: it isn't this pair's store.",
        )
    if role is not None and marker.role != role:
        raise Fault(
            "wrong-role",
            f"{root.path} is marked {marker.role} (place {marker.place}, epoch {marker.epoch}), not {role}",
            "Nothing was touched. A store is read only while active and written only while passive.",
        )
    return marker
