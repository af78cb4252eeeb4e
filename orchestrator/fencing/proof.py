"""What counts as a proof that a place is fenced, and when it is enough to promote the other one. Pure.

There are four kinds (DESIGN section 8): `Stopped`, `Off`, `RunOut`, `Attested`. Each says who read or said it, when,
and what. `why_not` holds one against the `Case` in which it is to count: the host, its epoch, the boot of the clock
that its times are of. What is too old, was read before the act, or is of another epoch or boot doesn't count, and says
why.
`promotion` holds all that is known against the point of no return.

Times are seconds of the controller's CLOCK_BOOTTIME and mean nothing in another boot of it; only what has to outlive
one (a test of a device, an operator's statement) is seconds since 1970.

Invariant: what isn't known never counts. It asks nobody: who read is trusted to have read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.agent import lease

STOPPED_FOR = 30.0
"""Seconds for which services that were read as stopped count as stopped: somebody on that host may start them."""
OFF_FOR = 60.0
"""Seconds for which a device's "off" counts: somebody may switch the host on."""
RUN_OUT_FOR = 10.0
"""Seconds for which a granter's word counts that its grants have run out: it may relent, and grant again."""
STATED_FOR = 3600.0
"""Seconds for which an operator's statement counts; long enough for whoever orders the failover next."""
TESTED_WITHIN = 7 * 86400.0
"""How long ago the last good test of a device may be, in seconds."""


@dataclass(frozen=True)
class Case:
    """In which a proof is to count: `host` was active in `epoch`, and `passive` may be promoted to the next.

    `now` is of the controller's CLOCK_BOOTTIME in its boot `clock`; `wall` is seconds since 1970. `witness` is "" for
    none. `host_boot` is the boot id that the host answers with now, "" when it doesn't answer.
    """

    host: str
    epoch: int
    passive: str
    now: float
    clock: str
    wall: float
    witness: str = ""
    host_boot: str = ""


@dataclass(frozen=True)
class Stopped:
    """(a) Read on the host itself: each unit's (ActiveState, UnitFileState), as systemctl(1) has them."""

    host: str
    epoch: int
    by: str
    clock: str
    acted: float
    read: float
    host_boot: str
    units: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Sight:
    """What one fence device said: `state` is on, off or unknown, `said` its own words. `acted` is when the order to
    switch off had ended, `read` when the question began. `tested` is when it answered a test last, None for never.
    """

    device: str
    state: str
    said: str
    acted: float
    read: float
    tested: float | None


@dataclass(frozen=True)
class Off:
    """(b) Every device of one level (two power supplies are two devices of one level)."""

    host: str
    epoch: int
    by: str
    clock: str
    sights: tuple[Sight, ...]


@dataclass(frozen=True)
class Confirmation:
    """A granter's word on its own clock's time (`lease.has_run_out`), heard at `heard`."""

    granter: str
    epoch: int
    run_out: bool
    clock: str
    heard: float


@dataclass(frozen=True)
class RunOut:
    """(c) What both granters said of what they granted in the epoch."""

    host: str
    epoch: int
    confirmations: tuple[Confirmation, ...]


@dataclass(frozen=True)
class Attested:
    """(d) An operator's recorded statement; `said_at` in seconds since 1970."""

    host: str
    epoch: int
    by: str
    words: str
    said_at: float


Proof = Stopped | Off | RunOut | Attested


def confirmation(granter: lease.Granter, its_now: float, *, clock: str, heard: float) -> Confirmation:
    """A granter's state at its own time `its_now`, as its word on the lease."""
    return Confirmation(granter.name, granter.kept.epoch, lease.has_run_out(granter, its_now), clock, heard)


# --- does one count ---------------------------------------------------------------------------------------------------


def why_not(proof: Proof, case: Case) -> str:
    """Why this proof doesn't count in this case, as a sentence; "" when it counts."""
    if proof.host != case.host:
        return f"It is of {proof.host}, and {case.host} is to be fenced."
    if proof.epoch != case.epoch:
        return f"It is of epoch {proof.epoch}, and {case.host} was active in epoch {case.epoch}."
    if isinstance(proof, Stopped):
        return _why_not_stopped(proof, case)
    if isinstance(proof, Off):
        return _why_not_off(proof, case)
    if isinstance(proof, RunOut):
        return _why_not_run_out(proof, case)
    return _why_not_attested(proof, case)


def _why_not_read(what: str, acted: float, read: float, lasts: float, case: Case) -> str:
    """The freshness of something read: after the act, not in the future, not too long ago."""
    if not acted <= read:
        return f"{what} was read before the act had ended."
    if not read <= case.now:
        return f"{what} was read at a time that hasn't come yet: the clock went wrong."
    if not case.now - read <= lasts:
        return f"{what} was read {case.now - read:.0f} s ago, which counts for {lasts:.0f} s: read it again."
    return ""


def _why_not_stopped(proof: Stopped, case: Case) -> str:
    if proof.clock != case.clock:
        return "It was read before the controller's last boot: read it again."
    if not case.host_boot:
        return f"{case.host} doesn't answer, so what was read on it may not hold any more."
    if proof.host_boot != case.host_boot:
        return f"{case.host} has booted since it was read."
    if not proof.units:
        return "No unit was read."
    for unit, (active, file) in sorted(proof.units.items()):
        if active not in ("inactive", "failed") or file not in ("masked", "masked-runtime"):
            return f"{unit} is {active or 'unknown'} and {file or 'unknown'}, not stopped and masked."
    return _why_not_read("It", proof.acted, proof.read, STOPPED_FOR, case)


