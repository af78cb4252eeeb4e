"""Where every question to the running daemon is answered, whoever carried it here.

A request is a JSON object: `verb`, mostly `pair`, and the verb's own fields. The answer is
JSON too: just what the command prints with `--format json`. Invariant: a request is checked
field by field before anything is done, and changing verbs need to know which pair is meant.

The desk does no replication itself: work on a pair is handed to that pair's thread
(`Attends.call`), and the desk waits for it. It knows neither sockets nor terminals.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

from orchestrator.errors import TryAgain, UsageError
from orchestrator.records import history
from orchestrator.replication.report import PairStatus, Progress, Selection
from orchestrator.web.decides import Decides
from orchestrator.web.replicates import Replicates

log = logging.getLogger(__name__)

T = TypeVar("T")
Json = Any
"""What `json.dumps` takes."""

WORDS = {"ctimes": ("trust", "void"), "survey": ("count", "trust", "void")}
"""What an order of a journey, or a plan of it, may say beside its reason."""
PROGRESS_AFTER = 0.3  # seconds; a pass that is done sooner tells nothing on its way
PROGRESS_EVERY = 0.2
EVENTS_KEPT = 256  # per subscriber; who reads slower loses the oldest


class Attends(Protocol):
    """A pair and the thread that attends to it."""

    def status(self) -> PairStatus: ...

    def call(self, work: Callable[[Replicates], T], timeout: float | None = None) -> T:
        """Run on the pair's thread, wait for the result. Raises StillRunning, and what work or connecting raises."""

    def poke(self) -> None:
        """Try again now what waits to be tried again."""


class Travels(Protocol):
    """Who carries out journeys, by pair."""

    def plan(self, pair: str, journey: str, survey: str = "") -> Json:
        """The journey's steps with what is there now; of a rejoin, with `survey` also what it would bring home."""

    def go(
        self, pair: str, journey: str, by: str, reason: str, outlet: Outlet, said: Mapping[str, Json] | None = None
    ) -> Json:
        """Carry it out to its end; how it ended. `said`: the order's own words. Raises Refused where it can't begin."""

    def order(self, pair: str, what: str, operation: str, by: str, reason: str, outlet: Outlet) -> Json:
        """resume, rollback or abort an operation; how it stands then. Raises Refused, UsageError."""


class Keeps(Protocol):
    """Who keeps a pair's maintenance windows."""

    def listed(self) -> list[dict[str, Json]]:
        """Every window that is open, to come, or not long over."""

    def said(self, what: str, name: str, by: str, more: Mapping[str, Json]) -> Json:
        """add, extend or cancel one; the window as it is then. Raises UsageError, Refused, NothingToDo."""


class Outlet(Protocol):
    """Where an answer's forerunners go."""

    def offer(self, told: Json) -> None:
        """Send if there is room, else drop; never blocks."""

    def tell(self, told: Json) -> None:
        """Send; raises OSError when the other end is gone or too slow."""


@dataclass(frozen=True)
class Caller:
    """Who asks, as the kernel says (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int


Note = Callable[[str, str, str, Caller, Mapping[str, Json]], None]
"""(pair, verb, reason, who asks, what of it): see `records.history`."""


class Events:
    """What happens, told to all who listen. A listener that doesn't keep up loses the oldest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[queue.Queue[dict[str, Json]]] = []

    def publish(self, pair: str, event: str, text: str) -> None:
        told = {"time": time.time(), "pair": pair, "event": event, "text": text}
        with self._lock:
            for listener in self._listeners:
                if listener.full():
                    listener.get_nowait()
                listener.put_nowait(told)

    def listen(self) -> queue.Queue[dict[str, Json]]:
        listener: queue.Queue[dict[str, Json]] = queue.Queue(EVENTS_KEPT)
        with self._lock:
            self._listeners.append(listener)
        return listener

    def leave(self, listener: queue.Queue[dict[str, Json]]) -> None:
        with self._lock:
            self._listeners.remove(listener)


