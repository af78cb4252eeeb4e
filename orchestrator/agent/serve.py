"""One conversation with a controller: frames in, verbs run, frames out.

Two threads. The reader takes bytes off the inlet, answers PING at once (so that a busy
agent isn't taken for a dead one) and queues everything else, by way of `order` where frames
come in by lanes too; the worker, `Desk.run`, runs verbs one after another, so that a store,
its index and its files are only ever touched by one thread. A verb that takes long is a
generator: it yields between its pieces, and other requests, other long verbs and the
background (scanning) get their turn.

Invariant: a request is answered by exactly one REPLY or FAULT. The conversation ends on
the peer's end of file, on silence longer than the peer's heartbeat allows, or on garbage;
it never outlives its controller.
"""

from __future__ import annotations

import os
import queue
import select
import sqlite3
import sys
import threading
import time
import traceback
from typing import Any, Callable, Dict, Generator, List, Mapping, NamedTuple, Optional, TypeVar, Union

from . import PROTOCOL, VERSION
from .beneath import NotRegular, Outside
from .wire import Bytes, Decoder, Frame, Garbled, Kind, halves

READ_SIZE = 1 << 20
GRACE_SECONDS = 5.0
GREETING_SECONDS = 60.0
"""How long a controller may take for its first word."""
MAX_WAITING = 512 << 20
"""Bytes of frames that may wait for the worker. An honest controller stays far below: credit bounds what it sends."""


class Fault(Exception):
    """A request that can't be done: `code` for programs, a sentence and a remedy for people."""

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.remedy = remedy


class Interrupted(Exception):
    """The conversation has to begin anew, for the reason that is given."""


class Answer(NamedTuple):
    head: Dict[str, Any]
    blob: Bytes = b""
    deflated: bool = False


Work = Generator[Optional[float], None, Answer]
"""A long verb: yields None to go on soon, or the seconds to wait; returns its answer."""

Verb = Callable[[Dict[str, Any], Frame], Union[Answer, Work]]
TICK = 0.02  # seconds between two looks whether something that runs aside is over
T = TypeVar("T")


