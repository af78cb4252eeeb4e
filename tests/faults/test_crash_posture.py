"""The posture cut off at every act: done again it is whole, undone it is as it was."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.lab.waiting import until
from tests.support import require
from tests.support.postfix import MAIN, Postfix

pytestmark = [pytest.mark.lab, pytest.mark.issue("4.2 queue-only posture durable first: cut off at every act")]
ACTIVE = "192.0.2.11"


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    require.root()
    with Postfix() as running:
        yield running


def is_held(postfix: Postfix) -> bool:
    proof = postfix.call("held")
    return bool(proof[0] == "DONE" and proof[1] == ACTIVE)


def test_holding_cut_off_at_every_act(postfix: Postfix) -> None:
    values = postfix.values()
    for at in itertools.count():
        acts = postfix.dying(at, "hold", ACTIVE)
        if at % 2:  # either it is undone at once, or it is done again first
            postfix.call("hold", ACTIVE)
            until(lambda: is_held(postfix), what=f"held after act {at}")
        assert postfix.call("release") == []
        assert postfix.values() == values, f"after act {at}"
        if acts is not None:
            assert at == acts >= 4
            return


@pytest.mark.parametrize("touched", [False, True])
def test_releasing_cut_off_at_every_act(postfix: Postfix, touched: bool) -> None:
    """`touched`: main.cf was changed meanwhile, so that values are put back one by one; Postfix is stopped then."""
    if touched:
        postfix.check("postfix stop 2> /dev/null")
    for at in itertools.count():
        postfix.write(MAIN)
        values = postfix.values()
        postfix.call("hold", ACTIVE)
        if touched:
            postfix.check("postconf -e myorigin=example.test")
        acts = postfix.dying(at, "release")
        assert postfix.call("release") == []
        after = postfix.values()
        assert after.replace("myorigin = example.test\n", "") == values, f"after act {at}"
        assert touched or postfix.main == MAIN
        if acts is not None:
            assert at == acts >= 3
            return


@pytest.mark.issue("5.2 soft_bounce durable old value, put back after the time")
def test_softening_cut_off_at_every_act(postfix: Postfix) -> None:
    """However far it came, the values are put back; done again, soft_bounce alone is ours."""
    for at in itertools.count():
        postfix.write(MAIN + "soft_bounce = no\n")
        values = postfix.values()
        postfix.call("hold", ACTIVE)
        acts = postfix.dying(at, "soften")
        if at % 2:
            assert postfix.call("soften") == []
            assert postfix.values() == values.replace("soft_bounce = no\n", "soft_bounce = yes\n"), f"after act {at}"
        assert postfix.call("release") == []
        assert postfix.values() == values, f"after act {at}"
        if acts is not None:
            assert at == acts >= 3
            return
