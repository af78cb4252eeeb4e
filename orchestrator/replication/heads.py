"""What agents answer, checked before anything is done with it. Pure.

A host may be damaged, or in a stranger's hands: whatever its agent says is looked at against the shape that its
verb's answer has. Shapes are plain values: a type, [shape] for a list, (shape, ...) for a list of exactly these,
{"key": shape} for an object that has at least these keys, {str: shape} for one with any; `Maybe` allows null.

Invariant: what passes `checked` or `content` has every key and type that is relied upon, and each whole number in it is
at least 0 and at most 2^62; anything else is an AgentFault that names the host, the answer and the spot.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from orchestrator.agent.wire import Frame, Garbled, inflate, unpack
from orchestrator.errors import AgentFault

MAX_COUNT = 1 << 62
BYTES_A_LIST = 16
"""An honest row has more bytes than that for each list in it: the shortest have some thirty."""
REMEDY = (
    "Install the agent on that host again (`mailmirror agent install`). If it goes on, don't trust the host:"
    " look who can change what runs there."
)


class Maybe(NamedTuple):
    """A shape that may be null."""

    shape: Any


_MARKER = {"store": str, "epoch": int, "generation": int, "nonce": str}
_TALLY = {str: int}
_SOURCE = {
    "index": str, "head": int, "horizon": Maybe(int), "marker": _MARKER, "watch": str, "watch_why": str,
    "accounts": int, "folders": int, "messages": int, "whole": bool, "unstable": int, "missing": [str],
    "foreign": [(str, str)], "problems": [(str, str, str)], "trouble": str,
}  # fmt: skip
_SINK = {
    "live": int, "dead": int, "whole": bool, "watermark": Maybe(float), "waiting": [(str, int, str, float, float)],
    "counted": [(str, int)], "sidecars_wait": int, "problems": [str],
}  # fmt: skip
_AGAIN = [(int, str, bool)]
_CUT = {
    "epoch": int, "place": str, "messages": int, "waiting": int, "operation": str, "at": float,
    "source_complete": Maybe(int), "source_watermark": Maybe(float),
}  # fmt: skip

SHAPES: dict[str, Any] = {
    "store.look": {"marker": Maybe({**_MARKER, "pair": str, "role": str}), "empty": bool, "maildir": bool},
    "store.turn": {"marker": {**_MARKER, "role": str}, "made": bool},
    "store.open source": _SOURCE,
    "store.open sink": {**_SINK, "again": _AGAIN},
    "source.audit": _SOURCE,
    "source.status": {**_SOURCE, "pending": int, "age": Maybe(float)},
    "source.offer": {
        "batch": int, "live": int, "dead": int, "more": bool, "items": int, "changes": int, "epoch": int,
        "whole": bool, "deaths": [(str, int, int)], "users": {str: str}, "groups": {str: str},
    },
    "source.retire": {"messages": int},
    "source.digests": {"head": int, "whole": bool},
    "sink.status": _SINK,
    "sink.consider": {"need": int, "refused": [str]},
    "sink.plan": {"tally": _TALLY},
    "sink.sweep count": {"unseen": [(str, int)]},
    "sink.sweep": {"tally": _TALLY},
    "sink.adopt": {"messages": int},
    "sink.set-aside": {"messages": int},
    "sink.release": {"deleted": int},
    "sink.undelete": {"restored": int},
    "sink.digests": {"waiting": int},
    "done": {"done": int, "live": int, "dead": int, "tally": _TALLY, "again": _AGAIN, "problems": [str],
             "durable_ns": int},
    "lines": [(str, str, int, int, str, str, [(str, int, str, str, str)])],
    "quarantine": [(int, float, str, str, int, str, int)],
    "sink.cut": {"cut": _CUT},
    "store.cuts": {"cuts": [_CUT]},
    "store.differences": {"next": Maybe(str)},
    "store.differences messages": {"next": Maybe((str, str)), "keywords": {str: {str: str}}, "moving": [str]},
    "store.aside": {"aside": int, "missing": [(str, str)], "changed": [(str, str)]},
    "store.read_aside": {"size": int, "mtime": int},
    "store.drop_aside": {"dropped": int, "kept": [(str, str)], "left": int},
    "store.apply": {"words": [str]},
    "store.indexes": {"users": {str: str}, "groups": {str: str}},
    "store.read_indexes": {"pieces": [Maybe((int, int, int, int, int))]},
    "store.settle_indexes": {"missing": [(str, str)], "settled": int},
    "indexes": [(str, int, int, int, [(str, int, int, str, int)])],
    "cut folders": [(str, str, int, str, int)],
    "cut placements": [(str, str, int, str, int, int, int, int)],
    "cut kept": [(str, str, str, float)],
    "standing folders": [(str, str, int, str, int, int, bool)],
    "standing messages": [(str, str, int, str, int, int, int, int, int)],
}  # fmt: skip
"""What is relied upon, by verb; where a verb has several answers, by verb and a word."""


def checked(host: str, what: str, head: dict[str, Any]) -> dict[str, Any]:
    """The head, if it has the shape of this answer. Raises AgentFault; an answer that isn't listed has any shape."""
    shape = SHAPES.get(what)
    if shape is not None:
        _check(host, what, head, shape, "")
    return head


