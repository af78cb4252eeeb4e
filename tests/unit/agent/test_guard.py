"""Who may serve, by what guards say to one another: the design's sentences, each as a schedule."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from orchestrator.agent import guard
from orchestrator.agent.lease import NEVER, Impossible, Terms
from tests.support.guards import PAIR, TTL, Guards

RUN_OUT = Terms().run_out(TTL)
STEPS = ("witness down", "mirror down", "witness up", "mirror up")


@pytest.fixture
def guards() -> Guards:
    """A primary that serves by an armed lease."""
    trio = Guards()
    trio.run(2 * TTL)
    assert trio.serving == ["primary"] and not trio.without_end("primary")
    return trio


# --- a healthy active goes on --------------------------------------------------------------------------------------


@pytest.mark.issue("4.2 one granter lost and later the other: it serves on")
def test_one_granter_lost_and_later_the_other(guards: Guards) -> None:
    guards.down("witness")
    guards.run(2 * TTL)
    guards.down("mirror")
    guards.run(100 * TTL)
    assert guards.serving == ["primary"] and guards.without_end("primary")


@pytest.mark.issue("4.2 both lost within one ttl: it stops at its deadline")
def test_both_granters_lost_within_one_ttl(guards: Guards) -> None:
    guards.down("witness")
    guards.run(TTL / 4)
    guards.down("mirror")
    guards.run(TTL)
    assert guards.serving == []


@pytest.mark.issue("4.2 the active cut off from both stops at its deadline, from one it serves on")
def test_a_cut_from_both_stops_and_a_cut_from_one_does_not(guards: Guards) -> None:
    guards.part("primary", "mirror")
    guards.run(20 * TTL)
    assert guards.serving == ["primary"] and not guards.without_end("primary")
    guards.part("primary", "witness")
    guards.run(TTL)
    assert guards.serving == []
    guards.heal()
    guards.run(TTL / 2)
    assert guards.serving == ["primary"]


@pytest.mark.issue("4.P witness down, mirror rebooting, controller dead, in every order")
@pytest.mark.parametrize("gap", [TTL / 8, TTL, 3 * TTL])
@pytest.mark.parametrize("order", list(itertools.permutations(STEPS)))
def test_granters_come_and_go_in_every_order(guards: Guards, order: tuple[str, ...], gap: float) -> None:
    """The design says when it may stop: only when both were lost within one ttl. It is back when one has come back."""
    away: dict[str, float] = {}
    time, may_stop = 0.0, False
    for step in order:
        place, _, what = step.partition(" ")
        if what == "down" and guards.seats[place].up:
            guards.down(place)
            away[place] = time
            may_stop = may_stop or (len(away) == 2 and abs(away["witness"] - away["mirror"]) < TTL * 1.5)
        elif what == "up" and not guards.seats[place].up:
            guards.starts(place)
            away.pop(place)
        guards.run(gap)
        time += gap
        assert may_stop or guards.serving == ["primary"], f"after {step}"
    for place in list(away):
        guards.starts(place)
    guards.run(2 * TTL)
    assert guards.serving == ["primary"] and not guards.without_end("primary"), "and armed again"


@pytest.mark.issue("4.2 a granter that leaves on purpose gives a grant without an end first; withdrawn it re-arms")
def test_a_granter_that_leaves_disarms_the_lease_and_one_that_stays_arms_it_again(guards: Guards) -> None:
    guards.order("mirror", "leave", words="a new kernel")
    guards.run(TTL / 2)
    assert guards.without_end("primary")
    with pytest.raises(Impossible, match="may serve without an end"):
        guards.order("mirror", "refuse")
    guards.down("mirror")
    guards.down("witness")
    guards.run(10 * TTL)
    assert guards.serving == ["primary"]
    guards.starts("mirror")
    guards.starts("witness")
    guards.run(2 * TTL)
    assert guards.without_end("primary"), "it is still about to leave"
    guards.order("mirror", "withdraw")
    guards.run(2 * TTL)
    assert not guards.without_end("primary") and guards.serving == ["primary"]


@pytest.mark.issue("4.2 after a reboot it serves if a granter answers, else until an operator attests")
def test_after_a_reboot_it_serves_when_one_granter_answers(guards: Guards) -> None:
    for place in guards.places:
        guards.down(place)
    guards.starts("primary")
    guards.run(3 * TTL)
    assert guards.serving == []
    guards.starts("mirror")
    guards.run(TTL)
    assert guards.serving == ["primary"]


@pytest.mark.issue("4.2 serve --attest on a host without any controller")
def test_an_operators_word_opens_and_a_grant_ends_its_need(guards: Guards) -> None:
    for place in guards.places:
        guards.down(place)
    guards.starts("primary")
    with pytest.raises(Impossible, match="say why"):
        guards.order("primary", "attest")
    guards.order("primary", "attest", words="the mirror is switched off, I stand beside it")
    guards.run(10 * TTL)
    assert guards.serving == ["primary"]
    guards.starts("witness")
    guards.starts("mirror")
    guards.run(2 * TTL)
    assert guards.register("primary").attested == "" and not guards.without_end("primary")
    assert guards.serving == ["primary"]


# --- a promotion -----------------------------------------------------------------------------------------------------


@pytest.mark.issue("4.2 the mirror is promoted when the lease of the old active has run out, confirmed by both")
def test_the_mirror_takes_over_from_an_active_that_is_cut_off(guards: Guards) -> None:
    guards.part("primary", "mirror", "witness")
    for place in ("mirror", "witness"):
        guards.order(place, "refuse")
    guards.run(TTL / 2)
    with pytest.raises(Impossible, match="hasn't run out"):
        guards.promote()
    guards.run(RUN_OUT - TTL / 2)
    assert guards.serving == []
    guards.promote()
    guards.run(TTL)
    assert guards.serving == ["mirror"]
    guards.heal()
    guards.run(2 * TTL)
    assert guards.serving == ["mirror"]
    assert guards.register("primary").epoch == 2, "it learnt of the later epoch"


def test_the_mirror_waits_for_the_witness_and_is_not_made_active_by_hearsay(guards: Guards) -> None:
    guards.part("primary", "mirror", "witness")
    for place in ("mirror", "witness"):
        guards.order(place, "refuse")
    guards.run(RUN_OUT + 1)
    with pytest.raises(Impossible, match="the witness's register has to be in epoch 2 first"):
        guards.order("mirror", "advance", epoch=2, active="mirror")
    guards.order("witness", "advance", epoch=2, active="mirror")
    guards.run(TTL)
    assert guards.register("mirror").epoch == 1 and guards.serving == []
    guards.order("mirror", "advance", epoch=2, active="mirror")
    guards.run(TTL)
    assert guards.serving == ["mirror"]


@pytest.mark.issue("4.2 the old active's durable tombstone is the point of no return")
def test_a_tombstone_ends_the_old_active_for_good(guards: Guards) -> None:
    guards.order("primary", "tombstone", "switch", epoch=2)
    assert guards.serving == [] and guard.posture(guards.seats["primary"].mind).role == "closed"
    guards.starts("primary")
    guards.run(TTL)
    assert guards.serving == [], "no reboot brings it back"
    guards.order("mirror", "advance", epoch=2, active="mirror", proof="the primary's guard has a tombstone for epoch 2")
    guards.run(TTL)
    assert guards.serving == ["mirror"] and guards.register("primary").active == "mirror"


@pytest.mark.issue("4.2 compare-and-swap with an operation id: done once, refused for another epoch")
def test_an_order_is_carried_out_once_and_only_in_its_epoch(guards: Guards) -> None:
    said = guards.order("primary", "tombstone", "op 7", epoch=2)
    before = guards.register("primary")
    assert guards.order("primary", "tombstone", "op 7", epoch=2) == said
    assert guards.register("primary") == before
    for verb, epoch in (("advance", 4), ("advance", 1), ("refuse", 2), ("relent", 0)):
        with pytest.raises(Impossible, match="look at the state again"):
            guards.order("mirror", verb, epoch=epoch, active="mirror", proof="p")


def test_a_second_active_in_one_epoch_cannot_be_ordered(guards: Guards) -> None:
    with pytest.raises(Impossible, match="can't be the next active"):
        guards.order("mirror", "advance", epoch=2, active="primary", proof="p")
    with pytest.raises(Impossible, match="can't be the next active"):
        guards.order("mirror", "advance", epoch=2, active="witness", proof="p")
    with pytest.raises(Impossible, match="only its guard"):
        guards.order("mirror", "tombstone", epoch=2)


def test_a_lease_that_no_kernel_ends_proves_nothing(guards: Guards) -> None:
    trio, seat = guards, guards.seats["primary"]
    mind, messages = guard.tick(
        replace(seat.mind, next_round=NEVER), seat.clock, {"s": (1, 1)}, trio.numbers, weak=True
    )
    trio._became(seat, mind, messages)
    trio.deliver()
    trio.part("primary", "mirror", "witness")
    for place in ("mirror", "witness"):
        trio.order(place, "refuse")
    trio.run(10 * TTL)
    with pytest.raises(Impossible, match="fence it"):
        trio.promote()


@pytest.fixture
def fenced(guards: Guards) -> Guards:
    """The primary was off, and is back; the mirror was promoted meanwhile, and the witness couldn't hear of it."""
    guards.part("mirror", "primary", "witness")
    guards.down("primary")
    guards.order("mirror", "advance", epoch=2, active="mirror", proof="the primary's plug is out")
    guards.starts("primary")
    guards.run(TTL / 2)
    assert guards.serving == ["primary"], "by the witness, which knows of nothing: until it does"
    guards.part("primary", "mirror", "witness")
    guards.cut -= {("mirror", "witness"), ("witness", "mirror")}
    return guards


