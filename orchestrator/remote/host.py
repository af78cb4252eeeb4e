"""A conversation with one agent: requests and their answers, and the certainty that the other end still lives.

One thread reads: it gives each reply to the `Pending` that waits for it and every BODY,
CREDIT and NOTICE to the subscribers. Another pings. Any thread may ask and send.

Invariant: every request ends, with a reply, a fault, or `LinkLost`: when the stream ends,
when what comes isn't a frame, and when nothing at all came for `dead_after` seconds
although we asked. After `close` no thread is left. This module doesn't know how a host is
reached (`opening`), nor what the verbs mean.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable
from typing import NoReturn, Self

from orchestrator import __version__
from orchestrator.agent import PROTOCOL
from orchestrator.agent.wire import Bytes, Decoder, Frame, Garbled, Kind, halves
from orchestrator.errors import AgentFault, HostUnreachable, LinkLost, MailmirrorError, StillRunning
from orchestrator.remote.lanes import Branch, Lanes, open_lanes
from orchestrator.remote.lines import PATIENCE, TICK, Duplex, Line, SocketLine
from orchestrator.remote.pending import Head, Pending

READ = 64 << 20
"""Bytes asked for at once."""
CHUNK = 256 << 10
"""Bytes handed to the stream at once: each chunk that it takes is a sign of life."""
SMALL = 64 << 10
"""A blob below this is joined to its head; copying a larger one costs more than a write of its own."""
GREETING = 20.0
"""Seconds that an agent has for its HELLO; a loaded host starts Python slowly."""

CLOSED = "the conversation was closed here"

Subscriber = Callable[[Frame], None]


class Conversation:
    """One agent, from its greeting to the end. Thread-safe.

    `heartbeat` and `dead_after` are seconds: a PING every heartbeat, and a link on which nothing
    comes for `dead_after` is cut. Raises HostUnreachable when the agent doesn't greet, or speaks
    another protocol. Subscribers run on the reading thread: one that blocks holds the stream back
    (that isn't taken for death), one that raises ends the conversation.
    """

    def __init__(
        self,
        stream: Duplex,
        *,
        name: str,
        heartbeat: float = 1.0,
        dead_after: float = 5.0,
        greet_within: float = GREETING,
        branch: Branch | None = None,
    ) -> None:
        self.name = name
        self.hello: Head = {}
        self.busy = 0.0  # seconds that the agent's present work item had been running at the last PONG
        self.rtt = 0.0  # seconds, the shortest that a PING took; 0.0 before the first
        self.widened = False  # lanes were asked for
        self.narrow = ""  # why there are fewer of them than were wanted
        self.bytes_in = self.bytes_out = 0
        self.lost = threading.Event()
        self.why = ""
        self._line: Line = stream if isinstance(stream, Line) else _line(stream)
        self._heartbeat, self._dead_after = heartbeat, dead_after
        self._numbers = itertools.count(1)
        self._guard = threading.Lock()  # of the two below, and of `why`
        self._pendings: dict[int, Pending] = {}
        self._subscribers: tuple[Subscriber, ...] = ()
        self._speaking = threading.Lock()  # one frame after the other
        self._greeted = threading.Event()
        self._branch = branch
        self._lanes: Lanes | None = None
        self._sequence = itertools.count()  # of every frame that is sent while there are lanes
        self._pinged = (0, 0.0)  # the outstanding PING's number, and when it was sent
        self._closing = False
        self._progress = 0  # chunks that the stream took
        self._reader = threading.Thread(target=self._read, name=f"{name}: reader", daemon=True)
        self._pinger = threading.Thread(target=self._ping, name=f"{name}: heartbeat", daemon=True)
        self._reader.start()
        self._pinger.start()
        self._greet(greet_within)

    # -- what others call

    def request(
        self, verb: str, head: Head | None = None, blob: Bytes = b"", *, deflated: bool = False,
        timeout: float | None = None,
    ) -> Frame:  # fmt: skip
        """Ask and wait for the reply; raises as `Pending.result` does."""
        return self.start(verb, head, blob, deflated=deflated).result(timeout)

    def start(self, verb: str, head: Head | None = None, blob: Bytes = b"", *, deflated: bool = False) -> Pending:
        """Ask; the answer is waited for with the Pending. Raises LinkLost, and ValueError for too large a frame."""
        pending = Pending(self.name, verb, next(self._numbers) & 0xFFFFFFFF)
        frame = Frame(Kind.REQUEST, pending.id, {**(head or {}), "verb": verb}, blob, deflated)
        with self._guard:
            self._pendings[pending.id] = pending
        try:
            self.send(frame)
        except BaseException:
            with self._guard:
                self._pendings.pop(pending.id, None)
            raise
        return pending

    def send(self, frame: Frame) -> None:
        """One frame, whole; blocks while the stream is full. Raises LinkLost, and ValueError for too large a frame.

        Frames arrive in the order in which they were sent, also where bodies go by lanes.
        """
        lanes = self._lanes
        if lanes and frame.kind is Kind.BODY:
            self._by_lane(lanes, frame)
        else:
            self._by_main(frame)

    def _by_main(self, frame: Frame, lanes: Lanes | None = None) -> None:
        """By the main stream; with `lanes`, the first frame that is numbered, from which on they are used."""
        try:
            with self._speaking:
                if self.lost.is_set():
                    raise self._loss()
                # What goes unnumbered must be on its way before the first numbered one, so this is decided in here.
                self._lanes = lanes or self._lanes
                self._put(self._numbered(frame) if self._lanes and frame.kind is not Kind.PING else frame)
        except OSError as error:
            self._unwritable(error)

    def _numbered(self, frame: Frame) -> Frame:
        return frame._replace(head={**frame.head, "seq": next(self._sequence)})

    def _by_lane(self, lanes: Lanes, frame: Frame) -> None:
        if self.lost.is_set():
            raise self._loss()
        try:
            self.bytes_out += lanes.send(self._numbered(frame))
            self._progress += 1
        except OSError as error:
            self._unwritable(error)

    def _unwritable(self, error: OSError) -> NoReturn:
        # The reader learns more of why than we do, a moment later; unless we are the reader.
        if threading.current_thread() is self._reader or not self.lost.wait(PATIENCE * 2):
            self._lose(f"it can't be written to: {error}")
        raise self._loss() from error

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Have every BODY, CREDIT and NOTICE from now on; returns what ends the subscription."""
        with self._guard:
            self._subscribers += (subscriber,)

        def leave() -> None:
            with self._guard:
                self._subscribers = tuple(one for one in self._subscribers if one is not subscriber)

        return leave

    def widen(self, lanes: int) -> int:
        """Let BODY frames go to the agent over so many channels from now on, in turn; returns how many there are.

        For a far sink: sshd takes 2 MiB ahead on each channel, so one moves 2 MiB per round trip (`rtt`). Where the
        host opens fewer, or none, `narrow` says why, and all goes on with what there is. 0 where there is no way to
        open any (a local agent), and when it was asked before. Raises LinkLost.
        """
        if self.widened:
            return 0
        self.widened = True
        if self._branch is None:
            return 0
        try:
            token = str(self.request("lane", timeout=GREETING).head.get("token"))
        except (AgentFault, StillRunning) as error:
            self.narrow = str(error)
            return 0
        opened, self.narrow = open_lanes(lanes, self._branch, token, self.name)
        if opened is None:
            return 0
        try:
            self._by_main(Frame(Kind.NOTICE, 0, {"lanes": len(opened)}), opened)
        finally:
            if self.lost.is_set():  # meanwhile; who ended it may not have seen them
                opened.end()
        return len(opened)

    def close(self) -> None:
        """End it in good order: the agent sees the end of its input and leaves. Idempotent; safe on any thread."""
        self._closing = True
        if not self.lost.is_set():
            self._line.close()
        self._lose(CLOSED)
        for thread in (self._reader, self._pinger):
            if thread is not threading.current_thread():
                thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the threads

    def _greet(self, within: float) -> None:
        try:
            self.send(Frame(Kind.HELLO, 0, self._own_hello()))
            if not self._greeted.wait(within):
                self._lose(f"no greeting from the agent within {within:g} s")
            if self.lost.is_set():
                raise self._loss()
        except LinkLost as loss:
            self.close()
            raise HostUnreachable(f"{self.name}: no conversation with its agent: {self.why}") from loss
        except BaseException:
            self.close()
            raise
        spoken = self.hello.get("protocol")
        if spoken != PROTOCOL:
            self.close()
            raise HostUnreachable(
                f"{self.name}: its agent {self.hello.get('agent')} speaks protocol {spoken}, we speak {PROTOCOL}",
                remedy=f"Run `mailmirror agent update` for {self.name}, or use the version that is installed there.",
            )

    def _own_hello(self) -> Head:
        return {"controller": __version__, "protocol": PROTOCOL, "heartbeat": self._heartbeat}

    def _put(self, frame: Frame) -> None:
        first, blob = halves(frame)
        if len(blob) < SMALL:
            self._write(first + blob)
        else:
            self._write(first)
            self._write(blob)

    def _write(self, data: Bytes) -> None:
        if len(data) <= CHUNK:
            self._line.sendall(data)
        else:
            view = memoryview(data)
            for at in range(0, len(data), CHUNK):
                self._line.sendall(view[at : at + CHUNK])
                self._progress += 1
        self.bytes_out += len(data)

    def _read(self) -> None:
        """Until the end; whatever ends it, everybody who waits is told."""
        try:
            self._listen(Decoder())
            why = "the agent ended it"
        except Garbled as error:
            why = f"the agent sent {error}"
        except _Silent as error:
            self._line.abort()
            self._line.settle()
            return self._lose(str(error))
        except OSError as error:
            why = f"{type(error).__name__}: {error}"
        except MailmirrorError as error:  # a subscriber's, that handed a body on to another host: that is the cause
            self._line.abort()
            self._line.settle()
            return self._lose(f"given up, because of {error}")
        except Exception as error:  # noqa: BLE001 - a subscriber's: it must not leave the others waiting for ever
            self._line.abort()
            self._line.settle()
            return self._lose(f"a subscriber failed: {error!r}")
        if not self._closing:
            self._line.close()
        last = self._line.settle()
        return self._lose(CLOSED if self._closing else f"{why} ({last})" if last else why)

    def _listen(self, decoder: Decoder) -> None:
        """Frames until the end of the stream. Raises _Silent when the peer gave no sign of life for too long.

        Idle ticks are counted, not the clock: a controller that was stopped and continued blames nobody.
        """
        silent, progress = 0.0, self._progress
        while True:
            try:
                data = self._line.recv(READ)
            except TimeoutError:
                silent = silent + TICK if progress == self._progress else 0.0
                progress = self._progress
                if silent >= self._dead_after:
                    raise _Silent(f"nothing came from it for {self._dead_after:g} s") from None
                continue
            if not data:
                return
            silent = 0.0
            self.bytes_in += len(data)
            for frame in decoder.feed(data):
                self._route(frame)

    def _route(self, frame: Frame) -> None:
        if frame.kind in (Kind.REPLY, Kind.FAULT):
            with self._guard:
                pending = self._pendings.pop(frame.id, None)
            if pending is None:
                raise Garbled(f"an answer to request {frame.id}, which wasn't asked")
            pending.settle(frame)
        elif frame.kind is Kind.PONG:
            self._ponged(frame)
        elif frame.kind is Kind.HELLO:
            if self._greeted.is_set():
                raise Garbled("a second greeting")
            self.hello = frame.head
            self._greeted.set()
        elif frame.kind in (Kind.BODY, Kind.CREDIT, Kind.NOTICE):
            for subscriber in self._subscribers:
                subscriber(frame)
        else:
            raise Garbled(f"a {frame.kind.name}, which an agent doesn't send")

    def _ponged(self, frame: Frame) -> None:
        number, sent = self._pinged
        if frame.id == number:
            took = time.monotonic() - sent
            self.rtt = min(self.rtt or took, took)
        busy = frame.head.get("busy", 0.0)
        self.busy = float(busy) if isinstance(busy, (int, float)) else 0.0

    def _ping(self) -> None:
        self._greeted.wait()  # the time that an agent takes to start isn't a round trip
        for number in itertools.count(1):
            try:
                self._pinged = (number & 0xFFFFFFFF, time.monotonic())
                self.send(Frame(Kind.PING, number & 0xFFFFFFFF, {}))
            except LinkLost:
                return
            if self.lost.wait(self._heartbeat):
                return

    def _lose(self, why: str) -> None:
        """The end, once: the first reason counts."""
        with self._guard:
            if not self.lost.is_set():
                self.why = why
                self.lost.set()
            waiting, self._pendings = self._pendings, {}
            lanes, self._lanes = self._lanes, None
        self._greeted.set()
        self._line.abort()
        if lanes:
            lanes.end()
        for pending in waiting.values():
            pending.settle(None, self.why)

    def _loss(self) -> LinkLost:
        return LinkLost(f"{self.name}: {self.why}")


class _Silent(Exception):
    """Nothing came for too long."""


def _line(stream: Duplex) -> Line:
    if isinstance(stream, socket.socket):
        return SocketLine(stream)
    raise TypeError(f"{type(stream).__name__} is neither a socket nor a line: it can't be cut from another thread")