class Desk:
    """Answers requests about the pairs that this daemon attends to. `note` keeps an order before it is carried out;
    `health` says what a pair's status has beside its replication.
    """

    def __init__(
        self,
        pairs: Mapping[str, Attends],
        events: Events,
        note: Note | None = None,
        health: Callable[[str], dict[str, Json]] = lambda _: {},
        travels: Travels | None = None,
        calendars: Mapping[str, Keeps] | None = None,
        decides: Decides | None = None,
    ) -> None:
        self._pairs, self._health, self._travels, self._decides = pairs, health, travels, decides
        self._calendars = calendars or {}
        self._note = note
        self._events = events
        self.stopping = threading.Event()
        self._verbs: dict[str, Callable[[Request, Outlet], Json]] = {
            "status": self._status,
            "sync": self._sync,
            "verify": self._verify,
            "undelete": self._undelete,
            "release": self._release,
            "retire": self._retire,
            "seed": self._seed,
            "retry": self._retry,
            "plan": self._plan,
            "journey": self._journey,
            "op": self._op,
            "window": self._window,
            "pause": lambda asked, _: self._deciding().pause(
                self._name(asked), asked.seconds("seconds") or 0.0, asked.text("by"), asked.text("reason", "")
            ),
            "resume": lambda asked, _: self._deciding().resume(
                self._name(asked), asked.text("by"), asked.text("reason", "")
            ),
            "acknowledge": lambda asked, _: self._deciding().acknowledge(
                self._name(asked), asked.text("what"), asked.text("by"), asked.text("reason", "")
            ),
            "explain": lambda asked, _: self._deciding().explain(self._name(asked)),
            "subscribe": self._subscribe,
        }

    def answer(self, asked: Mapping[str, Json], caller: Caller, outlet: Outlet) -> Json:
        """The answer to one request. Raises MailmirrorError; UsageError for what it can't understand."""
        request = Request({**asked, "by": history.who(caller.uid, str(asked.get(history.CLAIMED, "")))})
        verb = request.text("verb")
        work = self._verbs.get(verb)
        if work is None:
            raise UsageError(
                f"The daemon knows no verb {verb[:40]!r}.", remedy="Use the same version for both, or see `--help`."
            )
        if verb not in ("status", "subscribe", "explain") and (verb, request.text("what", "")) != ("window", "list"):
            self._keep(verb, request, caller)
        return work(request, outlet)

    def _keep(self, verb: str, request: Request, caller: Caller) -> None:
        """Log who asks for what and why; an order goes into the pair's history too."""
        reason, planned = request.text("reason", ""), request.truth("dry_run")
        log.info(
            "asked to %s%s uid=%d pid=%d pair=%s%s",
            verb, " (dry run)" if planned else "", caller.uid, caller.pid, request.text("pair", "-"),
            f" reason={json.dumps(reason)}" if reason else "",
        )  # fmt: skip
        if self._note and verb in history.CHANGING and not planned:
            name = request.text("pair", "") or next(iter(self._pairs), "")
            if name in self._pairs:  # else the verb says what is wrong
                self._note(name, verb, reason, caller, request.told(history.NOTED))

    def statuses(self, name: str = "") -> list[PairStatus]:
        """How the pairs stand, or the one that is named."""
        chosen = [self._named(name)] if name else list(self._pairs.values())
        return [pair.status() for pair in chosen]

    def _status(self, request: Request, outlet: Outlet) -> Json:
        statuses = self.statuses(request.text("pair", ""))
        return {"pairs": [asdict(status) | self._health(status.pair) for status in statuses], "stale": False}

    def _sync(self, request: Request, outlet: Outlet) -> Json:
        dry_run, deletes = request.truth("dry_run"), request.truth("deletes", True)
        adopt, progress = request.truth("adopt"), Throttle(outlet)
        reports = self._one(request).call(
            lambda session: session.sync(progress, dry_run=dry_run, deletes=deletes, adopt=adopt),
            request.seconds("timeout"),
        )
        return [asdict(report) for report in reports]

    def _verify(self, request: Request, outlet: Outlet) -> Json:
        deep = request.truth("deep")
        pair = self._one(request)
        return [asdict(r) for r in pair.call(lambda session: session.verify(deep), request.seconds("timeout"))]

    def _undelete(self, request: Request, outlet: Outlet) -> Json:
        chosen = Selection(
            request.text("account", ""), request.text("pattern", ""), request.seconds("since"), request.seconds("until")
        )
        dry_run = request.truth("dry_run")
        pair = self._one(request)
        reports = pair.call(lambda session: session.undelete(chosen, dry_run=dry_run), request.seconds("timeout"))
        return [asdict(report) for report in reports]

    def _release(self, request: Request, outlet: Outlet) -> Json:
        waiting = request.text("id")
        released = self._one(request).call(lambda session: session.release(waiting), request.seconds("timeout"))
        return {"id": waiting, "released": released}

    def _retire(self, request: Request, outlet: Outlet) -> Json:
        account, dry_run = request.text("account"), request.truth("dry_run")
        pair = self._one(request)
        count = pair.call(lambda session: session.retire(account, dry_run=dry_run), request.seconds("timeout"))
        return {"account": account, "messages": count, "planned": dry_run}

    def _seed(self, request: Request, outlet: Outlet) -> Json:
        dry_run, progress = request.truth("dry_run"), Throttle(outlet)

        def work(session: Replicates) -> Json:
            aside = list(session.set_aside(dry_run=dry_run))
            reports = [] if dry_run else [asdict(report) for report in session.sync(progress)]
            return {"aside": aside, "reports": reports}

        return self._one(request).call(work, request.seconds("timeout"))

    def _plan(self, request: Request, outlet: Outlet) -> Json:
        return self._moving().plan(self._name(request), request.text("journey"), self._word(request, "survey"))

    def _journey(self, request: Request, outlet: Outlet) -> Json:
        name, journey, by = self._name(request), request.text("journey"), request.text("by")
        ctimes = self._word(request, "ctimes")
        said = {"ctimes": ctimes} if ctimes else {}
        return self._moving().go(name, journey, by, request.text("reason", ""), outlet, said)

    @staticmethod
    def _word(request: Request, name: str) -> str:
        """One of the words that are known, or nothing."""
        word = request.text(name, "")
        if word and word not in WORDS[name]:
            raise UsageError(f"The request's {name!r} has to be one of {', '.join(WORDS[name])}, not {word[:40]!r}.")
        return word

    def _op(self, request: Request, outlet: Outlet) -> Json:
        what, operation, reason = request.text("what"), request.text("id"), request.text("reason", "")
        if what not in ("resume", "rollback", "abort"):
            raise UsageError(f"An operation is resumed, rolled back or aborted, not {what[:40]!r}.")
        return self._moving().order(self._name(request), what, operation, request.text("by"), reason, outlet)

    def _window(self, request: Request, outlet: Outlet) -> Json:
        calendar, what = self._calendars.get(self._name(request)), request.text("what")
        if calendar is None:
            raise UsageError(f"{self._name(request)} has no windows: it moves nobody.", remedy="Say mm_services.")
        if what == "list":
            return calendar.listed()
        more = {
            "reason": request.text("reason", ""), "opens": request.seconds("opens") or 0.0,
            "seconds": request.seconds("seconds") or 0.0, "failback": request.truth("failback"),
        }  # fmt: skip
        return calendar.said(what, request.text("name"), request.text("by"), more)

    def _moving(self) -> Travels:
        if self._travels is None:
            raise UsageError("No journeys are begun here.", remedy="Ask the daemon that attends to the pair.")
        return self._travels

    def _deciding(self) -> Decides:
        if self._decides is None:
            raise UsageError("Nothing is decided here.", remedy="Ask the daemon that attends to the pair.")
        return self._decides

    def _retry(self, request: Request, outlet: Outlet) -> Json:
        self._one(request).poke()
        return {"retrying": True}

    def _subscribe(self, request: Request, outlet: Outlet) -> Json:
        pair = request.text("pair", "")
        listener = self._events.listen()
        try:
            while not self.stopping.is_set():
                try:
                    event = listener.get(timeout=0.5)
                except queue.Empty:
                    continue
                if pair in ("", event["pair"]):
                    outlet.tell(event)
        finally:
            self._events.leave(listener)
        raise TryAgain("The daemon is stopping.", remedy="Subscribe again when it is back.")

    def _one(self, request: Request) -> Attends:
        return self._pairs[self._name(request)]

    def _name(self, request: Request) -> str:
        name = request.text("pair", "")
        if name:
            self._named(name)
            return name
        if len(self._pairs) != 1:
            raise UsageError(f"Which pair is meant? There are {', '.join(self._pairs) or 'none'}.", remedy="Name one.")
        return next(iter(self._pairs))

    def _named(self, name: str) -> Attends:
        if name not in self._pairs:
            raise UsageError(
                f"The daemon attends to no pair {name[:80]!r}; it has {', '.join(self._pairs) or 'none'}.",
                remedy="Correct the name, or restart the daemon when the inventory has changed.",
            )
        return self._pairs[name]


class Throttle:
    """Progress on its way to somebody who waits: nothing for a quick pass, a few lines a second for a long one."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._next = time.monotonic() + PROGRESS_AFTER

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PROGRESS_EVERY
            self._outlet.offer(asdict(progress))


class Request:
    """A request's fields, each taken out by its type. Raises UsageError for a missing or a wrong one."""

    def __init__(self, fields: Mapping[str, Json]) -> None:
        self._fields = fields

    def text(self, name: str, otherwise: str | None = None) -> str:
        value = self._fields.get(name, otherwise)
        if not isinstance(value, str):
            raise UsageError(f"The request's {name!r} has to be a string.")
        return value

    def truth(self, name: str, otherwise: bool = False) -> bool:
        value = self._fields.get(name, otherwise)
        if not isinstance(value, bool):
            raise UsageError(f"The request's {name!r} has to be true or false.")
        return value

    def told(self, names: Sequence[str]) -> dict[str, Json]:
        """Those of the named fields that say something plain."""
        plain = (str, int, float)
        return {name: self._fields[name] for name in names if isinstance(self._fields.get(name), plain)}

    def seconds(self, name: str) -> float | None:
        value = self._fields.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0):
            raise UsageError(f"The request's {name!r} has to be a number of seconds.")
        return value