@pytest.mark.issue("4.2 a fenced active that comes back: who granted it the old epoch waits until that has run out")
@pytest.mark.parametrize("anew", [False, True])
def test_a_witness_that_hears_late_of_an_epoch_waits_for_what_it_granted(fenced: Guards, anew: bool) -> None:
    fenced.run(1.0)
    fenced.hear("witness", "mirror")
    assert fenced.register("witness").epoch == 2
    if anew:
        fenced.starts("witness", boots=False)
    while fenced.serving == ["primary"]:
        fenced.run(0.1)
    fenced.run(RUN_OUT + 1)
    assert fenced.serving == ["mirror"] and not fenced.register("witness").lasting


@pytest.mark.issue("4.2 a fenced active that comes back: a grant without an end is waited for, heard or proven off")
@pytest.mark.parametrize("how", ["heard", "proven"])
def test_a_witness_that_granted_without_an_end_waits_for_a_word(fenced: Guards, how: str) -> None:
    fenced.heal()
    fenced.part("mirror", "primary", "witness")
    fenced.run(3 * TTL)
    assert fenced.without_end("primary")
    fenced.part("primary", "mirror", "witness")
    fenced.cut -= {("mirror", "witness"), ("witness", "mirror")}
    fenced.run(5 * TTL)
    assert fenced.serving == ["primary"] and fenced.register("witness").lasting == float("inf")
    if how == "heard":
        fenced.heal()
    else:
        fenced.down("primary")
        fenced.order("witness", "advance", epoch=2, active="mirror", proof="the primary's plug is out again")
    fenced.run(TTL)
    assert fenced.serving == ["mirror"] and not fenced.register("witness").lasting


