"""Which hosts get a guard, and what each one's guard.json says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from orchestrator.errors import ConfigError
from orchestrator.inventory import Host, Pair, Store
from orchestrator.inventory.model import Vip
from orchestrator.remote.guarded import guard_settings, has_guard, units
from orchestrator.remote.guarding import fixed_addresses

STORES = (Store("/var/vmail"),)
HOSTS = {
    "mail1": Host("mail1", "primary", "192.0.2.11", stores=STORES),
    "mail2": Host("mail2", "mirror", "192.0.2.12", stores=STORES, connection="local"),
    "vault": Host("vault", "archive", "192.0.2.7", stores=STORES),
    "wit": Host("wit", "witness", "203.0.113.9", stores=STORES),
}
PAIR = Pair(
    "org",
    HOSTS,
    STORES,
    services={"smtp": "postfix", "imap": "dovecot"},
    lease=8.0,
    units=("rspamd.service",),
    vip=Vip(("192.0.2.10/24",), "eth0"),
)


def test_the_settings_of_a_mail_host() -> None:
    assert guard_settings(PAIR, PAIR.primary, fixed_addresses(PAIR)) == {
        "pair": "org",
        "place": "primary",
        "peers": {"mirror": ["192.0.2.12", 7521], "witness": ["203.0.113.9", 7521]},
        "port": 7521,
        "ttl": 8.0,
        "drift": 0.01,
        "stop": 0.5,
        "served": [24, 110, 143, 465, 587, 993, 995, 4190],
        "units": ["postfix.service", "postfix@-.service", "dovecot.service", "dovecot.socket", "rspamd.service"],
        "postfix": True,
        "addresses": [["192.0.2.10/24", "eth0"]],
        "stores": ["/var/vmail"],
        "fixed": {"primary": "192.0.2.11", "mirror": "192.0.2.12"},
    }


def test_a_witness_gates_nothing_and_touches_no_store() -> None:
    told = guard_settings(PAIR, HOSTS["wit"], fixed_addresses(PAIR))
    assert (told["served"], told["units"], told["postfix"], told["stores"]) == ([], [], False, [])
    assert sorted(told["peers"]) == ["mirror", "primary"]
    json.dumps(told)


def test_without_a_lease_the_witness_has_no_guard_and_without_services_nobody() -> None:
    without = replace(PAIR, lease=None)
    assert [name for name, host in HOSTS.items() if has_guard(PAIR, host)] == ["mail1", "mail2", "wit"]
    assert [name for name, host in HOSTS.items() if has_guard(without, host)] == ["mail1", "mail2"]
    assert guard_settings(without, without.primary, fixed_addresses(without))["ttl"] == 0.0
    assert has_guard(replace(without, services={}), without.primary), "it has an address that moves"
    assert not any(has_guard(replace(without, services={}, vip=None), host) for host in HOSTS.values())
    interfaces = replace(HOSTS["mail1"], vip_interface="ens3")
    assert guard_settings(PAIR, interfaces, fixed_addresses(PAIR))["addresses"] == [["192.0.2.10/24", "ens3"]]


def test_another_program_has_a_unit_of_its_name_and_a_lease_alone_gates_both_programs() -> None:
    exim = replace(PAIR, services={"smtp": "exim4", "imap": "dovecot", "pop3": "dovecot"}, units=())
    assert units(exim) == ("exim4.service", "dovecot.service", "dovecot.socket")
    assert guard_settings(exim, exim.primary, fixed_addresses(exim))["postfix"] is False
    assert units(replace(exim, services={}))[:2] == ("postfix.service", "postfix@-.service")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "nowhere.invalid"])
def test_a_host_without_an_address_that_others_reach_is_refused(address: str) -> None:
    hosts = {**HOSTS, "mail2": replace(HOSTS["mail2"], address=address)}
    with pytest.raises(ConfigError, match="mail2") as refused:
        fixed_addresses(replace(PAIR, hosts=hosts))
    assert "ansible_host" in refused.value.remedy
