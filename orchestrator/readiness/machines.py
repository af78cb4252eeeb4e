"""The hosts themselves: clocks, disks, and where controller and archive are. Pure.

Invariant: what ails the active place alone doesn't stop a failover: it may be the reason for one.
"""

from __future__ import annotations

from orchestrator.health.verdict import CLOCK_SECONDS, NEARLY_FULL
from orchestrator.readiness.check import Check, Finding, Subject, red, unknown, warn
from orchestrator.readiness.facts import Facts, HostFacts, Unknown
from orchestrator.remote.guarded import DRIFT

GROUP = "The hosts"
FUDGE = 300.0
"""Seconds by which a signed DNS update may be off (RFC 8945 section 10)."""
ROOMY = 0.2
"""Share of a disk above which it doesn't matter that the other one has more."""

CLOCK = Subject("clock", GROUP, "A lease is counted by both ends' clocks, and a signed DNS update shows its time.")
DISK = Subject("disk", GROUP, "A place without room can't take the mail over.")
ARCHIVE = Subject("archive", GROUP, "When both mail hosts are gone, the archive alone shows users their mail.", False)


def clock(facts: Facts) -> Check:
    """Offsets within TSIG's fudge, speeds within the lease's drift."""
    findings, free, most = [], list[str](), 0.0
    for each in facts.hosts:
        name, told = each.host.name, each.clock
        remedy = f"Run NTP on {name} (`timedatectl status` there), and on the controller."
        if isinstance(told, Unknown):
            findings.append(unknown(f"The clock of {name} isn't known: {told.why}.", told.remedy or remedy))
            continue
        most = max(most, abs(told.ahead))
        if abs(told.ahead) > FUDGE:
            findings.append(red(f"The clock of {name} is off by {told.ahead:+.0f} s, more than {FUDGE:.0f}.", remedy))
        elif abs(told.ahead) > CLOCK_SECONDS:
            findings.append(warn(f"The clock of {name} is off by {told.ahead:+.0f} s.", remedy))
        if abs(told.rate - 1) - told.unsure > DRIFT:
            speed = f"The clock of {name} is {told.rate - 1:+.1%} off the controller's speed; {DRIFT:.0%} is allowed."
            findings.append(red(speed, f"Find out what drives it: `dmesg | grep -i clocksource` on {name}."))
        free += [name] if told.synchronised is False else []
    if free:
        names = ", ".join(free)
        findings.append(warn(f"Nothing holds to a reference the clock of {names}.", f"Run NTP on {names}."))
    return CLOCK.judged(findings, f"All within {most:.1f} s of the controller's, and of its speed.")


def disk(facts: Facts) -> Check:
    """Room and inodes on both stores and queues, written to, the passive place's not fuller than the active's."""
    findings, known = list[Finding](), dict[str, HostFacts]()
    for each in facts.mail_hosts:
        if isinstance(each.disks, Unknown):
            found = f"The disks of {each.host.name} aren't known: {each.disks.why}."
            findings.append(unknown(found, each.disks.remedy or f"Look at `df` on {each.host.name}."))
            continue
        known[each.host.name] = each
        findings += _of_disks(each, each.host.name == facts.active)
    active, passive = known.get(facts.active), known.get(facts.passive.name)
    if active is not None and passive is not None:
        findings += _fuller(active, passive)
    least = [one.least for each in known.values() for one in each.disks if one.least is not None]  # type: ignore[union-attr]
    return DISK.judged(findings, f"The fullest has {min(least, default=1.0):.0%} free, and all are written to.")


def _of_disks(each: HostFacts, active: bool) -> list[Finding]:
    """What ails the active place is for a person, what ails the other one stops a failover."""
    if isinstance(each.disks, Unknown):
        return []
    name, bad, found = each.host.name, warn if active else red, []
    for one in each.disks:
        if one.readonly:
            found.append(
                bad(f"{one.path} on {name} is mounted read-only.", f"See `dmesg` on {name}, mend it, remount.")
            )
        if one.least is None:
            found.append(unknown(f"The room on {one.path} of {name} isn't known.", f"Look at `df {one.path}` there."))
        elif one.is_below(NEARLY_FULL):
            found.append(bad(f"{one.path} on {name} has {one.least:.1%} free.", f"Make room on {name}, inodes too."))
    return found


def _fuller(active: HostFacts, passive: HostFacts) -> list[Finding]:
    """Stores are declared in one order on both hosts."""
    if isinstance(active.disks, Unknown) or isinstance(passive.disks, Unknown):
        return []
    found = []
    for theirs, ours in zip(active.disks, passive.disks, strict=False):
        if theirs.least is None or ours.least is None or ours.least >= min(theirs.least, ROOMY):
            continue
        what = f"{ours.path} on {passive.host.name} is fuller than on {active.host.name}: {ours.least:.0%} free."
        found.append(warn(what, "Give it at least the room that the active place has."))
    return found


def archive(facts: Facts) -> Check:
    """Whether anybody could serve with both mail hosts gone."""
    findings = []
    if facts.pair.archive is None:
        findings.append(warn("There is no archive host: with both mail hosts gone, nobody serves.", _ARCHIVE))
    elif facts.pair.mirror.local:
        found = "The controller runs on the mirror: serve_archive can't run when both mail hosts are gone."
        findings.append(warn(found, "Run the controller on a third host."))
    if facts.pair.primary.local:
        found = "The controller runs on the primary: with the primary gone, nobody decides anything."
        findings.append(warn(found, "Run the controller on the mirror or on a third host."))
    return ARCHIVE.judged(findings, "The archive serves when both mail hosts are gone; the controller is on a third.")


_ARCHIVE = "Give a host mm_place: archive, if users are to read their mail then."
