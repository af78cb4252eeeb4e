"""What main.cf must say of a Postfix that only queues: what is wanted is judged well, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from orchestrator.agent import holding

DEFAULTS = {
    "virtual_transport": "virtual",
    "local_transport": "local:mail.example.test",
    "relay_transport": "relay",
    "default_transport": "smtp",
    "relayhost": "",
    "transport_maps": "",
    "sender_dependent_default_transport_maps": "",
    "sender_dependent_relayhost_maps": "",
    "smtp_fallback_relay": "",
    "defer_transports": "",
    "soft_bounce": "no",
}
ACTIVES = some.sampled_from([None, "192.0.2.11", "2001:db8::11", "mail1.example.test"])
WORDS = some.text("abcxyz019:/.[]- ,", max_size=20)


@given(ACTIVES, some.dictionaries(some.sampled_from([*holding.NAMES, *holding.READ]), WORDS))
def test_what_is_wanted_is_judged_to_be_queue_only(active: str | None, before: dict[str, str]) -> None:
    wanted = holding.wanted(before, active)
    assert set(wanted) == set(holding.NAMES)
    assert holding.judge({**before, **wanted}, {}) == ([], active)


@given(ACTIVES, some.sampled_from(holding.NAMES), WORDS)
def test_any_other_value_speaks_against_it(active: str | None, name: str, other: str) -> None:
    wanted = holding.wanted(DEFAULTS, active)
    if name == "defer_transports" and set(holding.FINAL) <= set(other.replace(",", " ").split()):
        return
    if other != wanted[name]:
        assert holding.judge({**wanted, name: other}, {}).against, (name, other)


def test_an_ordinary_postfix_isnt_held() -> None:
    assert holding.judge(DEFAULTS, {}).to is None
    assert "virtual_transport = virtual" in holding.judge(DEFAULTS, {}).against


def test_a_parameter_that_this_postfix_lacks_is_no_fault() -> None:
    wanted = holding.wanted(DEFAULTS, None)
    del wanted["sender_dependent_default_transport_maps"]
    assert holding.judge(wanted, {}).against == []


def test_final_transports_are_deferred_too_and_a_filter_is_not() -> None:
    before = {
        "virtual_transport": "dovecot",
        "mailbox_transport": "lmtp:unix:private/dovecot-lmtp",
        "fallback_transport": "maildrop:",
        "defer_transports": "uucp, smtp",
    }
    assert holding.wanted(before, None)["defer_transports"] == "uucp lmtp local virtual dovecot maildrop"
    filtered = holding.wanted({**before, "content_filter": "lmtp:[127.0.0.1]:10024"}, "192.0.2.1")
    assert filtered["defer_transports"] == "uucp local virtual dovecot maildrop"


def test_what_a_service_of_its_own_says_is_told() -> None:
    said = {
        "submission/inet/soft_bounce": "no",
        "submission/inet/syslog_name": "x",
        "smtp/unix/smtp_fallback_relay": "y",
    }
    assert holding.clashes(said) == [
        "master.cf: submission/inet/soft_bounce = no",
        "master.cf: smtp/unix/smtp_fallback_relay = y",
    ]


@pytest.mark.parametrize("odd", ["", "a b", "x]:25", "-oX", "a\nb", "x" * 300])
def test_what_is_no_address_is_refused(odd: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        holding.route(odd)
