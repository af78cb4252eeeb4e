"""A pair's health, watched: observers at work, references tried, and twice a second a verdict on each mail host.

What observers tell comes in by a queue; one thread takes it out, judges, and tells what is new. It carries nothing out:
a remedy is named, and whoever may act on it is elsewhere.

Invariant: replication shares nothing with it but the answer to `suspect`, which never waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from queue import Empty, SimpleQueue

from orchestrator.errors import AgentFault, MailmirrorError
from orchestrator.health import answers, asked
from orchestrator.health.observe import Looking, Open, Told
from orchestrator.health.references import reached
from orchestrator.health.report import PairHealth
from orchestrator.health.standing import Change, Standing
from orchestrator.health.steadiness import Steadiness
from orchestrator.health.verdict import Facts
from orchestrator.inventory import secret
from orchestrator.inventory.model import Pair

log = logging.getLogger(__name__)

TICK = 0.5
REFERENCE_EVERY = 1.0
REFERENCE_SECONDS = 2.0
REFERENCE_FRESH = 5.0
"""Seconds for which one answer of a reference counts: longer than two lost attempts, shorter than any suspicion."""


class Watch:
    """One pair, watched from `start` to `stop`. What is called back is called on its threads.

    `open_link` begins the conversation of an observer; `follows` says whether replication reaches the active place,
    `restarts` how many restarts of the active place's services were tried lately.
    Who is `active` (a host's name) is so for the watch's life: when roles move, another watch begins.
    """

    def __init__(
        self,
        pair: Pair,
        open_link: Open,
        *,
        active: str,
        follows: Callable[[], bool],
        changed: Callable[[Change], None],
        troubled: Callable[[str], None],
        restarts: Callable[[], int] = int,
    ) -> None:
        self._pair, self._follows, self._restarts = pair, follows, restarts
        self._changed, self._troubled = changed, troubled
        self.active = active
        self.beat = time.monotonic()
        """When the thread that judges gave its last sign of life."""
        self._stop = threading.Event()
        self._came: SimpleQueue[Told] = SimpleQueue()
        self._steadiness = Steadiness()
        self._references: dict[str, float] = {}  # the last answer's time; empty before the first round
        self._trouble = ""
        seats = asked.seats(pair, self.active, self._password())
        self._lone = asked.lone(seats)
        rules = asked.rules_of(pair)
        programs = {service: asked.program_of(pair, service) for service in pair.probed}
        hosts = asked.mail_hosts(pair)
        self._standings = {host.name: Standing(host.place, host.name, rules, programs) for host in hosts}
        self._own = seats[0].observer
        asks = {host.name: asked.services_of(pair, host.name == self.active) for host in hosts}
        self._unprobed = [standing for name, standing in self._standings.items() if not asks[name]]
        self._by_place = {standing.place: standing for standing in self._standings.values()}
        self._lookers = {seat.observer.name: Looking(seat, open_link, self._came.put, troubled) for seat in seats}
        self._status = PairHealth(pair.name, lone=self._lone)
        self._threads = [threading.Thread(target=self._run, name=f"health {pair.name}", daemon=True)]
        if pair.references:
            self._threads.append(threading.Thread(target=self._refer, name=f"references {pair.name}", daemon=True))

    def start(self) -> None:
        if self._trouble:
            self._troubled(self._trouble)
        self.beat = time.monotonic()
        for looking in self._lookers.values():
            looking.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask every thread to end; returns at once."""
        self._stop.set()
        for looking in self._lookers.values():
            looking.stop()

    def join(self, timeout: float) -> bool:
        """Wait for the end after `stop`. True when all threads have ended."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        ended = [looking.join(max(0.0, deadline - time.monotonic())) for looking in self._lookers.values()]
        return all(ended) and not any(thread.is_alive() for thread in self._threads)

    def suspect(self) -> bool:
        """Whether the active place is SUSPECT or DOWN, or was when last anything could be told. At once."""
        return self._standings[self.active].suspect

    def status(self) -> PairHealth:
        """As of the last judgement, less than a second ago. At once; not to be changed by who gets it."""
        return self._status

    # --- the thread that judges

    def _run(self) -> None:
        while not self._stop.wait(TICK):
            self.beat = time.monotonic()
            try:
                self._tick(time.monotonic(), time.time())
            except Exception:  # the last fence: a verdict that can't be made must not end the watching
                log.exception("A tick of the health of %s failed", self._pair.name)

    def _tick(self, now: float, wall: float) -> None:
        self._steadiness = self._steadiness.after(now, wall, TICK)
        steady = self._steadiness.steady(now)
        self._take(now)
        if not steady:
            for standing in self._standings.values():
                standing.forget()
        references = self._heard(now)
        for standing in self._unprobed:
            how = "" if self._answers(standing) else "unreachable"
            readings = [answers.Reading("agent", how, "its agent doesn't answer" if how else "", 0.0, None)]
            standing.looked(self._own, now - TICK / 2, readings, now, wall)
        changes = [
            standing.judge(self._facts(standing, steady, references, wall), now, wall)
            for standing in self._standings.values()
        ]
        self._status = PairHealth(
            self._pair.name, wall, self._lone, steady,
            [standing.told() for standing in self._standings.values()],
            [looking.status() for looking in self._lookers.values()],
            references, self._trouble,
        )  # fmt: skip
        for change in changes:
            if change is not None:
                self._changed(change)  # whoever is told looks at the status, and finds it so

    def _take(self, now: float) -> None:
        while True:
            try:
                told = self._came.get_nowait()
            except Empty:
                return
            try:
                self._one(told, now)
            except AgentFault as fault:
                self._troubled(f"{fault} {fault.remedy}")

    def _one(self, told: Told, now: float) -> None:
        standing, task, name = self._by_place[told.task.place], told.task, told.seat.host.name
        if task.kind == asked.PROBES:
            found = answers.readings(name, told.head, "probes", task.services)
            standing.looked(told.seat.observer, told.began, found, now, told.answered)
        elif task.kind == asked.LETTER:
            [letter] = answers.readings(name, told.head, "canary", ("canary",))
            standing.wrote(letter, told.answered)
        else:
            words = (task.head["disks"], task.head["queue"], told.asked, told.answered)
            standing.weighed(answers.vitals(name, told.head, *words))

    def _facts(self, standing: Standing, steady: bool, references: dict[str, bool], wall: float) -> Facts:
        active = standing.host == self.active
        alive = self._answers(standing)
        others = [each for each in self._standings.values() if each is not standing]
        restart = self._pair.restart
        facts = Facts(references, steady, alive or (active and self._follows()), passive=not active)
        return replace(
            facts,
            mirror_disks=tuple(disk for each in others for disk in each.disks(wall)) if active else (),
            restartable=frozenset(restart.services) if active else frozenset(),
            restarts=self._restarts() if active else 0,
            most_restarts=restart.times,
        )

    def _answers(self, standing: Standing) -> bool:
        return any(each.answers for each in self._lookers.values() if each.status().host == standing.host)

    # --- whether the controller itself is cut off

    def _heard(self, now: float) -> dict[str, bool]:
        return {name: now - heard <= REFERENCE_FRESH for name, heard in dict(self._references).items()}

    def _refer(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                found = reached(self._pair.references, REFERENCE_SECONDS)
            except OSError as error:  # no socket to be had: then nothing is reached either, and that counts
                log.warning("References can't be tried: %s pair=%s", error, self._pair.name)
                found = {}
            for name in self._pair.references:
                before = self._references.get(name, float("-inf"))
                self._references[name] = began if found.get(name) else before
            self._stop.wait(REFERENCE_EVERY)

    def _password(self) -> str:
        canary = self._pair.canary
        if canary is None:
            return ""
        try:
            return secret.read(canary.password)
        except MailmirrorError as error:
            self._trouble = f"No canary is sent and nobody logs in: {error} {error.remedy}".strip()
            return ""
