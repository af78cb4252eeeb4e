"""A pair's maintenance windows in the daemon: the timer asks what is due, and a thread of its own does it.

What is due is `failover.windows`' to say, from the journal's marks. Here it is done: told, tried by a journey as an
operator's would be, and marked. The timer is only asked to come back; the times are the rules'.

Invariant: one thing at a time for a pair; a mark says only what was done; what fails is told, and tried again later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from orchestrator.errors import MailmirrorError, Refused
from orchestrator.failover import windows
from orchestrator.failover.windoworders import Said, listed, ordered
from orchestrator.failover.windows import Due, Facts, Todo
from orchestrator.inventory.model import Pair
from orchestrator.records import windows as records
from orchestrator.traffic import lifetime
from orchestrator.traffic.declared import key_of, zone_of
from orchestrator.traffic.dns import Zone
from orchestrator.traffic.pointing import Plan
from orchestrator.traffic.switch import is_proven

log = logging.getLogger(__name__)

AGAIN = 600.0
"""Seconds after which times to live that couldn't be changed are tried again."""
SHOWN_WITHIN = 30.0
"""Seconds for a change of times to live to be shown by every server."""

Tell = Callable[[str, str, str], None]
"""(pair, event, sentence)"""


class Travels(Protocol):
    """Who carries out journeys (`travelling.Travelling.go`)."""

    def go(self, pair: str, journey: str, by: str, reason: str, outlet: Any) -> Any: ...


class Silent:
    """Nobody watches a journey of the calendar; what it did stands in the journal."""

    def offer(self, told: Any) -> None:
        log.info("%s", told.get("text", told) if isinstance(told, dict) else told)

    tell = offer


class Kept:
    """What is kept of a pair's windows: read, and changed as operators say."""

    def __init__(self, pair: Pair, clock: Callable[[], float] = time.time) -> None:
        self._pair, self._clock = pair, clock
        self._book: records.Book | None = None
        self._keeping = threading.RLock()

    def listed(self) -> list[dict[str, Any]]:
        """See `windoworders.listed`."""
        return listed(self._pair.windows, self._read(), self._clock())

    def said(self, what: str, name: str, by: str, more: Mapping[str, Any]) -> dict[str, Any]:
        """An operator's word, kept; the window as it is then. Raises UsageError, Refused, NothingToDo."""
        with self._keeping:
            event, key, kept = ordered(Said(what, name, by, **more), self._pair.windows, self._read(), self._clock())
            self._write(event, key, **kept)
        return next(each for each in self.listed() if each["key"] == key)

    def _read(self) -> records.Book:
        with self._keeping:
            if self._book is None:
                self._book = records.read(self._pair.state_dir, self._pair.name)
            return self._book

    def _write(self, what: str, key: str, **more: Any) -> None:
        with self._keeping:
            records.write(self._pair.state_dir, self._pair.name, what, key, self._clock, **more)
            self._book = None


