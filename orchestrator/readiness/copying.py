"""The copy, and whether mail goes through: the daemon, lag, equality, canary letters, the same users. Pure."""

from __future__ import annotations

from orchestrator.health.asked import LETTER_SECONDS
from orchestrator.readiness.check import Check, Subject, red, unknown, warn
from orchestrator.readiness.facts import Facts, Unknown

GROUP = "The copy, and mail on its way"
PERIODS = 2
"""Periods of mm_verify, or of the canary, after which what came of the last one is too old."""

DAEMON = Subject(
    "daemon", GROUP, "The daemon looks, copies and would move the users; without it nothing goes by itself."
)
LAG = Subject("lag", GROUP, "What the passive place lacks at a failover is missing until the old disk is read again.")
EQUALITY = Subject("equality", GROUP, "A mirror that was never compared may lack what nobody noticed.")
CANARY = Subject("canary", GROUP, "Its letters prove the whole chain, now and after a failover.")
ACCOUNTS = Subject("accounts", GROUP, "A place that doesn't know the users refuses their mail as soon as it is active.")
MODE = Subject("mode", GROUP, "Only mm_mode: auto moves the users without a person.", False)


def daemon(facts: Facts) -> Check:
    """Whether one attends to the pair."""
    found = [red(facts.daemon, "Start it: `mailmirror run`, as a unit.")] if facts.daemon else []
    return DAEMON.judged(found, "It attends to this pair.")


def lag(facts: Facts) -> Check:
    """Within mm_rpo, by a daemon that knows."""
    told, rpo, name = facts.copied, facts.pair.rpo, facts.pair.name
    status = f"See `mailmirror status {name}`."
    if isinstance(told, Unknown):
        return LAG.judged([unknown(f"It isn't known: {told.why}.", told.remedy or status)], "")
    findings = []
    if told.link not in ("live", "catching up"):
        findings.append(red(f"Replication is {told.link}.", status))
    if told.lag is None:
        findings.append(unknown(f"Nobody knows what {facts.passive.name} lacks.", status))
    elif told.lag > rpo:
        found = f"{facts.passive.name} lacks changes that are {told.lag:.0f} s old; mm_rpo is {rpo:g} s."
        findings.append(red(found, f"{status} Look at the link and at its disk."))
    if told.waiting:
        found = f"{told.waiting:,} deletions wait for a person."
        findings.append(warn(found, f"See `mailmirror status {name}`, and `mailmirror ack` where they are meant."))
    return LAG.judged(findings, f"{told.lag or 0:.1f} s; mm_rpo is {rpo:g} s.")


def equality(facts: Facts) -> Check:
    """Proven by a comparison that isn't older than two of its periods."""
    remedy = f"`mailmirror verify {facts.pair.name}`."
    if facts.equal is None:
        return EQUALITY.judged([red(f"{facts.passive.name} was never proven equal.", remedy)], "")
    hours = (facts.now - facts.equal) / 3600
    if facts.now - facts.equal > PERIODS * facts.pair.verify:
        return EQUALITY.judged([red(f"{facts.passive.name} was last proven equal {hours:.0f} h ago.", remedy)], "")
    return EQUALITY.well(f"{facts.passive.name} was proven equal {max(0.0, hours):.1f} h ago.")


def canary(facts: Facts) -> Check:
    """Letters come through, lately."""
    said, told = facts.pair.canary, facts.canary
    if said is None:
        return CANARY.judged([red("No account for test letters is said.", "Say mm_canary; the sample shows how.")], "")
    remedy = f"See what `mailmirror status {facts.pair.name}` says of the canary, and try its account by hand."
    if isinstance(told, Unknown):
        return CANARY.judged([unknown(f"It isn't known: {told.why}.", told.remedy or remedy)], "")
    if told.lost >= facts.pair.probe.fall:
        return CANARY.judged([red(f"The last {told.lost} letters were lost: {told.why}.", remedy)], "")
    if told.last is None:
        return CANARY.judged([unknown("No letter came through yet since the daemon began.", remedy)], "")
    old = facts.now - told.last
    if old > (PERIODS + facts.pair.probe.fall) * said.every + LETTER_SECONDS:
        return CANARY.judged(
            [red(f"The last letter came through {old:.0f} s ago; one is due every {said.every:g} s.", remedy)], ""
        )
    lost = [warn(f"{told.lost} letters were lost: {told.why}.", remedy)] if told.lost else []
    return CANARY.judged(lost, f"The last letter came through {max(0.0, old):.0f} s ago.")


def accounts(facts: Facts) -> Check | None:
    """The passive place's Postfix takes the canary's recipient, as the active's does."""
    told, name = facts.accepts, facts.passive.name
    if told is None or facts.pair.canary is None:
        return None
    address = facts.pair.canary.address
    if isinstance(told, Unknown):
        return ACCOUNTS.judged([unknown(f"{name} couldn't be asked: {told.why}.", told.remedy or "Look there.")], "")
    if not told.how:
        return ACCOUNTS.well(f"{name} takes mail for {address}, too.")
    found = f"{name} doesn't take mail for {address}: {told.how} ({told.why})."
    if told.how == "rejected":
        return ACCOUNTS.judged([red(found, f"Give {name} the same users, domains and aliases as {facts.active}.")], "")
    return ACCOUNTS.judged([red(found, f"Look at Postfix on {name}: it has to queue while the other is away.")], "")


def mode(facts: Facts) -> Check:
    """What the inventory lets go by itself."""
    said = facts.pair.mode
    found = (
        [] if said == "auto" else [warn(f"mm_mode is {said}: a person has to give the order.", "Say mm_mode: auto.")]
    )
    return MODE.judged(found, "mm_mode is auto.")
