"""Whether a place may take up the moving addresses: only alone on the link, and only under a proof."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import Refused
from orchestrator.traffic.holding import Plan, Released, Sight, Stand, planned, unlike, unready
from orchestrator.traffic.proof import FRESH, KINDS

pytestmark = pytest.mark.issue("4.4 VIP: plan, refuse when unsafe, nothing is applied without a proof object")

V4, V6 = "192.0.2.10/24", "2001:db8::10/64"
BOTH = (V4, V6)
HERE = tuple(Stand(plain, prefix, "eth0", True) for plain, prefix in (("192.0.2.10", 24), ("2001:db8::10", 64)))
FREE: dict[str, str | None] = {"192.0.2.10": None, "2001:db8::10": None}
OLD = Sight("mail1", "eth0", "02:00:00:00:00:01", HERE, True)
GONE = replace(OLD, stands=())
NEW = Sight("mail2", "eth0", "02:00:00:00:00:02", (), True, claims=FREE)
PROOF = Released("mail1", 2, 1000.0)


def plan(*seen: Sight, proofs: tuple[Released, ...] = (PROOF,), epoch: int = 2, now: float = 1001.0) -> Plan | None:
    return planned(seen, "mail2", BOTH, proofs, epoch=epoch, now=now)


def test_a_proven_release_lets_the_other_place_take_them_up_after_a_short_look() -> None:
    assert plan(GONE, NEW) == Plan("mail2", BOTH, True, 2, (PROOF,))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "released"])
def test_behind_a_fence_the_look_is_a_long_one_and_the_old_host_may_be_silent(kind: str) -> None:
    silent = Sight("mail1", "eth0", unseen="no answer")
    made = plan(silent, NEW, proofs=(PROOF._replace(kind=kind),))
    assert made is not None and not made.quick


def test_only_what_is_missing_is_taken_up() -> None:
    made = plan(GONE, replace(NEW, stands=HERE[:1]))
    assert made is not None and made.addresses == (V6,)


def test_there_is_nothing_to_do_where_the_active_holds_them_all_alone() -> None:
    assert plan(GONE, replace(NEW, stands=HERE), proofs=()) is None


@pytest.mark.parametrize(
    ("proofs", "why"),
    [
        ((), "Nothing proves that mail1 let go of the addresses."),
        ((PROOF._replace(host="mail3"),), "Nothing proves that mail1 let go of the addresses."),
        ((PROOF._replace(epoch=1),), "is of epoch 1, this change of 2"),
        ((PROOF._replace(epoch=3),), "is of epoch 3, this change of 2"),
        ((PROOF._replace(when=1000.0 - FRESH),), "301 s old"),
        ((PROOF._replace(when=1002.0),), "from the future"),
        ((PROOF._replace(kind="hope"),), "no fence is called 'hope'"),
    ],
)
def test_without_a_proof_that_counts_nothing_is_planned(proofs: tuple[Released, ...], why: str) -> None:
    with pytest.raises(Refused) as raised:
        plan(GONE, NEW, proofs=proofs)
    assert why in str(raised.value)


def test_an_old_proof_beside_a_good_one_does_no_harm() -> None:
    assert plan(GONE, NEW, proofs=(PROOF._replace(epoch=1), PROOF)) is not None


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ((OLD, NEW), "mail1 holds 192.0.2.10."),
        ((OLD, replace(NEW, stands=HERE)), "mail1 holds 192.0.2.10 as well as the active place."),
        ((GONE, replace(NEW, claims={**FREE, "2001:db8::10": "02:00:00:00:00:01"})), "mail1 (02:00:00:00:00:01)"),
        ((GONE, replace(NEW, claims={**FREE, "192.0.2.10": "02:00:00:00:00:09"})), "09, of no host of this pair,"),
        ((GONE, replace(NEW, stands=HERE, claims={**FREE, "192.0.2.10": "02:00:00:00:00:09"})), "is taken"),
        ((GONE, replace(NEW, claims={})), "Whether 192.0.2.10 is free wasn't asked"),
        ((GONE, replace(NEW, trouble="eth0 has no carrier")), "can't take the addresses up: eth0 has no carrier"),
        ((GONE, Sight("mail2", "eth0", unseen="no answer")), "can't take the addresses up: no answer"),
        ((GONE,), "isn't among the hosts"),
        ((NEW,), "Nobody is known"),
    ],
)
def test_what_is_unsafe_is_refused_whatever_is_proven(seen: tuple[Sight, ...], why: str) -> None:
    with pytest.raises(Refused) as raised:
        plan(*seen)
    assert why in str(raised.value)


LEASED = PROOF._replace(kind="lease")
SILENT = Sight("mail1", "eth0", unseen="no answer")
ANSWERED = replace(NEW, claims={**FREE, "192.0.2.10": OLD.mac})


def test_a_frozen_host_behind_its_lease_may_answer_for_the_address_and_nobody_else_may() -> None:
    """Its kernel does, and its gate answers nothing else."""

    def despite(claims: Sight, proof: Released = LEASED, old: Sight = SILENT) -> Plan | None:
        macs = {"mail1": OLD.mac}
        return planned([old, claims], "mail2", BOTH, [proof], epoch=2, now=1001.0, macs=macs)

    made = despite(ANSWERED)
    assert made is not None and (made.despite, made.quick) == ((OLD.mac,), False)
    free = despite(NEW)
    assert free is not None and free.despite == ()
    stranger = replace(NEW, claims={**FREE, "192.0.2.10": "02:00:00:00:00:09"})
    refused = [(stranger, LEASED, SILENT), (ANSWERED, LEASED, GONE), (ANSWERED, LEASED._replace(epoch=1), SILENT)]
    refused += [(ANSWERED, PROOF._replace(kind=kind), SILENT) for kind in KINDS if kind != "lease"]
    for claims, proof, old in refused:
        with pytest.raises(Refused, match="is taken"):
            despite(claims, proof, old)
    with pytest.raises(Refused, match="is taken"):
        plan(SILENT, ANSWERED, proofs=(LEASED,))


STANDS = st.lists(st.sampled_from(HERE), unique=True).map(tuple)
MACS = st.sampled_from([None, "02:00:00:00:00:01", "02:00:00:00:00:09"])
PROOFS = st.lists(
    st.builds(Released, st.sampled_from(["mail1", "mail2"]), st.integers(1, 3), st.floats(0, 2000)), max_size=3
).map(tuple)


@given(STANDS, STANDS, MACS, MACS, PROOFS, st.booleans())
def test_no_plan_comes_of_an_address_that_anybody_else_has_or_of_no_proof(
    old: tuple[Stand, ...],
    new: tuple[Stand, ...],
    first: str | None,
    second: str | None,
    proofs: tuple[Released, ...],
    silent: bool,
) -> None:
    there = replace(OLD, stands=old) if not silent else Sight("mail1", "eth0", unseen="no answer")
    here = replace(NEW, stands=new, claims={"192.0.2.10": first, "2001:db8::10": second})
    try:
        made = plan(there, here, proofs=proofs)
    except Refused:
        return
    assert first is None and second is None and not there.stands
    if made is None:
        assert set(new) == set(HERE)
    else:
        assert all(
            proof.host == "mail1" and proof.epoch == 2 and 0 <= 1001 - proof.when <= FRESH for proof in made.proofs
        )
        assert made.proofs


def test_what_stands_otherwise_than_it_ought_to_is_told() -> None:
    assert unlike([OLD, replace(NEW, claims={})], "mail1", BOTH) == []
    assert unlike([GONE, replace(NEW, stands=HERE)], "mail1", BOTH) == [
        "mail1 is active and doesn't hold 192.0.2.10",
        "mail1 is active and doesn't hold 2001:db8::10",
        "mail2 is passive and has 192.0.2.10 on eth0",
        "mail2 is passive and has 2001:db8::10 on eth0",
    ]
    failed = Stand("2001:db8::10", 64, "eth0", False, ("tentative", "dadfailed"))
    wide = Stand("192.0.2.10", 32, "eth0", True)
    assert unlike([replace(OLD, stands=(wide, failed)), NEW], "mail1", BOTH) == [
        "mail1 has 192.0.2.10 with prefix /32; mm_vip says 192.0.2.10/24",
        "mail1 is active and doesn't hold 2001:db8::10, which is tentative dadfailed on eth0",
    ]
    other = HERE[0]._replace(interface="eth1")
    assert unlike([replace(OLD, stands=(other, HERE[1]))], "mail1", BOTH) == [
        "mail1 is active and doesn't hold 192.0.2.10, which is there on eth1"
    ]
    assert unlike([OLD, Sight("mail2", "eth0", unseen="no answer")], "mail1", BOTH) == ["mail2: no answer"]


def test_a_move_that_would_fail_is_told_before() -> None:
    answered: dict[str, str | None] = {"192.0.2.10": OLD.mac, "2001:db8::10": OLD.mac}
    active = replace(OLD, claims=FREE)
    assert unready([active, replace(NEW, claims=answered)], "mail1", BOTH) == []
    assert unready([replace(GONE, claims=FREE), NEW], "mail1", BOTH) == []
    deaf = unready([active, NEW], "mail1", (V4,))
    assert deaf == ["mail2: 192.0.2.10 isn't answered by mail1, which holds it; are they on one link?"]
    stranger: dict[str, str | None] = {"192.0.2.10": "02:00:00:00:00:09"}
    assert unready([replace(GONE, claims=FREE), replace(NEW, claims=stranger)], "mail1", (V4,)) == [
        "mail2: 192.0.2.10 is taken, 02:00:00:00:00:09, of no host of this pair, answers for it"
    ]
    assert unready([active, replace(NEW, claims=answered, may=False)], "mail1", BOTH)[0].endswith("it needs root")
    assert unready([active, replace(NEW, stands=HERE)], "mail1", (V4,)) == ["mail2 is passive and has 192.0.2.10"]
