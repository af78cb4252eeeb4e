"""The witness on the wire: which place answered, told by the cable on which the answer entered the lab's bridge.

It listens with one packet socket in the network namespace that holds the places' veths (a host that boots gets a new
one, so interfaces are told by name): what *comes in* at a place's veth, the place said; what goes out, it was told.
Clear text is read (`answers`). Of a session inside TLS only the times at which the place sent something are noted
(`carried`); that is no answer by itself, and becomes one only where the outside client's own journal says that it had a
positive answer on that very connection (`joined`). So a second writer that is seen by nobody's clear text, nor by the
client's own TLS sessions, isn't found: the verdict can't say more than that. An answer counts when it entered the
bridge, even if a cut link swallowed it there.

Invariant: times are the kernel's, of the frame's arrival. Frames that the socket dropped, and connections whose stream
was torn, are counted, and a verdict with any isn't sound. As a program: `python -m tests.lab.oracle.witness --site …
--out …`, until SIGTERM; in the namespace of the veths, or with `--net PATH`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tests.lab.oracle.answers import Ear, ear
from tests.lab.oracle.frames import FIN, RST, SYN, Segment, Stream, segment
from tests.lab.oracle.intervals import Answer
from tests.lab.oracle.journal import Act, Login, Record, Sent, now
from tests.lab.oracle.site import Place, Site, load
from tests.lab.oracle.verdict import Wire
from tests.support import kernel

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 26, 33, 35
_LONGEST = 1 << 17
_BUFFER = 16 << 20
_EARLIER = 2.0


@dataclass
class Heard:
    """One connection, between a client and a place."""

    ear: Ear
    client: Stream = field(default_factory=Stream)
    server: Stream = field(default_factory=Stream)


@dataclass
class Listener:
    """Of one place: frames in, lines out. Pure but for `out`: [t, place, link, protocol, text], and for TLS the same
    with no text; `link` is from the client's address:port to the server's, as in the journal.
    """

    place: str
    ports: Mapping[int, str]
    out: IO[str]
    torn: int = 0
    _heard: dict[str, Heard] = field(default_factory=dict)

    def frame(self, data: bytes, t: float, *, said: bool) -> None:
        """`said`: by the place; else to it."""
        one = segment(data)
        if one is None:
            return
        server, client = (one.source, one.target) if said else (one.target, one.source)
        protocol = self.ports.get(int(server.rpartition(":")[2]))
        if protocol is None:
            return
        link = f"{client}>{server}"
        if one.flags & SYN and not said:
            self._heard[link] = Heard(ear(protocol))
        heard = self._heard.get(link)
        if heard is not None:
            self._listen(heard, link, one, t, said)
            if one.flags & RST or (one.flags & FIN and heard.ear.encrypted and said):
                del self._heard[link]

    def _listen(self, heard: Heard, link: str, one: Segment, t: float, said: bool) -> None:
        stream = heard.server if said else heard.client
        was_torn = stream.torn
        data = stream.take(one)
        self.torn += stream.torn and not was_torn and not heard.ear.encrypted
        if said and heard.ear.encrypted and one.data:
            self._write(t, link, heard.ear.protocol, None)
        elif data and not said:
            heard.ear.from_client(data)
        elif data:
            for text in heard.ear.from_server(data):
                self._write(t, link, heard.ear.protocol, text)

    def _write(self, t: float, link: str, protocol: str, text: str | None) -> None:
        self.out.write(json.dumps([round(t, 6), self.place, link, protocol, text]) + "\n")


# ---- the sockets ----


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def _filter(ports: Iterable[int]) -> bytes:
    """Classic BPF: IPv4 and TCP, from or to one of the ports; so that bulk traffic isn't copied. See socket(7)."""
    numbers = sorted(ports)
    load_half, load_byte, equal, keep = 0x28, 0x30, 0x15, 0x06
    header, indirect_half = 0xB1, 0x48
    checks = len(numbers)
    code = [(load_half, 0, 0, 12), (equal, 0, 0, 0x0800), (load_byte, 0, 0, 23), (equal, 0, 0, 6), (header, 0, 0, 14)]
    for offset in (14, 16):
        code.append((indirect_half, 0, 0, offset))
        code += [(equal, 0, 0, number) for number in numbers]
    code += [(keep, 0, 0, 0), (keep, 0, 0, _LONGEST)]
    reject, accept = len(code) - 2, len(code) - 1
    resolved = []
    for place, (opcode, _, _, value) in enumerate(code):
        good = bad = 0
        if opcode == equal and place < 5:
            bad = reject - place - 1
        elif opcode == equal:
            good = accept - place - 1
            bad = reject - place - 1 if place == len(code) - 3 else 0
        resolved.append(struct.pack("=HBBI", opcode, good, bad, value))
    assert len(resolved) == 7 + 2 * checks + 2
    return b"".join(resolved)


def tapped(ports: Iterable[int]) -> socket.socket:
    """A packet socket on all interfaces of the current network namespace. Raises OSError."""
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    code = ctypes.create_string_buffer(_filter(ports))
    program = _Program(len(code) // 8, ctypes.cast(code, ctypes.c_void_p))
    tap.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))
    tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    return tap


