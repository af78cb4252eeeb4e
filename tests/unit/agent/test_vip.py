"""The verb by which a controller asks about addresses that move: what it refuses, and what it says of this machine."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.agent import address, netlink
from orchestrator.agent.serve import Fault
from orchestrator.agent.vip import MOST, moved

ASKED = {"action": "show", "interface": "lo", "addresses": ["127.0.0.1"]}


def answered(head: dict[str, Any]) -> dict[str, Any]:
    return address.driven(moved(head)).head  # type: ignore[arg-type]  # nobody waits for None here


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "flush"},
        {"action": 1},
        {"interface": None},
        {"addresses": "127.0.0.1"},
        {"addresses": []},
        {"addresses": ["127.0.0.1"] * (MOST + 1)},
        {"addresses": [1]},
        {"addresses": ["localhost"]},
        {"action": "remove", "addresses": ["192.0.2.1/33"]},
        {"despite": "02:00:00:00:00:01"},
        {"despite": [1]},
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Fault) as raised:
        answered({**ASKED, **wrong})
    assert raised.value.code == "bad-request"


def test_it_says_where_an_address_stands_and_what_is_wrong_with_the_interface() -> None:
    found = answered(ASKED)
    assert found["stands"] == [["127.0.0.1", 8, "lo", True, ["permanent"]]]
    assert "isn't an Ethernet link" in found["trouble"]
    found = answered({**ASKED, "interface": "eth99", "addresses": ["192.0.2.99/24"]})
    assert (found["stands"], found["mac"], found["may_change"]) == ([], "", False)
    assert found["trouble"] == "this host has no interface 'eth99'. Correct `interface` in mm_vip."


def test_what_does_not_stand_is_let_go_already_and_needs_no_rights() -> None:
    assert answered({**ASKED, "action": "remove", "addresses": ["192.0.2.99"]}) == {"done": []}


def test_an_address_is_the_same_however_it_is_written() -> None:
    assert [each.address for each in address.held("0:0::0:1/64")] in ([], ["::1"])
    assert [each.address for each in address.held("127.0.0.1/8", "lo")] == ["127.0.0.1"]
    assert address.held("127.0.0.1", "eth99") == []


def test_the_kernels_table_is_read_whole() -> None:
    assert {"127.0.0.1"} <= {each.address for each in netlink.addresses()}
    link = netlink.link("lo")
    assert (link.name, link.ethernet, link.up) == ("lo", False, True)
