"""A pair as decisions see it: what is well, what is dead, and how to say what differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator.failover.facts import Facts, Flags, MailHost, Operation, Order, Word
from orchestrator.failover.states import State
from orchestrator.fencing.proof import Verdict as Fence
from orchestrator.health.verdict import Analysis, Level, Remedy, Verdict
from orchestrator.readiness.check import Check
from orchestrator.readiness.check import State as Colour

NOW, EPOCH = 1_000_000.0, 4

WELL = Verdict(Level.HEALTHY, Analysis.WELL, Remedy.NOTHING, ())
DEGRADED = Verdict(Level.DEGRADED, Analysis.PARTLY, Remedy.ALERT, ("/var/vmail: 4% free",))
FAILS = Verdict(Level.SUSPECT, Analysis.NOT_CONFIRMED, Remedy.ALERT, ("imap from controller: timeout 3 times",))
ONLY_FROM_US = Verdict(Level.SUSPECT, Analysis.UNREACHABLE_FROM_US, Remedy.ALERT, ("smtp from controller: timeout",))
DEAD = Verdict(Level.DOWN, Analysis.HOST_DEAD, Remedy.FAILOVER, ("imap from witness: timeout 6 times",))
SERVICES_DEAD = Verdict(Level.DOWN, Analysis.SERVICES_DOWN, Remedy.FAILOVER, ("imap from witness: refused 6 times",))
RESTARTABLE = Verdict(Level.DOWN, Analysis.SERVICES_DOWN, Remedy.RESTART, ("imap from witness: refused 6 times",))
FULL = Verdict(Level.DOWN, Analysis.DISK_FULL, Remedy.FAILOVER, ("/var/vmail: 0% free",))
FULL_BOTH = Verdict(Level.DOWN, Analysis.DISK_FULL, Remedy.ALERT, ("/var/vmail: 0% free", "on the mirror 0% free"))
GONE = Verdict(Level.DOWN, Analysis.HOST_DEAD, Remedy.ALERT, ("agent from controller: unreachable 5 times",))
JUMPED = Verdict(Level.UNKNOWN, Analysis.TILT, Remedy.NOTHING, ("looking anew",))
CUT_OFF = Verdict(Level.UNKNOWN, Analysis.ISOLATED, Remedy.ALERT, ("no answer from 198.51.100.1:53",))

READY = (Check("fence", "g", Colour.OK, "The lease's end is the proof.", "", "", True),)
RED = (Check("address", "g", Colour.RED, "Somebody else answers for 192.0.2.10.", "", "Look who.", True),)
PROVEN = Fence(True, "The power of mail1 is off.")
UNPROVEN = Fence(False, "No fence of mail1 is proven.", ("Nothing was read.",))


def pair(state: State = State.PROTECTED, **more: Any) -> Facts:
    """All is well: the primary is active in epoch 4, the lease is armed, a failover is ready.

    `primary`, `mirror`: a health, or what differs of that host. Everything else is a field of Facts.
    """
    hosts = (
        MailHost("primary", "mail1", WELL, True, Word(EPOCH, "primary", serves=True, armed=True), EPOCH),
        MailHost("mirror", "mail2", WELL, True, Word(EPOCH, "primary", armed=True), EPOCH),
    )
    found = tuple(_differs(host, more.pop(host.place, {})) for host in hosts)
    known: dict[str, Any] = {
        "witness": Word(EPOCH, "primary", armed=True), "witnessed": True, "checks": READY, "checked": NOW - 40,
        "suspected": 0.0, "lag": 0.0, "at_risk": 0,
    }  # fmt: skip
    return Facts(NOW, state, **{"active": "primary", "epoch": EPOCH, "hosts": found, **known, **more})


def _differs(host: MailHost, how: Verdict | dict[str, Any]) -> MailHost:
    return replace(host, health=how) if isinstance(how, Verdict) else replace(host, **how)


AWAY = {"health": DEAD, "alive": False, "word": None, "marker": None}


def dead(state: State = State.DOWN, **more: Any) -> Facts:
    """The primary lost its power 12 s ago; the lease can be left to run out."""
    return pair(state, **{"primary": AWAY, "suspected": NOW - 12, "lag": 0.4, "at_risk": 2, **more})


def moved(state: State = State.ALONE, **more: Any) -> Facts:
    """The mirror was promoted to epoch 5; the old primary is away."""
    mirror = {"word": Word(5, "mirror", serves=True), "marker": 5}
    known: dict[str, Any] = {
        "active": "mirror", "epoch": 5, "primary": {**AWAY, "health": GONE}, "mirror": mirror,
        "witness": Word(5, "mirror"), "flags": Flags(cooldown_until=NOW + 3000), "lag": None, "at_risk": None,
        "operation": Operation("op-1", "failover", "done", past=True, ended=NOW - 600),
    }  # fmt: skip
    return pair(state, **{**known, **more})


RETURNED = {"alive": True, "word": Word(5, "mirror"), "marker": 4}
"""The old primary behind its shut gate, its store of the epoch before."""
IN_FULL = {"alive": True, "word": Word(5, "mirror", armed=True), "marker": 5}
"""The old primary after its rejoin."""


def order(verb: str, *, accept_loss: bool = False) -> Order:
    return Order(verb, "anna", "a test", accept_loss)
