"""A stand-in for the agent that speaks frames and does as the test says, for tests of the link alone.

Run as a script with the package's parent directory as first argument, or shipped as `main.py` of the agent's code
(`shipped`). Verbs: echo (the blob comes back), arguments, fail (a fault), bodies (n BODY frames of a size, then a
reply), die (a traceback), babble (what is no frame), mute (it answers no PING from then on), lane (bodies may come by
lanes), no-lanes (they may not), told (how many bodies of which size have come in, and whether in order).
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and not __package__:
    sys.path.insert(0, sys.argv.pop(1))

from orchestrator.agent import PROTOCOL  # noqa: E402, RUF100
from orchestrator.agent.lanes import LaneListener, lend  # noqa: E402, RUF100
from orchestrator.agent.wire import Decoder, Frame, Kind, encode  # noqa: E402, RUF100


def write(frame: Frame) -> None:
    data = memoryview(encode(frame))
    while data:
        data = data[os.write(1, data) :]


class Bodies:
    """What came in, and how it may come."""

    def __init__(self) -> None:
        self.count = self.bytes = 0
        self.in_order = True
        self.refused = False
        self.listener: LaneListener | None = None

    def take(self, frame: Frame) -> None:
        self.in_order = self.in_order and frame.head["n"] == self.count
        self.count += 1
        self.bytes += len(frame.blob)


BODIES = Bodies()


def deliver(frame: Frame, arguments: list[str]) -> None:
    if frame.kind is Kind.BODY:
        BODIES.take(frame)
    elif frame.kind is Kind.REQUEST:
        answer(frame, arguments)


def broken(why: str) -> None:
    sys.stderr.write(f"the toy lost a lane: {why}\n")
    sys.stderr.flush()
    os._exit(3)


def answer(frame: Frame, arguments: list[str]) -> None:
    verb = frame.head["verb"]
    if verb == "no-lanes":
        BODIES.refused = True
        write(Frame(Kind.REPLY, frame.id, {}))
    elif verb == "lane" and BODIES.refused:
        write(Frame(Kind.FAULT, frame.id, {"code": "unknown-verb", "message": "I know no lanes"}))
    elif verb == "lane":
        BODIES.listener = LaneListener(lambda frame: deliver(frame, arguments), broken)
        write(Frame(Kind.REPLY, frame.id, {"token": BODIES.listener.token}))
    elif verb == "told":
        head = {"count": BODIES.count, "bytes": BODIES.bytes, "in_order": BODIES.in_order}
        write(Frame(Kind.REPLY, frame.id, head))
    elif verb == "echo":
        write(Frame(Kind.REPLY, frame.id, frame.head, frame.blob, frame.deflated))
    elif verb == "arguments":
        write(Frame(Kind.REPLY, frame.id, {"arguments": arguments, "file": __file__}))
    elif verb == "fail":
        write(Frame(Kind.FAULT, frame.id, {"code": "refused", "message": "I won't", "remedy": "Ask nicely."}))
    elif verb == "bodies":
        blob = os.urandom(frame.head["size"])
        for n in range(frame.head["n"]):
            write(Frame(Kind.BODY, frame.id, {"n": n}, blob))
        write(Frame(Kind.REPLY, frame.id, {}))
    elif verb == "die":
        raise RuntimeError("the toy broke")
    elif verb == "babble":
        os.write(1, b"Last login: Tue Nov 24 from nowhere\n")


def main(arguments: list[str]) -> int:
    if arguments[-2:-1] == ["lane"]:
        return lend(arguments)
    protocol = int(arguments[0]) if arguments and arguments[0].isdigit() else PROTOCOL
    write(Frame(Kind.HELLO, 0, {"agent": "toy", "protocol": protocol}))
    decoder, mute = Decoder(), False
    while data := os.read(0, 1 << 20):
        for frame in decoder.feed(data):
            if frame.kind is Kind.PING and not mute:
                write(Frame(Kind.PONG, frame.id, {"busy": 1.5}))
            elif frame.kind is not Kind.PING:
                mute = mute or frame.head.get("verb") == "mute"
                if BODIES.listener:
                    BODIES.listener.main(frame)
                else:
                    deliver(frame, arguments)
    if BODIES.listener:
        BODIES.listener.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
