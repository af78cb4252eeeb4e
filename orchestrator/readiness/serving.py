"""Who sees that the active place is gone, and who may serve: observers, guards, lease, gate, fence. Pure.

Invariant: two observers on one host count as one, and so does a lease that one guard doesn't know as armed: as none.
"""

from __future__ import annotations

from itertools import groupby

from orchestrator.fencing.proof import TESTED_WITHIN
from orchestrator.health.asked import CONTROLLER
from orchestrator.inventory.model import MIRROR, PRIMARY
from orchestrator.readiness.check import Check, Finding, Subject, red, unknown, warn
from orchestrator.readiness.facts import Device, Facts, Guard, Looked, Unknown

_ON_MIRROR = " The controller runs on the mirror, whose own agent isn't another observer."
GROUP = "Who sees it, and who may serve"
DAY = 86400.0
_MAKE_GUARD = "Lay it down: `mailmirror agent install HOST --guard`; then `systemctl status mailmirror-guard` there."

OBSERVERS = Subject(
    "observers", GROUP, "Down is what two hosts agree on, one of them not the controller's; else nobody is moved."
)
GUARDS = Subject("guards", GROUP, "The guards' registers say who may serve. Where they differ, nobody is promoted.")
LEASE = Subject("lease", GROUP, "While it is armed, an active place that can't be reached is known to end by itself.")
GATE = Subject(
    "gate", GROUP, "The kernel ends a lease even when the guard hangs; without it only the guard does.", False
)
FENCE = Subject("fence", GROUP, "No place is promoted before it is proven that the other can't be active any more.")
PAUSED = Subject(
    "paused", GROUP, "A virtual machine that was paused may answer for up to one lease after it wakes.", False
)


def observers(facts: Facts) -> Check:
    """Two hosts that look, one of them neither the controller nor on its host."""
    if not facts.looked:
        found = "No service of the active place is looked at."
        return OBSERVERS.judged([red(found, "Say mm_services, and where they need it mm_ports and mm_canary.")], "")
    looking = [each.observer for each in facts.looked if _sees(each, facts.looked)]
    hosts = sorted({observer.host for observer in looking})
    if len(hosts) >= 2:
        away = [_blind(each) for each in facts.looked if each.observer not in looking]
        return OBSERVERS.judged(
            away, f"{' and '.join(hosts)} look at {facts.active}.{_ON_MIRROR * facts.pair.mirror.local}"
        )
    wanted = {each.observer.host for each in facts.looked}
    if len(wanted) < 2:
        found = f"Only {', '.join(wanted)} looks at {facts.active}.{_ON_MIRROR * facts.pair.mirror.local}"
        return OBSERVERS.judged([red(found, "Give a third host mm_place: witness.")], "")
    return OBSERVERS.judged([_blind(each, True) for each in facts.looked if each.observer not in looking], "")


def _sees(each: Looked, looked: tuple[Looked, ...]) -> bool:
    """Whether it looks: it answered, and not that all fails while another sees something well."""
    if isinstance(each.saw, Unknown):
        return False
    others = any(not reading.how for other in looked if not isinstance(other.saw, Unknown) for reading in other.saw)
    return not others or any(not reading.how for reading in each.saw)


def _blind(each: Looked, counts: bool = False) -> Finding:
    name = (
        f"the {each.observer.name} ({each.observer.host})" if each.observer.name == CONTROLLER else each.observer.host
    )
    if isinstance(each.saw, Unknown):
        state = unknown if counts else warn
        return state(f"{name} can't be asked to look: {each.saw.why}.", each.saw.remedy or "Look at that host.")
    said = ", ".join(f"{reading.service}: {reading.how}" for reading in each.saw)
    state = red if counts else warn
    return state(f"{name} sees nothing that others see well ({said}).", f"Look at the network of {each.observer.host}.")


def guards(facts: Facts) -> Check:
    """All guards answer, believe one another, and know one epoch and one active place."""
    findings, told = [], dict[str, Guard]()
    for each in facts.guarded:
        name, guard = each.host.name, each.guard
        if isinstance(guard, Unknown):
            findings.append(unknown(f"The guard on {name} can't be asked: {guard.why}.", guard.remedy or _MAKE_GUARD))
            continue
        told[name] = guard
        if guard.role in ("unknown", "closed"):
            findings.append(red(f"{name} is neither active nor passive: {guard.why}.", f"See {_status(name)}."))
        findings += [red(f"{name} doesn't believe {doubt}.", f"See {_status(name)}.") for doubt in guard.doubted]
        findings += [
            warn(f"The guard on {name} failed: {problem}", f"See {_status(name)}.") for problem in guard.problems
        ]
    if len({(guard.epoch, guard.active) for guard in told.values()}) > 1:
        said = ", ".join(f"{name} epoch {guard.epoch} and {guard.active}" for name, guard in told.items())
        findings.append(red(f"The guards don't know one active place: {said}.", "Look at the link between the hosts."))
    if not facts.guarded:
        findings.append(red("No host of this pair has a guard.", "Say mm_services, then `mailmirror agent install`."))
    epochs = ", ".join(sorted({f"epoch {guard.epoch}, the {guard.active} is active" for guard in told.values()}))
    return GUARDS.judged(findings, f"{len(told)} guards agree: {epochs}.")


