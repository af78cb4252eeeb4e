"""An agent that is damaged or in a stranger's hands: it speaks the protocol, and then does what a mode says.

Run as a script: the package's parent directory, the mode, the store's path, then the agent's own arguments. Raw modes
write bytes and never answer; the others run the real agent with some of its answers changed, or with a flood beside
them. `RAW`, `FLOODS` and `CHANGES` are the modes.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Generator
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, sys.argv.pop(1))

from orchestrator.agent import PROTOCOL, main  # noqa: E402, RUF100
from orchestrator.agent.serve import Answer, Desk  # noqa: E402, RUF100
from orchestrator.agent.wire import HEADER, Frame, Kind, encode, unpack  # noqa: E402, RUF100

HELLO = Frame(Kind.HELLO, 0, {"agent": "hostile", "protocol": PROTOCOL})
NESTED = b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}"


def framed(kind: int, head: bytes, size: int | None = None) -> bytes:
    return HEADER.pack(len(head) if size is None else size, len(head), kind, 0, 0) + head


RAW: dict[str, bytes] = {
    "garbage": bytes(range(256)) * 400,
    "a login message": b"Last login: Tue Nov 24\n" * 3,
    "nothing at all": b"",
    "a swollen length": encode(HELLO) + struct.pack(">IIBBI", 0xFFFFFFFF, 2, 7, 0, 0) + b"{}",
    "a head longer than its frame": encode(HELLO) + HEADER.pack(2, 9, 7, 0, 0) + b"{}",
    "half a frame, then silence": encode(HELLO) + framed(Kind.NOTICE, b"{}", 5_000),
    "a greeting that is a list": framed(Kind.HELLO, b"[1,2]"),
    "a greeting of wrong types": framed(Kind.HELLO, b'{"agent":{"a":[1]},"protocol":"1","heartbeat":[]}'),
    "a greeting without end": framed(Kind.HELLO, NESTED),
    "an unknown kind": encode(HELLO) + framed(77, b"{}"),
    "a second greeting": encode(HELLO) * 2,
    "a request": encode(HELLO) + framed(Kind.REQUEST, b'{"verb":"lane"}'),
    "a reply to nothing": encode(HELLO) + framed(Kind.REPLY, b"{}"),
    "a deeply nested head": encode(HELLO) + framed(Kind.NOTICE, NESTED),
}


def bomb(kind: bytes, size: int) -> bytes:
    """A blob that is small and inflates to `size` bytes of `kind`, again and again."""
    engine = zlib.compressobj(9)
    piece = kind * (65_536 // len(kind))
    parts = [engine.compress(piece) for _ in range(size // len(piece))]
    return b"".join([*parts, engine.flush()])


def flood(of: Callable[[int], Frame]) -> Callable[[Desk], None]:
    def begin(desk: Desk) -> None:
        def run() -> None:
            number = 0
            try:
                while True:
                    desk.send(of(number))
                    number += 1
            except OSError:
                return  # the controller has gone

        threading.Thread(target=run, daemon=True).start()

    return begin


STORE = sys.argv[2] if __name__ == "__main__" else ""
FLOODS: dict[str, Callable[[Desk], None]] = {
    "notices that something changed": flood(lambda n: Frame(Kind.NOTICE, 0, {"changed": STORE, "head": n})),
    "notices of nothing known": flood(lambda n: Frame(Kind.NOTICE, n, {"x": "y" * 3_000, "store": STORE})),
    "credit that nobody asked for": flood(lambda n: Frame(Kind.CREDIT, 0, {"g": n, "bytes": 1 << 62, "store": STORE})),
    "bodies that nobody asked for": flood(lambda n: Frame(Kind.BODY, n, {"b": n + 10_000}, bytes(100_000))),
    "pongs": flood(lambda n: Frame(Kind.PONG, n, {"busy": "long"})),
    "batches that are done": flood(
        lambda n: Frame(Kind.NOTICE, 0, {"done": n, "store": STORE, "live": 1, "dead": 1, "again": [], "tally": {}})
    ),
    "rows to be offered again": flood(
        lambda n: Frame(Kind.NOTICE, 0, {"again": [[1, "x", False]] * 2_000, "store": STORE})
    ),
}


def head(verb: str, **changes: Any) -> tuple[str, Callable[[Answer], Answer]]:
    return verb, lambda answer: answer._replace(head={**answer.head, **changes})


def blob(verb: str, content: Callable[[], bytes]) -> tuple[str, Callable[[Answer], Answer]]:
    return verb, lambda answer: answer._replace(blob=content(), deflated=True)


def lacks(verb: str, key: str) -> tuple[str, Callable[[Answer], Answer]]:
    return verb, lambda answer: answer._replace(head={k: v for k, v in answer.head.items() if k != key})


CHANGES: dict[str, tuple[str, Callable[[Answer], Answer]]] = {
    "an offer up to less than nothing": head("source.offer", live=-5),
    "an offer up to a fraction": head("source.offer", live=1.5),
    "an offer up to a word": head("source.offer", live="many"),
    "an offer up to no number of 64 bits": head("source.offer", live=1 << 70),
    "an offer of the same for ever": head("source.offer", live=0, more=True, changes=1),
    "an offer of another batch": head("source.offer", batch=1 << 40),
    "an offer of fewer than no items": head("source.offer", items=-3),
    "an offer of items without end": head("source.offer", items=1 << 60),
    "an offer with odd deaths": head("source.offer", deaths=[["a", -1, "x"]]),
    "an offer with odd users": head("source.offer", users=["root"]),
    "an offer without an end": lacks("source.offer", "more"),
    "an offer that inflates": blob("source.offer", lambda: bomb(b"0", 300 << 20)),
    "an offer that nests": blob("source.offer", lambda: zlib.compress(b"[" * 1_000_000)),
    "facts of wrong types": head("store.open", messages="many", marker=5, waiting=7),
    "facts without a marker": lacks("store.open", "marker"),
    "digests that inflate": blob("digests", lambda: bomb(b"0", 300 << 20)),
    "digests of empty lists": blob("digests", lambda: zlib.compress(b"[" + b"[]," * 20_000_000 + b"[]]")),
    "digests of numbers": blob("digests", lambda: zlib.compress(b"[" + b"1," * 30_000_000 + b"1]")),
    "digests of wrong types": blob("digests", lambda: zlib.compress(b'[[1,2,3,4,5,6,7],"x",{"a":[]}]')),
    "needs of wrong types": head("sink.consider", need="all", refused=5),
    "needs of what wasn't offered": blob("sink.consider", lambda: zlib.compress(b'{"plain":[[0,1e300]],"from":7}')),
    "a status of wrong types": head("sink.status", waiting=[["a"]], counted={"a": 1}, problems="none"),
}

NOTICES: dict[str, dict[str, Any] | None] = {
    "batches that are never done": None,
    "a batch done beyond what was offered": {"live": 1 << 61},
    "a batch done of wrong types": {"live": "x", "tally": {"messages": "many"}},
    "a batch done that wasn't there": {"done": 77},
    "the same wanted again without end": {},
}


class Hostile(main.Agent):
    """The real agent, with this mode's change."""

    def __init__(self, desk: Desk, *rest: Any, **words: Any) -> None:
        super().__init__(desk, *rest, **words)
        if MODE in FLOODS:
            opened = desk.verbs["store.open"]

            def then_flood(head: dict[str, Any], frame: Frame) -> Any:
                answer = opened(head, frame)
                FLOODS[MODE](desk)
                return answer

            desk.verbs["store.open"] = then_flood
        elif MODE in NOTICES:
            self._change_notices(desk, NOTICES[MODE])
        else:
            verb, change = CHANGES[MODE]
            for name in [name for name in desk.verbs if name == verb or name.endswith(f".{verb}")]:
                desk.verbs[name] = changed(desk.verbs[name], change)

    def _change_notices(self, desk: Desk, changes: dict[str, Any] | None) -> None:
        notice, consider = desk.notice, desk.verbs["sink.consider"]
        again: list[Any] = []

        def changed_notice(head: dict[str, Any], *rest: Any) -> None:
            if "done" not in head:
                notice(head, *rest)
            elif changes is not None:
                notice({**head, "again": again, **changes}, *rest)

        def considered(head: dict[str, Any], frame: Frame) -> Any:
            again[:] = [[fid, rows[0][0], False] for fid, rows in unpack(frame)["placements"]]
            return consider(head, frame)

        desk.notice = changed_notice  # type: ignore[method-assign, assignment]
        if changes == {}:
            desk.verbs["sink.consider"] = considered


def changed(verb: Callable[..., Any], change: Callable[[Answer], Answer]) -> Callable[..., Any]:
    def work(result: Any) -> Generator[Any, None, Answer]:
        return change((yield from result))

    def answered(head: dict[str, Any], frame: Frame) -> Any:
        result = verb(head, frame)
        return change(result) if isinstance(result, Answer) else work(result)

    return answered


def write_raw(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
    while os.read(0, 1 << 16):
        continue


if __name__ == "__main__":
    MODE = sys.argv.pop(1)
    sys.argv.pop(1)
    if MODE in RAW:
        write_raw(RAW[MODE])
    else:
        vars(main)["Agent"] = Hostile
        sys.exit(main.main(sys.argv[1:]))