def content(host: str, what: str, frame: Frame) -> Any:
    """What a frame's blob holds, if it has the shape of this answer; None for an empty one. Raises AgentFault."""
    try:
        plain = bytes(inflate(frame))
        if plain.count(b"[") + plain.count(b"{") > len(plain) // BYTES_A_LIST + 1_000:
            raise Garbled("next to nothing but lists")  # each takes many times its room in memory
        value = unpack(frame._replace(blob=plain, deflated=False))
    except Garbled as error:
        raise _wrong(host, what, str(error)) from error
    if value is not None:
        _check(host, what, value, SHAPES[what], "")
    return value


def blamed(fault: AgentFault, host: str, why: str) -> AgentFault:
    """A fault that one agent found with what came from another: the other is the one to look at."""
    if fault.code not in ("garbled", "bad-request"):
        return fault
    return AgentFault(f"{host}: {why}: {fault}", code=fault.code, remedy=REMEDY)


def _check(host: str, what: str, value: Any, shape: Any, spot: str) -> None:
    if isinstance(shape, Maybe):
        if value is not None:
            _check(host, what, value, shape.shape, spot)
    elif isinstance(shape, dict):
        _check_object(host, what, value, shape, spot)
    elif isinstance(shape, list | tuple):
        if not isinstance(value, list) or (isinstance(shape, tuple) and len(value) != len(shape)):
            raise _odd(host, what, value, spot)
        for number, each in enumerate(value):
            _check(host, what, each, shape[number if isinstance(shape, tuple) else 0], f"{spot}[{number}]")
    elif not _is(value, shape):
        raise _odd(host, what, value, spot)


def _check_object(host: str, what: str, value: Any, shape: dict[Any, Any], spot: str) -> None:
    if not isinstance(value, dict):
        raise _odd(host, what, value, spot)
    keys = value.keys() if str in shape else shape.keys()
    for key in keys:
        if key not in value:
            raise _wrong(host, what, f"{spot}.{key} is missing")
        _check(host, what, value[key], shape[str] if str in shape else shape[key], f"{spot}.{key}")


def _is(value: Any, kind: type) -> bool:
    if kind is bool:
        return isinstance(value, bool) or value in (0, 1)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_COUNT
    return isinstance(value, kind)


def _odd(host: str, what: str, value: Any, spot: str) -> AgentFault:
    return _wrong(host, what, f"{spot or 'it'} is {value!r:.60}")


def _wrong(host: str, what: str, why: str) -> AgentFault:
    verb = what.split(" ")[0]
    return AgentFault(f"{host}: its agent's answer ({verb}) can't be right: {why}", code="garbled", remedy=REMEDY)