def _dropped(tap: socket.socket) -> int:
    """Frames since the last call that found no room."""
    _, drops = struct.unpack("=II", tap.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
    return int(drops)


def _arrived(ancillary: list[Any], shift: float) -> float:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("=qq", data[:16])
            return float(seconds + nanoseconds / 1e9 + shift)
    return now()


@dataclass
class Witness:
    """All places at once. `listen` until the descriptor `stop` is readable, and what waited until then is heard."""

    places: tuple[Place, ...]
    ports: Mapping[int, str]
    out: IO[str]
    listening: threading.Event = field(default_factory=threading.Event)

    def listen(self, stop: int) -> None:
        listeners = {place.veth: Listener(place.name, self.ports, self.out) for place in self.places if place.veth}
        with tapped(self.ports) as tap:
            self._write(["listening", sorted(listeners)])
            self.listening.set()
            ended = False
            while not ended:
                ready = select.select([stop, tap.fileno()], [], [])[0]
                heard = self._take(tap, listeners)
                ended = stop in ready and not heard
                self.out.flush()
            torn = sum(listener.torn for listener in listeners.values())
            self._write(["missed", _dropped(tap) + torn])

    def _write(self, row: list[object]) -> None:
        self.out.write(json.dumps(row) + "\n")
        self.out.flush()

    @staticmethod
    def _take(tap: socket.socket, listeners: Mapping[str, Listener]) -> int:
        """What waits, at most a few hundred frames; how many there were. The wall's clock is read anew each time, so
        that nobody's step of it shifts the times by more than those.
        """
        shift = now() - time.time()
        for count in range(256):
            try:
                data, ancillary, _, source = tap.recvmsg(_LONGEST, 128, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return count
            listener = listeners.get(source[0])
            if listener is not None:
                listener.frame(data, _arrived(ancillary, shift), said=source[2] != socket.PACKET_OUTGOING)
        return 256


class Standing:
    """A witness in a thread of its own, as a context manager; `net` is the path of the namespace with the veths, empty
    for the caller's. The file is whole when the context has ended.
    """

    def __init__(self, site: Site, path: Path, net: str = "") -> None:
        self._site, self._path, self._net = site, path, net
        self._failed: OSError | None = None

    def __enter__(self) -> Standing:
        self._stop, stopping = socket.socketpair()
        self._out = open(self._path, "a", encoding="utf-8")
        self._witness = Witness(self._site.places, ports(self._site), self._out)
        self._thread = threading.Thread(target=self._run, args=(stopping,), name="witness", daemon=True)
        self._thread.start()
        if not self._witness.listening.wait(10) or self._failed is not None:
            self.__exit__(None, None, None)
            raise OSError(f"the witness can't listen: {self._failed}")
        return self

    def _run(self, stopping: socket.socket) -> None:
        try:
            if self._net:
                with open(self._net, "rb") as net:
                    kernel.setns(net.fileno(), kernel.CLONE_NEWNET)
            self._witness.listen(stopping.fileno())
        except OSError as error:
            self._failed = error
            self._witness.listening.set()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.send(b".")
        self._thread.join()
        self._stop.close()
        self._out.close()


# ---- reading it again ----


def read(path: str | Path) -> tuple[Wire, list[Answer]]:
    """What a witness wrote: the answers in the clear, and the times at which a place carried a TLS session. A file of a
    witness that didn't end by itself counts as one missed frame.
    """
    answers: list[Answer] = []
    carried: list[Answer] = []
    missed = None
    with open(path, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if row[0] == "missed":
                missed = int(row[1])
            elif row[0] != "listening":
                t, place, link, protocol, text = row
                (answers if text is not None else carried).append(Answer(t, place, link, protocol, text or "TLS"))
    return Wire(tuple(answers), 1 if missed is None else missed), carried


def joined(records: Iterable[Record], carried: Iterable[Answer]) -> list[Answer]:
    """The client's own positive answers inside TLS: each on the connection that the witness knows, at the time of the
    last thing that the place said there before the client noted the answer.
    """
    times: dict[str, list[Answer]] = {}
    for one in sorted(carried, key=lambda answer: answer.t):
        times.setdefault(one.link, []).append(one)
    found = []
    for record in records:
        told = _positive(record)
        if told is None:
            continue
        link, protocol, text = told
        before = [one for one in times.get(link, []) if record.t - _EARLIER <= one.t <= record.t]
        if before:
            found.append(Answer(before[-1].t, before[-1].place, link, protocol, f"{text} (inside TLS)"))
    return found


def _positive(record: Record) -> tuple[str, str, str] | None:
    """(connection, protocol, words) of a positive answer."""
    if isinstance(record, Login):
        return record.link, record.protocol, "login"
    if isinstance(record, Sent) and record.outcome == "ok":
        return record.link, "smtp" if record.via == "mx" else "submission", record.reply[:40]
    if isinstance(record, Act) and record.outcome == "ok" and record.link:
        return record.link, "imap", record.act
    return None


def ports(site: Site) -> dict[int, str]:
    """Port -> protocol, of all that mail speaks there."""
    known = {site.port(name): name for name in ("smtp", "submission", "imap", "pop3", "sieve", "lmtp")}
    return {**known, 993: "imaps", 995: "pop3s", 465: "submissions"}


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="witness", description=__doc__, allow_abbrev=False)
    parser.add_argument("--site", required=True)
    parser.add_argument("--out", required=True, help="a file that gets a line an answer")
    parser.add_argument("--net", help="the network namespace with the places' veths, such as /proc/PID/ns/net")
    options = parser.parse_args(words)
    reading, writing = socket.socketpair()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: writing.send(b"."))
    if options.net:
        with open(options.net, "rb") as net:
            kernel.setns(net.fileno(), kernel.CLONE_NEWNET)
    site = load(options.site)
    with open(options.out, "a", encoding="utf-8") as out:
        Witness(site.places, ports(site), out).listen(reading.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
