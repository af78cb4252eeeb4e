"""Which proofs count, and when a promotion may be begun: the design's words, each broken in one place at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent import lease
from orchestrator.fencing import proof
from orchestrator.fencing.proof import Attested, Case, Confirmation, Known, Off, Proof, RunOut, Sight, Stopped

DAY = 86400.0
CASE = Case("mail1", 4, "mail2", now=1000.0, clock="c1", wall=2e9, witness="wit", host_boot="b7")
STOPPED = Stopped("mail1", 4, "agent", "c1", 990.0, 991.0, "b7", {"dovecot.service": ("inactive", "masked")})
SIGHT = Sight("fence_redfish bmc1", "off", "Status: OFF", acted=980.0, read=981.0, tested=2e9 - 3 * DAY)
OFF = Off("mail1", 4, "controller", "c1", (SIGHT, replace(SIGHT, device="pdu")))
PASSIVE, WITNESS = (Confirmation(name, 4, True, "c1", 995.0) for name in ("mail2", "wit"))
RUN_OUT = RunOut("mail1", 4, (PASSIVE, WITNESS))
ATTESTED = Attested("mail1", 4, "root (uid 0)", "its power cable is in my hand", 2e9 - 60)
ALL: list[Proof] = [STOPPED, OFF, RUN_OUT, ATTESTED]
BOTH = {"mail2": 5, "wit": 5}


def named(found: Proof) -> str:
    return type(found).__name__


@pytest.mark.issue("4.3 proofs of the four kinds")
@pytest.mark.parametrize("whole", ALL, ids=named)
def test_each_of_the_four_kinds_counts_while_it_is_fresh(whole: Proof) -> None:
    assert proof.why_not(whole, CASE) == ""
    assert proof.fenced([whole], CASE).enough
    assert proof.words(whole) in proof.fenced([whole], CASE).why


BROKEN: list[tuple[Proof, str]] = [
    (replace(STOPPED, clock="c0"), "before the controller's last boot"),
    (replace(STOPPED, host_boot="b6"), "has booted since"),
    (replace(STOPPED, read=989.0), "before the act"),
    (replace(STOPPED, acted=960.0, read=969.0), "read it again"),
    (replace(STOPPED, read=1001.0), "hasn't come yet"),
    (replace(STOPPED, read=float("nan")), "before the act"),
    (replace(STOPPED, units={}), "No unit"),
    (replace(STOPPED, units={**STOPPED.units, "postfix.service": ("active", "masked")}), "postfix.service is active"),
    (replace(STOPPED, units={"dovecot.service": ("inactive", "enabled")}), "not stopped and masked"),
    (replace(STOPPED, units={"dovecot.service": ("", "")}), "unknown and unknown"),
    (replace(OFF, clock="c0"), "before the controller's last boot"),
    (replace(OFF, sights=()), "No device"),
    (replace(OFF, sights=(SIGHT, replace(SIGHT, state="on"))), "says on, not off"),
    (replace(OFF, sights=(SIGHT, replace(SIGHT, state="unknown"))), "says unknown, not off"),
    (replace(OFF, sights=(replace(SIGHT, read=979.9),)), "before the act"),
    (replace(OFF, sights=(replace(SIGHT, acted=900.0, read=939.0),)), "read it again"),
    (replace(OFF, sights=(replace(SIGHT, tested=None),)), "no test within 7 days"),
    (replace(OFF, sights=(replace(SIGHT, tested=2e9 - 8 * DAY),)), "no test within 7 days"),
    (replace(OFF, sights=(replace(SIGHT, tested=2e9 + 1),)), "no test within 7 days"),
    (replace(RUN_OUT, confirmations=(PASSIVE,)), "wit hasn't confirmed"),
    (replace(RUN_OUT, confirmations=(PASSIVE, replace(WITNESS, run_out=False))), "wit granted hasn't run out"),
    (replace(RUN_OUT, confirmations=(PASSIVE, replace(WITNESS, epoch=3))), "wit speaks of epoch 3"),
    (replace(RUN_OUT, confirmations=(replace(PASSIVE, clock="c0"), WITNESS)), "ask it again"),
    (replace(RUN_OUT, confirmations=(replace(PASSIVE, heard=980.0), WITNESS)), "read it again"),
    (replace(ATTESTED, by=" "), "who states what"),
    (replace(ATTESTED, words=""), "who states what"),
    (replace(ATTESTED, said_at=2e9 - 3601), "state it anew"),
    (replace(ATTESTED, said_at=2e9 + 5), "hasn't come yet"),
    *((replace(whole, epoch=3), "is of epoch 3") for whole in ALL),
    *((replace(whole, host="mail2"), "is of mail2") for whole in ALL),
]


@pytest.mark.issue("4.3 freshness: stale, read before the act, of another epoch or boot")
@pytest.mark.parametrize(("broken", "said"), BROKEN, ids=lambda each: each if isinstance(each, str) else named(each))
def test_a_proof_that_lacks_one_thing_does_not_count_and_says_why(broken: Proof, said: str) -> None:
    assert said in proof.why_not(broken, CASE)
    verdict = proof.fenced([broken], CASE)
    assert not verdict.enough and any(said in lack for lack in verdict.lacks)
    assert not proof.promotion(5, Known([broken], acknowledged=BOTH), CASE).enough


def test_services_stopped_on_a_host_that_no_longer_answers_prove_nothing() -> None:
    assert "doesn't answer" in proof.why_not(STOPPED, replace(CASE, host_boot=""))


def test_without_a_witness_no_lease_runs_out() -> None:
    assert "no witness" in proof.why_not(RUN_OUT, replace(CASE, witness=""))


def test_a_granter_that_relented_or_never_refused_confirms_nothing() -> None:
    terms = lease.Terms()
    granter = lease.started("wit", lease.Kept(4, without_end=False, longest=8.0), 100.0, terms)
    refusing = lease.refuse(granter)
    for state, now, run_out in ((granter, 200.0, False), (refusing, 101.0, False), (refusing, 109.0, True)):
        assert proof.confirmation(state, now, clock="c1", heard=995.0).run_out is run_out
    assert not proof.confirmation(lease.relent(refusing), 200.0, clock="c1", heard=995.0).run_out


@pytest.mark.issue("4.3 point of no return: tombstone, lease run out acknowledged by both, mirror with another fence")
@pytest.mark.parametrize(
    ("known", "enough"),
    [
        (Known(tombstone=5), True),
        (Known(tombstone=4), False),
        (Known(acknowledged=BOTH), False),
        (Known([RUN_OUT], acknowledged=BOTH), True),
        (Known([RUN_OUT], acknowledged={"mail2": 5}), False),
        (Known([RUN_OUT], acknowledged={"mail2": 5, "wit": 4}), False),
        (Known([RUN_OUT], acknowledged={"wit": 5}), False),
        *((Known([other], acknowledged={"mail2": 5}), True) for other in (STOPPED, OFF, ATTESTED)),
        *((Known([other], acknowledged={"mail2": 4, "wit": 5}), False) for other in (STOPPED, OFF, ATTESTED)),
        *((Known([other]), False) for other in ALL),
        (Known(ALL, tombstone=5, acknowledged={"mail2": 5, "wit": 6}), False),
        (Known(ALL, tombstone=6, acknowledged=BOTH), False),
    ],
)
def test_the_point_of_no_return_is_one_of_three(known: Known, enough: bool) -> None:
    verdict = proof.promotion(5, known, CASE)
    assert verdict.enough is enough
    assert bool(verdict.lacks) is not enough


def test_an_epoch_that_does_not_follow_is_refused_whatever_is_known() -> None:
    for epoch in (4, 6):
        assert not proof.promotion(epoch, Known(ALL, epoch, {"mail2": epoch, "wit": epoch}), CASE).enough


@given(
    found=st.lists(st.sampled_from([*ALL, *(broken for broken, _ in BROKEN)]), max_size=4),
    tombstone=st.integers(0, 6),
    registers=st.dictionaries(st.sampled_from(["mail2", "wit"]), st.integers(3, 6)),
    later=st.floats(-1, 200),
    boot=st.sampled_from(["", "b7"]),
)
def test_nothing_is_enough_that_the_design_does_not_name(
    found: list[Proof], tombstone: int, registers: dict[str, int], later: float, boot: str
) -> None:
    case = replace(CASE, now=1000 + later, wall=2e9 + later, host_boot=boot)
    verdict = proof.promotion(5, Known(found, tombstone, registers), case)
    good = {named(each) for each in found if not proof.why_not(each, case)}
    by_lease = "RunOut" in good and registers == BOTH
    by_fence = bool(good - {"RunOut"}) and registers.get("mail2") == 5
    beyond = max([tombstone, *registers.values()]) > 5
    assert verdict.enough is (not beyond and (tombstone == 5 or by_lease or by_fence))