# --- copies and repetitions -----------------------------------------------------------------------------------------


@pytest.mark.issue("4.P a restored snapshot, an old epoch, a replayed grant: refused, told, nothing changed")
def test_a_store_that_is_an_older_copy_gets_no_grant(guards: Guards) -> None:
    guards.seats["primary"].generation = 5
    guards.run(TTL)
    for generation in (4, 1):
        guards.seats["primary"].generation = generation
        before = {place: guards.register(place).stores for place in ("mirror", "witness")}
        guards.run(2 * TTL)
        assert guards.serving == []
        assert "restored copy" in guards.seats["primary"].mind.denied["witness"]
        assert {place: guards.register(place).stores for place in ("mirror", "witness")} == before
    guards.seats["primary"].generation = 6
    guards.run(TTL)
    assert guards.serving == ["primary"]


def test_a_store_that_is_not_mounted_gets_no_grant(guards: Guards) -> None:
    seat = guards.seats["primary"]
    for _ in range(200):
        guards.run(0.1)
        asked, messages = guard.tick(replace(seat.mind, next_round=0.0), seat.clock, {}, guards.numbers)
        guards._became(seat, asked, messages)
        guards.deliver()
        if not guards.serving:
            break
    assert "missing" in seat.mind.denied["witness"]


@pytest.mark.issue("4.P an old epoch")
def test_an_old_active_that_was_restored_with_its_register_learns_of_the_later_epoch(guards: Guards) -> None:
    old = guards.register("primary")
    for _ in range(3):
        guards.seats["primary"].mind = guard.aged(guards.seats["primary"].mind)
    guards.run(TTL)
    guards.order("primary", "tombstone", epoch=2)
    guards.order("mirror", "advance", epoch=2, active="mirror", proof="tombstone")
    guards.run(TTL)
    guards.down("primary")
    guards.starts("primary", register=old)
    guards.run(2 * TTL)
    assert guards.serving == ["mirror"] and guards.register("primary").epoch == 2