def _status(host: str) -> str:
    return f"`mailmirror-guard status` on {host}"


def lease(facts: Facts) -> Check:
    """Armed, as every guard says."""
    pair = facts.pair
    if not pair.lease:
        remedy = "Give a third host mm_place: witness and say mm_lease, or rely on a fence device."
        missing = "there is no witness" if pair.witness is None else "mm_lease isn't said"
        return LEASE.judged([warn(f"There is no lease: {missing}.", remedy)], "")
    findings = []
    for each in facts.guarded:
        name, guard = each.host.name, each.guard
        if isinstance(guard, Unknown):
            findings.append(unknown(f"{name} can't be asked: {guard.why}.", guard.remedy or _MAKE_GUARD))
        elif not guard.armed:
            why = guard.leaving or guard.why
            remedy = "Bring every guard back; one that was told to leave: `mailmirror-guard withdraw` there."
            findings.append(red(f"It isn't armed on {name}: {why}.", remedy))
    return LEASE.judged(findings, f"Armed, as all {len(facts.guarded)} guards say: {pair.lease:g} s.")


def gate(facts: Facts) -> Check:
    """Whether the kernel enforces the lease on the mail hosts."""
    findings = []
    for each in facts.guarded:
        name, guard = each.host.name, each.guard
        if isinstance(guard, Unknown):
            findings.append(unknown(f"{name} can't be asked: {guard.why}.", guard.remedy or _MAKE_GUARD))
        elif guard.weak:
            weak = f"The lease is weaker on {name}, which has no gate in the kernel: {guard.weak}."
            findings.append(warn(weak, f"Install nftables on {name}, then `systemctl restart mailmirror-guard` there."))
    return GATE.judged(findings, "It stands in the kernel of every mail host.")


def fence(facts: Facts) -> Check:
    """A way to prove that the active place is off: the lease, or a device that passed a test within 7 days."""
    findings = []
    for host in (facts.active, facts.passive.name):
        mine = [each for each in facts.fences if each.host == host]
        findings += _of_devices(facts, host, mine) if mine else _without(facts, host)
    good = [f"{each.device} ({each.host})" for each in facts.fences]
    return FENCE.judged(
        findings, f"Tested within 7 days: {', '.join(good)}." if good else "The lease's end is the proof."
    )


def _of_devices(facts: Facts, host: str, mine: list[Device]) -> list[Finding]:
    """One level whose devices all passed is enough."""
    levels = [list(some) for _, some in groupby(sorted(mine, key=lambda each: each.level), lambda each: each.level)]
    stale = [each for each in mine if not _fresh(each, facts.now)]
    if not stale:
        return []
    proven = any(all(_fresh(each, facts.now) for each in level) for level in levels)
    remedy = f"`mailmirror fence test {facts.pair.name} {host}`, and see what it says."
    found = " ".join(f"{each.device} of {host} {_passed(each, facts.now)}." for each in stale)
    return [warn(found, remedy) if proven or host != facts.active else red(found, remedy)]


def _without(facts: Facts, host: str) -> list[Finding]:
    if facts.pair.lease:
        return []
    if host == facts.active:
        found = f"Without a witness and without a fence device for {host}, automatic failover is impossible."
        return [red(found, "Add a witness with mm_lease, or say mm_fence at the host; the sample inventory shows how.")]
    return [warn(f"Nothing could fence {host} once it is active.", f"Say mm_fence at {host} as well.")]


def _fresh(each: Device, now: float) -> bool:
    return each.passed is not None and 0 <= now - each.passed <= TESTED_WITHIN


def _passed(each: Device, now: float) -> str:
    if each.passed is None:
        return "never passed a test"
    if each.passed > now:
        return "passed a test in the future"
    return f"passed its last test {(now - each.passed) / DAY:.0f} days ago"


def paused(facts: Facts) -> Check | None:
    """Virtual machines whose lease a pause can outlast, where no device closes that gap."""
    if not facts.pair.lease:
        return None
    findings, kinds = [], dict[str, str]()
    for each in facts.mail_hosts:
        name, kind = each.host.name, each.virtual
        if each.host.place not in (PRIMARY, MIRROR) or any(device.host == name for device in facts.fences):
            continue
        if isinstance(kind, Unknown):
            findings.append(
                unknown(f"{name} can't be asked what it runs in: {kind.why}.", kind.remedy or "Look there.")
            )
        elif kind != "none":
            kinds[name] = kind
    if kinds:
        names = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        found = f"Virtual machines, which no fence device can prove off: {names}."
        findings.append(warn(found, f"Never pause or suspend them, or say mm_fence at {', '.join(kinds)}."))
    return PAUSED.judged(findings, "No mail host can be paused from outside, or a fence device proves it off.")
