"""Every check of the readiness: what makes it red, unknown or a warning, and that nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.health.answers import Reading
from orchestrator.health.looks import Observer
from orchestrator.health.verdict import Disk
from orchestrator.inventory.model import MIRROR, Exec
from orchestrator.readiness.check import Check, State
from orchestrator.readiness.checks import OF_A_COPY, OF_A_FAILOVER, checks, ready
from orchestrator.readiness.facts import Canary, Clock, Copied, Device, Facts, Looked, Names, Sent, Unknown
from orchestrator.traffic.pointing import Mark
from tests.unit.readiness.site import (
    AWAY,
    DEAF,
    HOSTS,
    M1,
    M2,
    MACS,
    NOW,
    VAULT,
    WELL,
    WIT,
    at,
    guarded,
    paired,
    server,
    sight,
    unfenced,
    well,
)

OK, WARN, RED, UNKNOWN = State.OK, State.WARN, State.RED, State.UNKNOWN
DAY = 86400.0
Change = Callable[[Facts], Facts]


def with_(**more: object) -> Change:
    return lambda facts: replace(facts, **more)  # type: ignore[arg-type]


def pair_(**more: object) -> Change:
    return lambda facts: paired(facts, **more)


def host_(name: str, **more: object) -> Change:
    return lambda facts: at(facts, name, **more)


def guard_(name: str, **more: object) -> Change:
    return lambda facts: guarded(facts, name, **more)


def looks(*found: tuple[str, str, object]) -> Change:
    return with_(looked=tuple(Looked(Observer(name, host), saw) for name, host, saw in found))  # type: ignore[arg-type]


def both(*changes: Change) -> Change:
    def change(facts: Facts) -> Facts:
        for one in changes:
            facts = one(facts)
        return facts

    return change


def local(name: str) -> Change:
    return pair_(hosts={**HOSTS, name: replace(HOSTS[name], connection="local")})


ON_MIRROR = both(local(M2), looks(("controller", M2, WELL), ("witness", WIT, WELL)))
FULL = (Disk("/var/vmail", 0.01, 0.9, False), Disk("/var/spool/postfix", 0.5, 0.9, False))
NO_INODES = (Disk("/var/vmail", 0.5, 0.01, False), Disk("/var/spool/postfix", 0.5, 0.9, False))
TIGHT = (Disk("/var/vmail", 0.1, 0.9, False), Disk("/var/spool/postfix", 0.5, 0.9, False))
FROZEN = (Disk("/var/vmail", 0.5, 0.9, True), Disk("/var/spool/postfix", 0.5, 0.9, False))
UNWEIGHED = (Disk("/var/vmail"), Disk("/var/spool/postfix", 0.5, 0.9, False))
COMMANDS = Exec(("/bin/true",), ("/bin/true",))
UNGUARDED = pair_(services={}, dns=None, lease=None, vip=None, exec=COMMANDS)
FIRST, SECOND = sight(M1, holds=True, claim=None), sight(M2, holds=False, claim=MACS[M1])
REJECTED = Reading("smtp", "rejected", "550 no such user", 0.1, None)

CASES: list[tuple[str, State, str, Change]] = [
    ("observers", OK, "isn't another observer", ON_MIRROR),
    ("observers", RED, "isn't another observer", both(local(M2), looks(("controller", M2, WELL)))),
    ("observers", RED, "Only controller looks", looks(("controller", "controller", WELL))),
    ("observers", RED, "No service", looks()),
    ("observers", UNKNOWN, "wit.example.org can't be asked", looks(("controller", "c", WELL), ("witness", WIT, AWAY))),
    ("observers", RED, "sees nothing that others see", looks(("controller", "c", WELL), ("witness", WIT, DEAF))),
    ("observers", WARN, "mail2", looks(("controller", "c", WELL), ("witness", WIT, WELL), ("mirror", M2, AWAY))),
    ("observers", OK, "look at", looks(("controller", "c", DEAF), ("witness", WIT, DEAF))),
    ("guards", UNKNOWN, "wit.example.org can't be asked", host_(WIT, guard=AWAY)),
    ("guards", RED, "don't know one active place", guard_(WIT, epoch=2)),
    ("guards", RED, "don't know one active place", guard_(M2, active="mirror")),
    ("guards", RED, "neither active nor passive", guard_(M1, role="closed")),
    ("guards", RED, "doesn't believe the mirror", guard_(M1, doubted=("the mirror: it is a restored copy",))),
    ("guards", WARN, "failed: start", guard_(M1, problems=("start: no such unit",))),
    ("guards", RED, "No host of this pair has a guard", UNGUARDED),
    ("lease", WARN, "mm_lease isn't said", pair_(lease=None)),
    ("lease", WARN, "no witness", pair_(lease=None, hosts={M1: HOSTS[M1], M2: HOSTS[M2]})),
    ("lease", RED, "isn't armed on mail1", guard_(M1, armed=False, why="granted without an end by witness")),
    ("lease", RED, "patching", guard_(M2, armed=False, leaving="patching")),
    ("lease", RED, "isn't armed on wit", guard_(WIT, armed=False)),
    ("lease", UNKNOWN, "wit.example.org can't be asked", host_(WIT, guard=AWAY)),
    ("gate", WARN, "weaker on mail1", guard_(M1, weak="nft isn't installed")),
    ("gate", UNKNOWN, "mail1", host_(M1, guard=AWAY)),
    ("fence", OK, "lease's end is the proof", unfenced),
    ("fence", RED, "automatic failover is impossible", both(unfenced, pair_(lease=None))),
    ("fence", RED, "never passed", with_(fences=(Device(M1, 1, "box", None), Device(M2, 1, "box", NOW)))),
    ("fence", RED, "8 days ago", with_(fences=(Device(M1, 1, "box", NOW - 8 * DAY),))),
    ("fence", RED, "in the future", with_(fences=(Device(M1, 1, "box", NOW + DAY),))),
    ("fence", RED, "box b", with_(fences=(Device(M1, 1, "box a", NOW), Device(M1, 1, "box b", None)))),
    ("fence", WARN, "box b", with_(fences=(Device(M1, 1, "box a", NOW), Device(M1, 2, "box b", None)))),
    ("fence", WARN, "never passed", with_(fences=(Device(M1, 1, "box", NOW), Device(M2, 1, "box", None)))),
    ("fence", WARN, "Nothing could fence mail2", both(pair_(lease=None), with_(fences=(Device(M1, 1, "box", NOW),)))),
    ("paused", WARN, "mail1.example.org (kvm)", both(unfenced, host_(M1, virtual="kvm"))),
    ("paused", OK, "", host_(M1, virtual="kvm")),
    ("paused", UNKNOWN, "mail2", both(unfenced, host_(M2, virtual=AWAY))),
    ("daemon", RED, "No daemon runs", with_(daemon="No daemon runs.")),
    ("lag", UNKNOWN, "no daemon", with_(copied=Unknown("no daemon tells it"))),
    ("lag", RED, "connecting", with_(copied=Copied("connecting", 0.0))),
    ("lag", UNKNOWN, "Nobody knows", with_(copied=Copied("live", None))),
    ("lag", RED, "31 s old", with_(copied=Copied("live", 31.0))),
    ("lag", OK, "29.0 s", with_(copied=Copied("catching up", 29.0))),
    ("lag", WARN, "1,200 deletions", with_(copied=Copied("live", 0.0, 1200))),
    ("equality", RED, "never", with_(equal=None)),
    ("equality", RED, "49 h ago", with_(equal=NOW - 49 * 3600)),
    ("equality", OK, "", with_(equal=NOW - 47 * 3600)),
    ("canary", RED, "No account", pair_(canary=None)),
    ("canary", UNKNOWN, "isn't known", with_(canary=Unknown("no letter was sent yet"))),
    ("canary", UNKNOWN, "No letter came", with_(canary=Canary(0, "", None))),
    ("canary", RED, "last 3 letters", with_(canary=Canary(3, "timeout", NOW))),
    ("canary", WARN, "1 letters", with_(canary=Canary(1, "timeout", NOW))),
    ("canary", RED, "321 s ago", with_(canary=Canary(0, "", NOW - 321))),
    ("accounts", RED, "same users", with_(accepts=REJECTED)),
    ("accounts", RED, "has to queue", with_(accepts=REJECTED._replace(how="refused"))),
    ("accounts", UNKNOWN, "couldn't be asked", with_(accepts=AWAY)),
    ("mode", WARN, "confirm", pair_(mode="confirm")),
    ("clock", UNKNOWN, "wit.example.org isn't known", host_(WIT, clock=AWAY)),
    ("clock", RED, "-301 s", host_(WIT, clock=Clock(-301.0))),
    ("clock", WARN, "+61 s", host_(M2, clock=Clock(61.0))),
    ("clock", RED, "+2.0%", host_(M1, clock=Clock(0.0, 1.02, 0.005))),
    ("clock", OK, "", host_(M1, clock=Clock(0.0, 1.02, 0.02))),
    ("clock", WARN, "reference", host_(M1, clock=Clock(0.0, synchronised=False))),
    ("disk", UNKNOWN, "mail2.example.org aren't known", host_(M2, disks=AWAY)),
    ("disk", RED, "1.0% free", host_(M2, disks=FULL)),
    ("disk", RED, "1.0% free", host_(M2, disks=NO_INODES)),
    ("disk", RED, "read-only", host_(M2, disks=FROZEN)),
    ("disk", UNKNOWN, "isn't known", host_(M2, disks=UNWEIGHED)),
    ("disk", WARN, "fuller", host_(M2, disks=TIGHT)),
    ("disk", WARN, "1.0% free", host_(M1, disks=FULL)),
    ("disk", WARN, "read-only", host_(M1, disks=FROZEN)),
    ("archive", WARN, "no archive", pair_(hosts={name: HOSTS[name] for name in HOSTS if name != VAULT})),
    ("archive", WARN, "serve_archive can't run", local(M2)),
    ("archive", WARN, "runs on the primary", local(M1)),
    ("address", RED, "is taken", with_(addresses=(sight(M1, holds=True, claim="02:00:00:00:00:99"), SECOND))),
    ("address", RED, "is passive and has", with_(addresses=(FIRST, sight(M2, holds=True, claim=MACS[M1])))),
    ("address", UNKNOWN, "can't be asked", with_(addresses=(FIRST, replace(SECOND, unseen="away")))),
    ("address", RED, "no such interface", with_(addresses=(FIRST, replace(SECOND, trouble="no such interface")))),
    ("dns", UNKNOWN, "can't be asked", with_(names=AWAY)),
    ("dns", RED, "refuses the key", with_(names=Names((server(),), "no", "It refuses the key."))),
    ("dns", UNKNOWN, "unknown: NOERROR", with_(names=Names((server(),), "unknown: NOERROR"))),
    ("dns", RED, "disagree", with_(names=Names((server(), server(mark=None))))),
    ("dns", UNKNOWN, "away", with_(names=Names((server(), server(trouble="it is away"))))),
    ("dns", RED, "mail2.example.org is active", with_(names=Names((server(mark=Mark(3, M2)),)))),
    ("dns", WARN, "Resolvers may keep", with_(names=Names((server(ttls={"mail": 3600}),), counted_on=False))),
    ("dns", OK, "", with_(names=Names((server(),), counted_on=None))),
    ("command", UNKNOWN, "no such file", with_(by_command=Sent("", "no such file"))),
    ("command", RED, "sent to the mirror", with_(by_command=Sent(MIRROR))),
    ("users", WARN, "Nothing moves", pair_(vip=None, dns=None)),
    ("mx", UNKNOWN, "aren't known", with_(exchangers=AWAY)),
    ("mx", UNKNOWN, "No name server", with_(exchangers={})),
    ("mx", RED, "isn't a mail exchanger", with_(exchangers={"ns": ((10, M1),)})),
    ("mx", RED, "no later", with_(exchangers={"ns": ((10, M1), (10, M2))})),
    ("mx", RED, "no later", with_(exchangers={"ns": ((10, M2), (20, M1))})),
    ("mx", RED, "says ns2", with_(exchangers={"ns": ((10, M1), (20, M2)), "ns2": ((10, M1),)})),
    ("mx", OK, "", with_(exchangers={"ns": ((10, "mail.example.org"), (20, M2))})),
    ("queueing", RED, "isn't proven", guard_(M2, queues=False)),
    ("queueing", UNKNOWN, "can't be asked", host_(M2, guard=AWAY)),
]  # fmt: skip
NOT_APPLICABLE = {
    "paused": pair_(lease=None),
    "accounts": with_(accepts=None),
    "address": pair_(vip=None),
    "dns": with_(names=None),
    "command": with_(by_command=None),
    "users": pair_(exec=COMMANDS),
    "mx": pair_(services={"imap": "dovecot"}),
    "queueing": pair_(services={"smtp": "exim"}),
}
NEEDED = {
    "observers", "guards", "lease", "fence", "daemon", "lag", "equality", "canary", "accounts", "clock", "disk",
    "address", "dns", "command", "mx", "queueing",
}  # fmt: skip


def named(found: tuple[Check, ...], name: str) -> Check:
    [check] = [each for each in found if each.name == name]
    return check


@pytest.mark.issue("4.4 doctor and readiness with the checks on which automatic failover depends")
@pytest.mark.parametrize(("name", "state", "found", "change"), CASES)
def test_each_check_says_what_is_wrong_and_what_to_do(name: str, state: State, found: str, change: Change) -> None:
    told = checks(change(well()))
    check = named(told, name)
    assert check.state is state and found in check.found + check.remedy, check
    assert check.why and (check.remedy or state is OK), "it says why that matters, and what to do"
    stops = name in NEEDED and state in (RED, UNKNOWN)
    assert check.stops is stops and (not stops or not ready(told).ready)


def test_every_check_can_fail_and_all_are_well_where_all_is_well() -> None:
    told = checks(well())
    assert {check.name: check.state for check in told if check.state is not OK} == {}
    assert ready(told).ready and not ready(told).reasons
    assert {check.name for check in told if check.needed} == NEEDED
    everything = {check.name for check in told} | {"users"}
    assert {name for name, state, _, _ in CASES if state is not OK} == everything
    assert len(everything) == len(OF_A_FAILOVER)


@pytest.mark.parametrize("name", NOT_APPLICABLE)
def test_what_does_not_concern_a_pair_is_not_asked(name: str) -> None:
    assert name not in {check.name for check in checks(NOT_APPLICABLE[name](well()))}


def test_a_pair_that_only_replicates_is_asked_of_its_copy_alone() -> None:
    told = checks(paired(well(), services={}, lease=None, vip=None, dns=None))
    assert len(told) == len(OF_A_COPY) and ready(told).ready


def test_nothing_found_is_not_ready() -> None:
    assert not ready(()).ready


@given(st.lists(st.sampled_from(range(len(CASES))), max_size=5))
def test_whatever_is_wrong_together_each_name_stands_once_and_what_is_not_well_has_a_remedy(which: list[int]) -> None:
    facts = well()
    for at_ in which:
        change = CASES[at_][3]
        try:
            facts = change(facts)
        except AssertionError:  # this one changes a guard's words, and an earlier one has silenced that guard
            return
    told = checks(facts)
    assert len({check.name for check in told}) == len(told)
    assert all(check.remedy for check in told if check.state is not OK)
    assert ready(told).ready == (not any(check.stops for check in told))
