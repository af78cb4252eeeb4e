"""Whether the users would arrive: the moving addresses, the names, the mail exchangers, a mirror that queues. Pure."""

from __future__ import annotations

from orchestrator.readiness.check import Check, Finding, Subject, red, unknown, warn
from orchestrator.readiness.facts import Facts, Unknown
from orchestrator.traffic import holding
from orchestrator.traffic.pointing import agree

GROUP = "Moving the users"

ADDRESS = Subject(
    "address", GROUP, "An address that a third host has can't be taken up, or reaches now one, now the other."
)
DNS = Subject("dns", GROUP, "A change of the names that the servers refuse leaves the users at the old place.")
COMMAND = Subject(
    "command", GROUP, "The site's own commands move the users; one that can't tell where they are moves nobody."
)
USERS = Subject("users", GROUP, "A promoted place that nobody is sent to helps nobody.", False)
MX = Subject(
    "mx", GROUP, "As the second exchanger the passive place takes mail at once, and keeps it until it may serve."
)
QUEUEING = Subject(
    "queueing", GROUP, "A passive Postfix that delivers, or that is down, is a second writer, or no help."
)


def address(facts: Facts) -> Check | None:
    """Free, or held by the active place alone; every mail host could take them up."""
    vip, pair = facts.pair.vip, facts.pair
    if vip is None:
        return None
    remedy = f"See `mailmirror vip test {pair.name}`."
    seen = [sight for sight in facts.addresses if not sight.unseen]
    findings = [
        unknown(f"{each.host} can't be asked: {each.unseen}.", remedy) for each in facts.addresses if each.unseen
    ]
    findings += [red(f"{problem}.", remedy) for problem in holding.unready(seen, facts.active, vip.addresses)]
    return ADDRESS.judged(findings, f"{', '.join(vip.addresses)}: {facts.active} alone has it, or nobody.")


def dns(facts: Facts) -> Check | None:
    """The key may change the names, all servers agree, and resolvers forget in time."""
    told, pair = facts.names, facts.pair
    if told is None:
        return None
    remedy = f"See `mailmirror dns test {pair.name}`."
    if isinstance(told, Unknown):
        return DNS.judged([unknown(f"The name servers can't be asked: {told.why}", told.remedy or remedy)], "")
    findings = list[Finding]()
    if told.refused:
        findings.append(red(told.refused, told.remedy or remedy))
    elif told.may != "yes":
        findings.append(unknown(f"Whether the key may change the names is {told.may}.", remedy))
    away = [sight for sight in told.seen if sight.trouble]
    findings += [unknown(f"{sight.server}: {sight.trouble}.", remedy) for sight in away]
    if not agree([sight for sight in told.seen if not sight.trouble] or told.seen):
        findings.append(
            red("The name servers disagree.", f"See `mailmirror dns show {pair.name}`; mend the transfers.")
        )
    findings += _of_mark(facts, told.seen[0].mark.active if told.seen and told.seen[0].mark else "")
    longest = max((ttl for sight in told.seen for ttl in sight.ttls.values()), default=0)
    if told.counted_on is False:
        what = f"Resolvers may keep the names for {longest} s, {told.ttl} s are wanted, or were lowered just now."
        findings.append(warn(what, f"Lower the times to live to {told.ttl} s, well ahead (`mailmirror dns show`)."))
    return DNS.judged(findings, f"The key may change the names; {len(told.seen)} servers agree.")


def _of_mark(facts: Facts, marked: str) -> list[Finding]:
    if marked in ("", facts.active):
        return []
    found = f"The zone says that {marked} is active, and {facts.active} is."
    return [red(found, "Find out which is true (`mailmirror dns show`) before anything is moved.")]


def command(facts: Facts) -> Check | None:
    """The site's own commands tell where users are sent, and that is the active place."""
    seen, pair = facts.by_command, facts.pair
    if seen is None:
        return None
    if seen.trouble:
        return COMMAND.judged([unknown(f"{seen.trouble}.", f"See `mailmirror dns show {pair.name}`.")], "")
    if seen.place != pair.hosts[facts.active].place:
        found = f"It says that users are sent to the {seen.place}, and {facts.active} is active."
        return COMMAND.judged([red(found, "Find out which is true before anything is moved.")], "")
    return COMMAND.well(f"Users are sent to the {seen.place}.")


def users(facts: Facts) -> Check | None:
    """Said only where nothing moves them."""
    if facts.pair.vip or facts.pair.dns or facts.pair.exec:
        return None
    return USERS.judged([warn("Nothing moves the users after a failover.", "Say mm_vip, mm_dns or mm_exec.")], "")


def mx(facts: Facts) -> Check | None:
    """The passive place is an exchanger after the one that leads to the active."""
    told, passive = facts.exchangers, facts.passive.name.rstrip(".").lower()
    if "smtp" not in facts.pair.services:
        return None
    remedy = f"Publish an MX for {passive} after the active's, or have it kept so: `mx` in mm_dns."
    if isinstance(told, Unknown):
        return MX.judged([unknown(f"The exchangers aren't known: {told.why}.", told.remedy or remedy)], "")
    findings = []
    for server, records in told.items():
        ours = [preference for preference, host in records if host == passive]
        first = min((preference for preference, host in records if host != passive), default=None)
        if not ours:
            findings.append(red(f"{passive} isn't a mail exchanger, says {server}.", remedy))
        elif first is None or min(ours) <= first:
            findings.append(red(f"{passive} is no later mail exchanger than the active's, says {server}.", remedy))
    if not told:
        findings.append(unknown("No name server could be asked for the exchangers.", remedy))
    return MX.judged(findings, f"{passive} comes after the active's.")


def queueing(facts: Facts) -> Check | None:
    """Where Postfix serves, the passive one's is proven to queue only."""
    if facts.pair.services.get("smtp") != "postfix":
        return None
    name = facts.passive.name
    guard = next((each.guard for each in facts.hosts if each.host.name == name), Unknown("nobody asked it"))
    status = f"See `mailmirror-guard status` on {name}."
    if isinstance(guard, Unknown):
        return QUEUEING.judged([unknown(f"{name} can't be asked: {guard.why}.", guard.remedy or status)], "")
    if guard.queues:
        return QUEUEING.well(f"Postfix on {name} is proven to queue only.")
    return QUEUEING.judged([red(f"Postfix on {name} isn't proven to queue only.", status)], "")
