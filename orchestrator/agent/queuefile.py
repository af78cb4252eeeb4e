"""Names and places of Postfix's queue files, and when a letter arrived. Pure: text and bytes in, values out.

A *short* queue id is five hexadecimal digits of the arrival's microseconds and the file's inode; `postsuper -s`, which
each start of Postfix runs, gives a file whose inode is another one another name. A *long* id (enable_long_queue_ids)
has seconds, microseconds, a `z`, and the inode in base 51; it keeps its name. A queue that `hash_queue_names` names has
directories by the first digits of the microseconds. A file begins with records: a letter, a length in base 128, data.

Invariant: what isn't exactly a queue id is none, whoever sent it; so no name here leaves its directory, and `ALL`,
which Postfix's commands take for every letter, is none either. Sources: postconf(5), postsuper(1), Postfix's
mail_queue.h and record.h; measured with Postfix 3.7 (tests/e2e/test_queue.py).
"""

from __future__ import annotations

import re
from typing import Collection, Optional, Tuple

_DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
_SHORT = re.compile(r"[0-9A-F]{6,21}")
_LONG = re.compile(rf"[{_DIGITS}]{{10,14}}z[{_DIGITS[:-1]}]{{1,14}}")
HEAD = 512
"""Bytes of a queue file within which the arrival's record stands: it is the second or third one."""
_TIME, _CONTENT = ord("T"), ord("M")
_SAID = re.compile(rb" *([0-9]{1,11})(?: +([0-9]{1,6}))? *")


def is_id(name: str) -> bool:
    """Whether this is a queue id, short or long."""
    return bool(_SHORT.fullmatch(name) or _LONG.fullmatch(name))


def is_long(queue_id: str) -> bool:
    return "z" in queue_id


def folder(queue: str, queue_id: str, hashed: Collection[str], depth: int) -> str:
    """The directory of a letter, below the spool."""
    if queue not in hashed:
        return queue
    digits = f"{_microseconds(queue_id):05X}" if is_long(queue_id) else queue_id
    return "/".join([queue, *digits[:depth].ljust(depth, "_")])


def _microseconds(long_id: str) -> int:
    value = 0
    for digit in long_id[: long_id.rindex("z")][-4:]:
        value = value * len(_DIGITS) + _DIGITS.index(digit)
    return value if value < 1_000_000 else 0


def another(queue_id: str, inode: int, tries: int) -> str:
    """An id of the same kind that is this inode's: at first as `postsuper -s` would name its file."""
    if not is_long(queue_id):
        return f"{(int(queue_id[:5], 16) + tries) % 1_000_000:05X}{inode:X}"
    time = queue_id[: queue_id.rindex("z")]
    return f"{time[:-4]}{_based((_microseconds(queue_id) + tries) % 1_000_000, 52, 4)}z{_based(inode, 51, 1)}"


def _based(value: int, base: int, width: int) -> str:
    digits = ""
    while value or len(digits) < width:
        value, digit = divmod(value, base)
        digits = _DIGITS[digit] + digits
    return digits


def arrival(head: bytes) -> Optional[int]:
    """When a letter arrived, in microseconds since 1970, by the first `HEAD` bytes; None if they don't say so."""
    at = 0
    while at < len(head) and head[at] != _CONTENT:
        kind, (length, at) = head[at], _length(head, at + 1)
        data, at = head[at : at + length], at + length
        if kind == _TIME:
            said = _SAID.fullmatch(data)
            return int(said.group(1)) * 1_000_000 + int(said.group(2) or 0) if said else None
    return None


def _length(head: bytes, at: int) -> Tuple[int, int]:
    """A record's length, and where its data begins."""
    value = shift = 0
    while at < len(head):
        value |= (head[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not head[at - 1] & 0x80:
            break
    return value, at