def test_a_granter_that_was_restored_counts_as_having_promised_everything(guards: Guards) -> None:
    old = guards.register("witness")
    for _ in range(3):
        guards.seats["witness"].mind = guard.aged(guards.seats["witness"].mind)
    guards.run(TTL)
    guards.down("witness")
    guards.starts("witness", register=old)
    guards.hear("witness", "mirror")
    assert guards.register("witness").kept.without_end
    assert guards.register("witness").generation > old.generation + 2
    guards.run(2 * TTL)
    assert guards.serving == ["primary"] and not guards.without_end("primary")


@pytest.mark.issue("4.P a replayed grant")
def test_grants_that_are_sent_again_prolong_nothing(guards: Guards) -> None:
    grants = []
    for _ in range(40):
        for place in guards.places:
            guards.seats[place].clock += 0.1
            guards.tick(place)
        while guards.sent:
            message = guards.sent.pop(0)
            if message.kind in ("grant", "well", "ask", "hello"):
                grants.append(message)
            guards.receive(message)
    guards.part("primary", "mirror", "witness")
    deadline = guards.seats["primary"].gate
    guards.heal()
    for message in grants:
        if message.to == "primary":
            guards.receive(message)
    guards.sent.clear()
    assert guards.seats["primary"].gate == deadline


def test_a_place_whose_register_was_lost_does_not_serve_by_hearsay(guards: Guards) -> None:
    """The others know it as the active; that it still is nobody else can say for sure."""
    guards.down("primary")
    guards.starts("primary", register=replace(guards.register("primary"), epoch=0, active=""))
    guards.run(TTL)
    assert guards.serving == []
    assert "its register was lost" in guard.posture(guards.seats["primary"].mind).why
    guards.order("primary", "attest", epoch=1, words="nobody else serves")
    guards.run(TTL)
    assert guards.serving == ["primary"]


# --- a pair without a witness -----------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Guards:
    two = Guards(PAIR, ttl=0.0)
    two.run(5)
    assert two.serving == ["primary"]
    return two


@pytest.mark.issue("4.2 without a witness the gate opens when the passive place confirms that no later epoch exists")
def test_a_pair_opens_by_the_other_guards_word(pair: Guards) -> None:
    pair.down("mirror")
    pair.run(1000)
    assert pair.serving == ["primary"], "no lease stops it"
    pair.down("primary")
    pair.starts("primary")
    pair.run(60)
    assert pair.serving == [], "nobody can be asked"
    pair.starts("mirror")
    pair.run(5)
    assert pair.serving == ["primary"]


@pytest.mark.issue("4.2 without a witness the controller, too, confirms that no later epoch exists")
def test_a_pair_opens_by_the_controllers_word_in_the_other_guards_place(pair: Guards, guards: Guards) -> None:
    for place in PAIR:
        pair.down(place)
    pair.starts("primary")
    with pytest.raises(Impossible, match="look at the state again"):
        pair.order("primary", "confirm", epoch=2)
    pair.order("primary", "confirm")
    pair.run(5)
    assert pair.serving == ["primary"]
    with pytest.raises(Impossible, match="a granter has to answer"):
        guards.order("primary", "confirm")
    pair.order("primary", "tombstone", epoch=2)
    with pytest.raises(Impossible, match="only the active"):
        pair.order("primary", "confirm", epoch=1)


@pytest.mark.issue("4.2 an announced reboot needs no confirmation, and no epoch begins before it is withdrawn")
def test_an_announced_reboot(pair: Guards) -> None:
    pair.order("mirror", "leave", words="both get a new kernel")
    pair.run(5)
    pair.down("mirror")
    pair.down("primary")
    pair.starts("primary")
    assert pair.serving == ["primary"]
    pair.starts("mirror")
    with pytest.raises(Impossible, match="announced its reboot"):
        pair.order("mirror", "advance", epoch=2, active="mirror", proof="its plug is out")
    pair.order("mirror", "withdraw")
    with pytest.raises(Impossible, match="announced its reboot"):
        pair.order("mirror", "advance", epoch=2, active="mirror", proof="its plug is out")
    pair.run(10)
    pair.down("primary")
    pair.order("mirror", "advance", epoch=2, active="mirror", proof="its plug is out")
    pair.starts("primary")
    pair.run(10)
    assert pair.register("primary").active == "mirror"


def test_a_pair_has_no_promotion_without_a_proof(pair: Guards) -> None:
    with pytest.raises(Impossible, match="needs a proof"):
        pair.order("mirror", "advance", epoch=2, active="mirror")
