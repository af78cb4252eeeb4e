"""Hosts that can't be asked, answer nonsense, or say that they did what they didn't: nothing counts as proven."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from orchestrator.errors import AgentFault, HostUnreachable, LinkLost, MailmirrorError, Refused, StillRunning
from orchestrator.traffic.holding import Plan, Released
from orchestrator.traffic.vip import End, Vip, unreachable

pytestmark = pytest.mark.issue("4.4 VIP: apply, prove; nothing is applied without a proof object")

V4 = "192.0.2.10/24"
Ask = Callable[[dict[str, Any]], Mapping[str, Any]]


def saying(stands: bool, **more: Any) -> Ask:
    """A host that says to everything that it was done, and always shows the same."""
    shown = {"mac": "02:00:00:00:00:01", "may_change": True, "may_send": True, "trouble": "", "done": [], **more}
    return lambda _: {**shown, "stands": [["192.0.2.10", 24, "eth0", True, ["permanent"]]] if stands else []}


def raising(error: Exception) -> Ask:
    def ask(_: dict[str, Any]) -> Mapping[str, Any]:
        raise error

    return ask


def vip(first: Ask, second: Ask) -> Vip:
    return Vip([V4], [End("mail1", "eth0", first), End("mail2", "eth0", second)])


@pytest.mark.parametrize(
    "ask",
    [
        raising(HostUnreachable("gone")),
        raising(LinkLost("gone")),
        raising(StillRunning("late")),
        raising(AgentFault("no", code="unknown-verb")),
        unreachable(HostUnreachable("gone")),
        lambda _: {},
        lambda _: {**saying(True)({}), "stands": [["192.0.2.10"]]},
        lambda _: {**saying(True)({}), "stands": [["192.0.2.10", "x", "eth0", True, []]]},
        lambda _: {**saying(True)({}), "stands": 7},
    ],
)
def test_who_cannot_be_asked_or_understood_is_unseen_and_lets_go_of_nothing(ask: Ask) -> None:
    first, second = vip(ask, saying(False)).seen()
    assert first.unseen
    assert (first.stands, first.may, second.unseen) == ((), False, "")
    with pytest.raises(MailmirrorError):
        vip(ask, saying(False)).release("mail1", 2)


def test_who_says_that_it_let_go_and_did_not_gives_no_proof() -> None:
    with pytest.raises(Refused, match="isn't proven: 192"):
        vip(saying(True), saying(False)).release("mail1", 2)
    proof = vip(saying(False), saying(False)).release("mail1", 2)
    assert (proof.host, proof.epoch, proof.kind) == ("mail1", 2, "released")


def test_a_move_counts_only_when_the_new_holder_has_it_and_nobody_else() -> None:
    plan = Plan("mail2", (V4,), True, 2, (Released("mail1", 2, 0.0),))
    assert len(vip(saying(False), saying(True)).take(plan)) == 2
    assert len(vip(raising(LinkLost("gone")), saying(True)).take(plan)) == 2, "it is proven shut"
    with pytest.raises(Refused, match="After the move mail2 doesn't hold"):
        vip(saying(False), saying(False)).take(plan)
    with pytest.raises(Refused, match="After the move mail1 holds"):
        vip(saying(True), saying(True)).take(plan)
    with pytest.raises(Refused, match="Nothing proves"):
        vip(saying(False), saying(True)).take(Plan("mail2", (V4,), True, 2, ()))


def test_the_new_holder_must_be_seen_after_the_move() -> None:
    asked: list[str] = []

    def dies(head: dict[str, Any]) -> Mapping[str, Any]:
        asked.append(head["action"])
        return saying(True)(head) if head["action"] == "add" else raising(LinkLost("gone"))(head)

    with pytest.raises(HostUnreachable, match="After the move mail2 can't be asked: gone"):
        vip(saying(False), dies).take(Plan("mail2", (V4,), True, 2, (Released("mail1", 2, 0.0),)))
    assert asked == ["add", "show"]


def test_what_was_heard_on_the_link_is_told_and_a_link_that_broke_is_trouble() -> None:
    claims = {"192.0.2.10": ["02:00:00:00:00:09", True]}
    [sight, other] = vip(saying(False, claims=claims), saying(False)).seen(probing=["mail1"])
    assert sight.claims == {"192.0.2.10": "02:00:00:00:00:09"}
    assert other.claims == {}

    def flaps(head: dict[str, Any]) -> Mapping[str, Any]:
        return raising(AgentFault("flapped"))(head) if head["action"] == "probe" else saying(False)(head)

    assert vip(flaps, saying(False)).seen(probing=["mail1"])[0].trouble == "flapped"