class Windows(Kept):
    """The calendar of a pair. `active` is the place; `held` why nothing may be moved now, or empty."""

    def __init__(
        self, pair: Pair, travels: Travels, active: Callable[[], str], tell: Tell,
        held: Callable[[], str] = lambda: "", clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        super().__init__(pair, clock)
        self._travels, self._active, self._tell, self._held = travels, active, tell, held
        self._turn = threading.Lock()
        self._not_before: dict[str, float] = {}

    def tick(self) -> None:
        """Do what is due, on a thread of its own. Returns at once, also while something is being done."""
        if self._turn.acquire(blocking=False):
            try:
                found = self._due()
                if found is not None:
                    work = threading.Thread(target=self._through, args=(found,), name=f"windows {self._pair.name}")
                    work.daemon = True
                    work.start()
                    return  # the thread lets go
            except MailmirrorError as error:
                log.error("The windows of %s can't be looked at: %s", self._pair.name, error)
            self._turn.release()

    def _due(self) -> Due | None:
        for rule in self._pair.windows:
            if rule.name not in self._read().known:
                self._write(records.KNOWN, rule.name)
        book, now = self._read(), self._clock()
        facts = Facts(now, self._active(), self._held(), self._pair.dns is not None)
        found = windows.due(windows.occasions(self._pair.windows, book, now), book, facts)
        waits = found is not None and now < self._not_before.get(found.occasion.key, 0.0)
        return None if waits else found

    # ---- what is done ------------------------------------------------------------------------------------------------

    def _through(self, found: Due | None) -> None:
        """This, and whatever is due after it. Errors are logged: what wasn't marked is due again."""
        try:
            while found is not None:
                self._do(found)
                found = self._due()
        except MailmirrorError as error:
            log.error("A window of %s: %s %s", self._pair.name, error, error.remedy)
        except Exception:  # the last fence: the calendar goes on
            log.exception("A window of %s can't be kept", self._pair.name)
        finally:
            self._turn.release()

    def _do(self, found: Due) -> None:
        if found.todo is Todo.LOWER:
            self._lower(found)
        elif found.todo is Todo.MOVE and "already" not in found.why:
            self._travel(found, "switchover")
        elif found.todo is Todo.HOME:
            self._travel(found, "failback")
        else:
            self._mark(found)
            if found.todo in (Todo.CLOSE, Todo.MISS):
                self._restore(found)

    def _mark(self, found: Due, what: str = "", said: str = "") -> None:
        self._write(what or found.todo.value, found.occasion.key, said=said or found.why)
        self._tell(self._pair.name, "window", said or found.why)

    def _travel(self, found: Due, journey: str) -> None:
        name = found.occasion.name
        self._tell(self._pair.name, "window", f"{found.why}: a {journey} begins")
        try:
            told = self._travels.go(self._pair.name, journey, f"window {name}", found.why, Silent())
        except MailmirrorError as error:
            self._mark(found, windows.TRIED, f"the {journey} can't begin: {error}")
            return
        if told["state"] == "done":
            self._mark(found, said=f"{name}: the {journey} is done, in {told['seconds']:.0f} s")
        else:
            self._mark(found, windows.TRIED, f"the {journey} is {told['state']}: {told['why']}")

    # ---- times to live -----------------------------------------------------------------------------------------------

    def _lower(self, found: Due) -> None:
        try:
            for _ in range(2):  # lowered, then noted that every server shows it
                zone = self._zone()
                if not _change(zone, lifetime.lowering(zone.seen(), zone.ttl, self._clock())):
                    break
        except MailmirrorError as error:
            self._not_before[found.occasion.key] = self._clock() + AGAIN
            self._tell(
                self._pair.name, "window", f"Times to live can't be lowered before {found.occasion.name}: {error}"
            )
            return
        self._mark(found)

    def _restore(self, found: Due) -> None:
        """Unless another window is near, which needs them low."""
        marks = {mark.what for mark in self._read().of(found.occasion.key)}
        if Todo.LOWER not in marks or _near(self.listed(), self._clock(), found.occasion.key):
            return
        try:
            zone = self._zone()
            _change(zone, lifetime.restoring(zone.seen()))
        except MailmirrorError as error:
            self._tell(self._pair.name, "window", f"Times to live can't be put back: {error}")

    def _zone(self) -> Zone:
        zone = zone_of(self._pair, key_of(self._pair))
        if zone is None:
            raise Refused("No names follow the active place.", remedy="Say mm_dns.")
        return zone


def _change(zone: Zone, plan: Plan | None) -> bool:
    """Applied and shown by every server; False where there was nothing to do. Raises Refused when it isn't shown."""
    if plan is None:
        return False
    zone.apply(plan)
    if not is_proven(zone.prove(plan, SHOWN_WITHIN)):
        raise Refused("Not every name server shows the new times to live.", remedy="See `mailmirror dns show`.")
    return True


def _near(all_of_them: Sequence[dict[str, Any]], now: float, but: str) -> bool:
    coming = [each for each in all_of_them if each["key"] != but and each["state"] in ("open", "to come")]
    return any(each["opens"] - now <= windows.AHEAD for each in coming)
