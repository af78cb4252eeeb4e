"""The words of the gate: what is laid for which ports, and in which order a renewal speaks."""

from __future__ import annotations

import re

from orchestrator.agent import ruleset
from orchestrator.agent.ruleset import Ports

PORTS = Ports((993, 143, 25, 143))


def _chain(text: str, name: str) -> list[str]:
    [body] = re.findall(rf"chain {name} \{{\n(.*?)\n  \}}", text, re.DOTALL)
    return [line.strip() for line in body.splitlines()]


def test_what_comes_in_is_reset_and_what_leaves_is_dropped_but_for_resets() -> None:
    text = ruleset.laid("gate", PORTS, owned=False, opened=False)
    head, loopback, *rules = _chain(text, "arrives")
    assert head == "type filter hook input priority filter + 250; policy accept;" and loopback == "iif lo accept"
    assert rules[0] == "tcp dport { 25, 143, 993 } meta l4proto != @open reject with tcp reset"
    assert all("!= @open" in rule and rule.endswith("reject with tcp reset") for rule in rules)
    _, loopback, *rules = _chain(text, "leaves")
    assert loopback == "oif lo accept"
    assert rules[0] == "tcp sport { 25, 143, 993 } meta l4proto != @open tcp flags & rst != rst drop"
    assert all("!= @open" in rule and "rst != rst" in rule for rule in rules)
    assert all("proto-dst { 25, 143, 993 }" in rule for rule in _chain(text, "passes")[1:])


def test_deliveries_may_go_to_the_fixed_address_alone() -> None:
    for address, family in (("192.0.2.7", "ip"), ("2001:db8::7", "ip6")):
        leaves = _chain(ruleset.laid("gate", Ports((143,), (24, 25), address), owned=False, opened=False), "leaves")
        assert leaves[-2] == f"{family} daddr {address} tcp dport {{ 24, 25 }} accept"
        assert leaves[-1].startswith("tcp dport { 24, 25 } meta l4proto != @open")
    assert "daddr" not in ruleset.laid("gate", PORTS, owned=False, opened=False)


def test_both_tables_have_the_same_rules() -> None:
    plain = ruleset.laid("gate", PORTS, owned=False, opened=False)
    owned = ruleset.laid("gate", PORTS, owned=True, opened=False)
    assert "owner" not in plain and owned.count("flags owner;") == 2
    assert plain[plain.index("set open") :] == owned[owned.index("set open") :]


def test_a_table_is_laid_shut_or_open_for_so_long_or_without_an_end() -> None:
    def elements(**how: int | None) -> list[str]:
        return re.findall(r"elements = .*?;", ruleset.laid("gate", PORTS, owned=False, opened=bool(how), **how))

    assert elements() == []
    assert elements(milliseconds=8000) == ["elements = { tcp timeout 8000ms };"]
    assert elements(milliseconds=None) == ["elements = { tcp };"]


def test_opening_takes_the_ticket_first_and_never_adds_without_a_flush() -> None:
    assert ruleset.opened("gate", 7999).splitlines() == [
        "delete element inet gate ticket { tcp }",
        "flush set inet gate open",
        "add element inet gate open { tcp timeout 7999ms }",
    ]
    assert ruleset.opened("gate", None).endswith("add element inet gate open { tcp }\n")
