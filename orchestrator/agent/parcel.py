"""An offer as a passive place receives it: every row checked before anything is done with it. Pure.

Invariant: no name of a parsed parcel can lead out of its folder, no path out of the root, no
number is outside its range; a row that breaks this is left out and told, the others stand.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import names
from .install import SidecarRow
from .log import FOLDER
from .wire import Garbled, raw

MAX_TIME = 1 << 62
MAX_BODY = 1 << 40


class FolderItem(NamedTuple):
    fid: int
    account: bytes
    path: bytes
    maildir: bool
    mode: int
    owner: int
    group: int


class MessageItem(NamedTuple):
    """A placement as the source offers it; `item` is its number in the batch, `changed` its ctime there."""

    item: int
    fid: int
    base: bytes
    sub: int
    info: bytes
    inode: int
    size: int
    mtime: int
    mode: int
    owner: int
    group: int
    origin: Optional[int]
    changed: int


class RemovalItem(NamedTuple):
    fid: int
    what: int
    name: bytes
    moved: bool
    exempt: bool
    account: bytes


class Parcel(NamedTuple):
    folders: List[FolderItem]
    messages: List[MessageItem]
    sidecars: List[Tuple[int, SidecarRow]]  # (item number, row)
    removals: List[RemovalItem]
    refused: List[str]


def parse(value: Any, items: int) -> Parcel:
    """The parcel in an offer's blob. Raises Garbled when it isn't one at all."""
    if not isinstance(value, dict):
        raise Garbled("an offer that is no object")
    refused: List[str] = []
    folders = _folders(_rows(value, "folders"), refused)
    messages = _messages(_groups(_rows(value, "placements")), _rows(value, "order"), refused)
    sidecars = _sidecars(_rows(value, "sidecars"), items, refused)
    removals = _removals(_rows(value, "removals"), refused)
    return Parcel(folders, messages, sidecars, removals, refused)


def _rows(value: Dict[str, Any], key: str) -> List[Any]:
    rows = value.get(key) or []
    if not isinstance(rows, list):
        raise Garbled(f"{key} that are no list")
    return rows


def _groups(rows: List[Any]) -> List[Tuple[int, List[Any]]]:
    """The folders' messages as (folder, rows). Their numbers run through all groups, so one bad group spoils all."""
    found = []
    for row in rows:
        if not isinstance(row, list) or len(row) != 2 or not isinstance(row[1], list):
            raise Garbled("a folder's messages that are no list")
        found.append((_number(row[0], MAX_TIME), row[1]))
    return found


def _number(value: Any, limit: int) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise Garbled(f"a number out of range: {value!r:.40}")
    return value


def _path(value: Any) -> bytes:
    path = raw(value)
    if path:
        names.check_path(path)
        if path.split(b"/", 1)[0] == names.STATE_DIR:
            raise Garbled("a path into the state directory")
    return path


def _folders(rows: List[Any], refused: List[str]) -> List[FolderItem]:
    found = []
    for row in rows:
        try:
            fid, account, path, maildir, mode, owner, group = row
            found.append(
                FolderItem(
                    _number(fid, MAX_TIME), _path(account), _path(path), bool(maildir),
                    _number(mode, 0o7777), _number(owner, 1 << 32), _number(group, 1 << 32),
                )
            )  # fmt: skip
        except (ValueError, TypeError) as error:
            refused.append(f"a folder: {error}")
    return found


def _messages(groups: List[Tuple[int, List[Any]]], order: List[Any], refused: List[str]) -> List[MessageItem]:
    """Messages in the order of the groups; `order` gives their item numbers where that isn't 0, 1, 2, ..."""
    found = []
    number = -1
    if order and len(order) != sum(len(rows) for _, rows in groups):
        raise Garbled("not as many item numbers as messages")
    for fid, rows in groups:
        for row in rows:
            number += 1
            try:
                base, sub, info, inode, size, mtime, mode, owner, group, origin, changed = row
                base, info = raw(base), raw(info)
                if not names.is_message(base + info) or b":" in base or (info and info[:1] != b":"):
                    raise Garbled(f"no name of a message: {base + info!r:.80}")
                if sub not in (0, 1) or type(origin) not in (int, type(None)):
                    raise Garbled("neither new nor cur")
                found.append(
                    MessageItem(
                        _number(order[number], MAX_TIME) if order else number, fid, base, sub, info,
                        _number(inode, MAX_TIME), _number(size, MAX_BODY), _number(mtime, MAX_TIME),
                        _number(mode, 0o7777), _number(owner, 1 << 32), _number(group, 1 << 32), origin,
                        _number(changed, MAX_TIME),
                    )
                )  # fmt: skip
            except (ValueError, TypeError) as error:
                refused.append(f"a message: {error}")
    return found


def _sidecars(rows: List[Any], items: int, refused: List[str]) -> List[Tuple[int, SidecarRow]]:
    found = []
    first = items - len(rows)
    for number, row in enumerate(rows):
        try:
            fid, name, link, size, mtime, mode, owner, group, rewrites, crc, uidvalidity, next_uid = row
            name = raw(name)
            names.check_component(name)
            if not names.travels(name):
                raise Garbled(f"{name!r:.80} is no sidecar that travels")
            target = None if link is None else raw(link)
            if target is not None and (
                target[:1] == b"/" or b".." in target.split(b"/") or b"\0" in target or not target
            ):
                raise Garbled("a link that leaves its folder")
            found.append(
                (
                    first + number,
                    SidecarRow(
                        _number(fid, MAX_TIME), name, target, _number(size, MAX_BODY), _number(mtime, MAX_TIME),
                        _number(mode, 0o7777), _number(owner, 1 << 32), _number(group, 1 << 32),
                        _number(rewrites, MAX_TIME), _number(crc, 1 << 32),
                        None if uidvalidity is None else _number(uidvalidity, 1 << 32),
                        None if next_uid is None else _number(next_uid, 1 << 32),
                    ),
                )
            )  # fmt: skip
        except (ValueError, TypeError) as error:
            refused.append(f"a sidecar: {error}")
    return sorted(found, key=lambda each: names.sidecar_rank(each[1].name))


def _removals(rows: List[Any], refused: List[str]) -> List[RemovalItem]:
    found = []
    for row in rows:
        try:
            fid, what, name, moved, exempt, account = row
            name = raw(name)
            if _number(what, FOLDER) == FOLDER:
                name = b""
            else:
                names.check_component(name)
            found.append(RemovalItem(_number(fid, MAX_TIME), what, name, bool(moved), bool(exempt), raw(account)))
        except (ValueError, TypeError) as error:
            refused.append(f"a removal: {error}")
    return found


def ranges(items: List[int]) -> List[List[int]]:
    """Ascending numbers as [first, last] ranges."""
    found: List[List[int]] = []
    for item in items:
        if found and found[-1][1] == item - 1:
            found[-1][1] = item
        else:
            found.append([item, item])
    return found


def as_needs(plain: List[int], offsets: Dict[int, int], unless: Dict[int, List[str]]) -> Dict[str, Any]:
    """What `source.fetch` understands."""
    return {
        "plain": ranges(sorted(plain)),
        "from": sorted(offsets.items()),
        "unless": sorted(unless.items()),
    }