def _why_not_off(proof: Off, case: Case) -> str:
    if proof.clock != case.clock:
        return "It was read before the controller's last boot: read it again."
    if not proof.sights:
        return "No device was asked."
    for sight in proof.sights:
        if sight.state != "off":
            return f"{sight.device} says {sight.state}, not off: {sight.said}"
        late = _why_not_read(f'"off" from {sight.device}', sight.acted, sight.read, OFF_FOR, case)
        if late:
            return late
        if sight.tested is None or not 0 <= case.wall - sight.tested <= TESTED_WITHIN:
            return (
                f"{sight.device} has passed no test within {TESTED_WITHIN / 86400:.0f} days, so its word isn't trusted."
            )
    return ""


def _why_not_run_out(proof: RunOut, case: Case) -> str:
    if not case.witness:
        return "There is no witness, so there is no lease that could run out."
    heard = {each.granter: each for each in proof.confirmations}
    for name in (case.passive, case.witness):
        word = heard.get(name)
        if word is None:
            return f"{name} hasn't confirmed that its grants have run out."
        if word.epoch != case.epoch:
            return f"{name} speaks of epoch {word.epoch}, not of {case.epoch}."
        if not word.run_out:
            return f"What {name} granted hasn't run out, or it hasn't refused to grant more."
        if word.clock != case.clock:
            return f"{name} was heard before the controller's last boot: ask it again."
        late = _why_not_read(f"The word of {name}", word.heard, word.heard, RUN_OUT_FOR, case)
        if late:
            return late
    return ""


def _why_not_attested(proof: Attested, case: Case) -> str:
    if not proof.by.strip() or not proof.words.strip():
        return "It doesn't say who states what."
    age = case.wall - proof.said_at
    if not age >= 0:
        return "It was made at a time that hasn't come yet: the clock went wrong."
    if not age <= STATED_FOR:
        return f"It was made {age / 60:.0f} min ago and counts for {STATED_FOR / 60:.0f}: look again, state it anew."
    return ""


# --- is it enough -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """All that was read for a promotion: `proofs`; `tombstone` is the epoch of the durable tombstone on the old
    active's guard, 0 for none or unknown; `acknowledged` is, by granter, the epoch that its register holds durably.
    """

    proofs: Sequence[Proof] = ()
    tombstone: int = 0
    acknowledged: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Verdict:
    """`why` is the sentence for the journal; `lacks` says, where it isn't enough, what would be."""

    enough: bool
    why: str
    lacks: tuple[str, ...] = ()


def fenced(proofs: Sequence[Proof], case: Case) -> Verdict:
    """Whether any of these proves the fence: what has to be so before an epoch is begun without the old active."""
    lacks = []
    for proof in proofs:
        reason = why_not(proof, case)
        if not reason:
            return Verdict(True, words(proof))
        lacks.append(f"{words(proof)} This doesn't count. {reason}")
    return Verdict(False, f"No fence of {case.host} is proven.", tuple(lacks) or ("Nothing was read.",))


def promotion(epoch: int, known: Known, case: Case) -> Verdict:
    """Whether the point of no return of a promotion to `epoch` is reached: `case.passive` may serve.

    One of three (DESIGN section 8): the tombstone of the old active's guard; the lease run out, acknowledged by passive
    place and witness; the passive place's acknowledgement with another proven fence.
    """
    if epoch != case.epoch + 1:
        return Verdict(False, f"Epoch {epoch} doesn't follow epoch {case.epoch}.", ("Read the registers again.",))
    registers = dict(known.acknowledged or {})
    later = sorted(name for name, held in (*registers.items(), (case.host, known.tombstone)) if held > epoch)
    if later:
        return Verdict(False, f"A later epoch than {epoch} is known to {', '.join(later)}.", ("Stop and look.",))
    if known.tombstone == epoch:
        return Verdict(True, f"{case.host} holds a durable tombstone for epoch {epoch}.")
    missing = [name for name in (case.passive, case.witness) if name and registers.get(name) != epoch]
    run_out = [proof for proof in known.proofs if isinstance(proof, RunOut)]
    other = [proof for proof in known.proofs if not isinstance(proof, RunOut)]
    by_lease, by_fence = fenced(run_out, case), fenced(other, case)
    if by_fence.enough and case.passive not in missing:
        return Verdict(True, f"{case.passive} has acknowledged epoch {epoch}. {by_fence.why}")
    if by_lease.enough and not missing:
        return Verdict(True, f"{case.passive} and {case.witness} have acknowledged epoch {epoch}. {by_lease.why}")
    lacks = [f"{name} hasn't acknowledged epoch {epoch}." for name in missing]
    if not by_fence.enough:
        lacks += [*by_fence.lacks, *(() if by_lease.enough else by_lease.lacks)]
    return Verdict(False, f"The point of no return to epoch {epoch} isn't reached.", tuple(dict.fromkeys(lacks)))


def words(proof: Proof) -> str:
    """What a proof says, in one sentence with who and what, for the journal."""
    if isinstance(proof, Stopped):
        units = ", ".join(f"{unit} {active}, {file}" for unit, (active, file) in sorted(proof.units.items()))
        return f"{proof.by} read on {proof.host}: {units or 'nothing'}."
    if isinstance(proof, Off):
        said = "; ".join(f"{sight.device} says {sight.state} ({sight.said})" for sight in proof.sights)
        return f"{proof.by} asked the power of {proof.host}: {said or 'no device'}."
    if isinstance(proof, RunOut):
        said = ", ".join(f"{each.granter} {'yes' if each.run_out else 'no'}" for each in proof.confirmations)
        return f"Has the lease of {proof.host} in epoch {proof.epoch} run out: {said or 'nobody was heard'}."
    return f"{proof.by} states of {proof.host}: {proof.words.strip()!r}."