def aside(name: str, call: Callable[[], T]) -> Generator[Optional[float], None, T]:
    """What a call that may take long returns, or raises; meanwhile other requests are served."""
    results: List[T] = []
    failures: List[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again below, where it is waited for
            failures.append(error)

    running = threading.Thread(target=run, name=name, daemon=True)
    running.start()
    pause = TICK / 16  # most calls are a question to the guard, which answers at once
    while running.is_alive():
        yield pause
        pause = min(2 * pause, TICK)
    if failures:
        raise failures[0]
    return results[0]


class Outlet:
    """Where frames go out. Both threads write; a frame is never torn by another."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, frame: Frame) -> None:
        """Write the frame whole. Raises OSError when the peer is gone."""
        first, blob = halves(frame)
        parts = [memoryview(first), memoryview(blob)]
        with self._lock:
            while parts:
                sent = os.writev(self._fd, parts)
                while parts and sent >= len(parts[0]):
                    sent -= len(parts.pop(0))
                if sent:
                    parts[0] = parts[0][sent:]


class _Job:
    def __init__(self, number: int, verb: str, work: Work) -> None:
        self.number = number
        self.verb = verb
        self.work = work
        self.due = 0.0


class Desk:
    """The worker. `verbs` answer requests; `oneway` take BODY and CREDIT frames; `background`
    does one small piece of scanning and returns the seconds until it wants another turn
    (0: at once; None: when woken). `order` gets what the reader has for the worker, and
    hands it to `take` in its order."""

    def __init__(self, inlet: int, outlet: Outlet, hello: Dict[str, Any]) -> None:
        self.verbs: Dict[str, Verb] = {}
        self.oneway: Dict[Kind, Callable[[Frame], None]] = {}
        self.background: Callable[[], Optional[float]] = lambda: None
        self.order: Callable[[Frame], None] = self.take
        self.peer: Dict[str, Any] = {}
        self.idle_seconds = 0.0  # that the worker has waited for something to do
        self._inlet = inlet
        self._outlet = outlet
        self._hello = {"agent": VERSION, "protocol": PROTOCOL, **hello}
        self._inbox: "queue.SimpleQueue[Optional[Frame]]" = queue.SimpleQueue()
        self._jobs: List[_Job] = []
        self._silence = GREETING_SECONDS
        self._came = self._done = 0  # bytes of frames that came in (the reader's), and that the worker took
        self._busy_since: Optional[float] = None
        self._ended = threading.Event()

    # --- the reader -------------------------------------------------------------------

    def _read(self) -> None:
        decoder = Decoder()
        why = "the controller closed the conversation"
        try:
            while True:
                ready, _, _ = select.select([self._inlet], [], [], self._silence)
                if not ready:
                    why = f"nothing heard from the controller for {self._silence:g} s"
                    break
                data = os.read(self._inlet, READ_SIZE)
                if not data:
                    break
                for frame in decoder.feed(data):
                    self._sort(frame)
        except (OSError, Garbled) as error:
            why = str(error)
        self._end(why)

    def _end(self, why: str) -> None:
        self._inbox.put(None)
        if not self._ended.wait(GRACE_SECONDS):
            # The worker hangs in a write to a dead peer or in a dead disk; the index is
            # crash-safe, and an agent that stays would lock the next one out.
            _say(why)
            os._exit(75)

    def break_off(self, why: str) -> None:
        """End the conversation, for a reason that is told; any thread but the worker's may call it."""
        if not self._ended.is_set():
            _say(why)
            self._end(why)

    def _sort(self, frame: Frame) -> None:
        if frame.kind is Kind.PING:
            since = self._busy_since
            busy = 0.0 if since is None else time.monotonic() - since
            self._outlet.send(Frame(Kind.PONG, frame.id, {"busy": round(busy, 3)}))
        elif frame.kind is Kind.HELLO:
            self.peer = frame.head
            beat = frame.head.get("heartbeat")
            if isinstance(beat, (int, float)) and beat > 0:
                self._silence = max(5.0, min(60.0, 10.0 * beat))
        else:
            self.order(frame)

    def take(self, frame: Frame) -> None:
        """Queue a frame for the worker. One thread at a time may call it. Raises Garbled when too many bytes wait."""
        self._came += len(frame.blob)
        if self._came - self._done > MAX_WAITING:
            raise Garbled(f"the controller sends more than it may: over {MAX_WAITING >> 20} MiB wait")
        self._inbox.put(frame)

    # --- the worker -------------------------------------------------------------------

    def wake(self) -> None:
        """Have the background run soon; any thread may call it."""
        self._inbox.put(Frame(Kind.NOTICE, 0, {}))

    def hurry(self) -> None:
        """Have every long verb look again now at what it waits for. For the worker only."""
        for job in self._jobs:
            job.due = 0.0

    def notice(self, head: Dict[str, Any], blob: Bytes = b"", deflated: bool = False) -> None:
        self._outlet.send(Frame(Kind.NOTICE, 0, head, blob, deflated))

    def send(self, frame: Frame) -> None:
        self._outlet.send(frame)

    def run(self) -> None:
        """Serve until the conversation ends."""
        self._outlet.send(Frame(Kind.HELLO, 0, self._hello))
        reader = threading.Thread(target=self._read, name="reader", daemon=True)
        reader.start()
        try:
            delay: Optional[float] = 0.0
            while self._drain(delay):
                self._advance()
                delay = self._soonest(self.background())
        except (OSError, Garbled, Outside, Interrupted) as error:
            _say(f"the conversation broke off: {error}")
        finally:
            self._ended.set()
            for job in self._jobs:
                job.work.close()

    def _soonest(self, background: Optional[float]) -> Optional[float]:
        now = time.monotonic()
        delays = [max(0.0, job.due - now) for job in self._jobs]
        if background is not None:
            delays.append(background)
        return min(delays) if delays else None

    def _drain(self, delay: Optional[float]) -> bool:
        """Begin whatever has come in, waiting up to `delay` for a first; False at the end."""
        self._busy_since = None
        try:
            if delay == 0.0:
                frame = self._inbox.get_nowait()
            else:
                began = time.monotonic()
                try:
                    frame = self._inbox.get(timeout=delay)
                finally:
                    self.idle_seconds += time.monotonic() - began
            while True:
                self._busy_since = time.monotonic()
                if frame is None:
                    return False
                self._done += len(frame.blob)
                self._begin(frame)
                frame = self._inbox.get_nowait()
        except queue.Empty:
            self._busy_since = time.monotonic()
            return True

    def _begin(self, frame: Frame) -> None:
        if frame.kind is Kind.REQUEST:
            verb = str(frame.head.get("verb"))[:60]
            action = self.verbs.get(verb)
            if action is None:
                unknown = Fault("unknown-verb", f"this agent has no verb {verb!r}", "Run `agent install` again.")
                self._fault(frame.id, unknown, verb)
                return
            try:
                result = action(frame.head, frame)
            except Exception as error:  # noqa: BLE001 - becomes the request's answer
                self._fault(frame.id, error, verb)
                return
            if isinstance(result, Answer):
                self._reply(frame.id, result)
            else:
                self._jobs.append(_Job(frame.id, verb, result))
        elif frame.kind in self.oneway:
            try:
                self.oneway[frame.kind](frame)
            except (KeyError, TypeError, ValueError) as error:  # Garbled is a ValueError
                raise Garbled(f"a {frame.kind.name} that can't be understood: {error!r:.200}") from error

    def _advance(self) -> None:
        now = time.monotonic()
        for job in list(self._jobs):
            if job.due > now:
                continue
            try:
                wait = next(job.work)
                job.due = 0.0 if wait is None else now + wait
            except StopIteration as end:
                self._jobs.remove(job)
                self._reply(job.number, end.value)
            except Exception as error:  # noqa: BLE001 - becomes the request's answer
                self._jobs.remove(job)
                self._fault(job.number, error, job.verb)

    def _reply(self, number: int, answer: Answer) -> None:
        self._outlet.send(Frame(Kind.REPLY, number, answer.head, answer.blob, answer.deflated))

    def _fault(self, number: int, error: BaseException, verb: str) -> None:
        head = describe(error)
        if isinstance(error, Fault):
            _say(f"refused {verb} ({error.code}): {error}")
        elif head["code"] == "bug":
            traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
        self._outlet.send(Frame(Kind.FAULT, number, head))


def _say(what: str) -> None:
    sys.stderr.write(f"mailmirror agent: {what}\n")
    sys.stderr.flush()


def describe(error: BaseException) -> Dict[str, Any]:
    """A fault's head: code, message, remedy."""
    if isinstance(error, Fault):
        return {"code": error.code, "message": str(error), "remedy": error.remedy}
    if isinstance(error, Garbled):
        return {"code": "garbled", "message": str(error), "remedy": ""}
    if isinstance(error, (Outside, NotRegular)):
        remedy = "Nothing was done through it. See who put it there; put a plain directory or file there again."
        return {"code": "outside", "message": str(error), "remedy": remedy}
    if isinstance(error, OSError):
        return {"code": "os", "errno": error.errno, "message": str(error), "remedy": ""}
    if isinstance(error, sqlite3.DatabaseError):
        remedy = "Move the agent's index (*.sqlite in its state directory) away on that host; it is made anew."
        return {"code": "index", "message": f"the agent's index can't be used: {error}", "remedy": remedy}
    message = f"{type(error).__name__}: {error}"
    return {"code": "bug", "message": message[:2000], "remedy": "Report it with the agent's standard error."}


def args(head: Mapping[str, Any], **kinds: type) -> List[Any]:
    """The named arguments of a request, each of its type. Raises Fault("bad-request")."""
    values: List[Any] = []
    for name, kind in kinds.items():
        value = head.get(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Fault("bad-request", f"argument {name!r} must be {kind.__name__}, not {value!r:.60}")
        values.append(value)
    return values
