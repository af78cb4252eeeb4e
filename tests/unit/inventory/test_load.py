"""What load makes of a valid inventory: precedence, defaults, wrappings, anchors."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.inventory.find import digest
from orchestrator.inventory.load import load
from orchestrator.inventory.model import DeleteBudget, Store, default_known_hosts, default_state_dir
from orchestrator.inventory.problems import InventoryError
from tests.unit.inventory.cases import TWO_LEASED
from tests.unit.inventory.texts import SMALL, read, with_host, with_vars


def test_a_small_inventory_gets_every_default() -> None:
    inventory = read(SMALL).inventory
    pair = inventory.pairs["pair"]
    assert (pair.primary.name, pair.mirror.name, pair.archive, pair.witness) == (
        "one.example.org",
        "two.example.org",
        None,
        None,
    )
    assert pair.stores == (Store("/var/vmail"),) == pair.mirror.stores
    assert (pair.mode, pair.rpo, pair.bandwidth, pair.owner, pair.watch) == ("auto", 30.0, None, "name", "auto")
    assert (pair.undelete, pair.audit, pair.verify, pair.listen) == (604800.0, 900.0, 86400.0, None)
    assert pair.delete_budget == DeleteBudget(200, 20.0, 5000, 5.0, 600.0)
    host = pair.primary
    assert (host.address, host.port, host.user, host.key_file, host.use_agent) == (
        "one.example.org",
        22,
        None,
        None,
        True,
    )
    assert (host.connection, host.python, host.forced, host.known_hosts) == (
        "ssh",
        "python3",
        False,
        default_known_hosts(),
    )
    assert inventory.fingerprint == digest(SMALL.encode())
    assert inventory.not_used == ()


def test_values_are_read_in_their_units() -> None:
    pair = read(
        with_vars(
            "mm_rpo: 2m",
            "mm_bandwidth: 80Mbit/s",
            "mm_undelete: 0s",
            "mm_delete_budget: {account_messages: 7, within: 1h}",
            "mm_listen: '[::1]:9464'",
            "mm_state_dir: ~/state",
            "mm_services: {smtp: postfix, imap: dovecot}",
            "mm_watch: poll",
            "mm_owner: vmail:mail",
        )
    ).inventory.pairs["pair"]
    assert (pair.rpo, pair.bandwidth, pair.undelete, pair.listen) == (120.0, 10_000_000, 0.0, "[::1]:9464")
    assert pair.delete_budget == DeleteBudget(account_messages=7, within=3600.0)
    assert pair.state_dir == Path.home() / "state"
    assert (pair.services, pair.watch, pair.owner) == ({"smtp": "postfix", "imap": "dovecot"}, "poll", "vmail:mail")


def test_all_is_overridden_by_the_group_the_pair_and_the_host() -> None:
    text = """\
    all:
      vars: {ansible_user: from_all, ansible_port: 1, mm_rpo: 1s, mm_audit: 1m, somebody_elses: {x: NO}}
      children:
        mailmirror:
          vars: {ansible_user: from_group, ansible_port: 2, mm_rpo: 2s}
          children:
            pair:
              vars: {mm_stores: [/var/vmail], ansible_user: from_pair, mm_rpo: 3s}
              hosts:
                one: {mm_place: primary, ansible_user: from_host}
                two: {mm_place: mirror}
    """
    pair = read(text).inventory.pairs["pair"]
    assert (pair.primary.user, pair.mirror.user) == ("from_host", "from_pair")
    assert (pair.mirror.port, pair.rpo, pair.audit) == (2, 3.0, 60.0)


def test_other_groups_may_hold_what_ansible_allows() -> None:
    others = """\
webservers:
  vars: {enabled: yes, time: 22:30, mode: 0750, secret: !vault x, template: "{{ x }}"}
  hosts:
    web[1:9].example.org:
"""
    assert list(read(others + SMALL).inventory.pairs) == ["pair"]


def test_anchors_and_merge_keys_work_over_pairs() -> None:
    text = """\
    mailmirror:
      children:
        first:
          vars: &shared {mm_stores: [/var/vmail], mm_rpo: 1m}
          hosts: {a: {mm_place: primary}, b: {mm_place: mirror}}
        second:
          vars:
            <<: *shared
            mm_rpo: 2m
          hosts: {c: {mm_place: primary}, d: {mm_place: mirror}}
    """
    pairs = read(text).inventory.pairs
    assert (pairs["first"].rpo, pairs["second"].rpo) == (60.0, 120.0)
    assert pairs["second"].stores == (Store("/var/vmail"),)


def test_a_host_overrides_the_stores_and_names_a_key() -> None:
    text = with_host(
        "mm_stores: [{root: /mnt, accounts: '*/Maildir'}], ansible_ssh_private_key_file: ~/key, mm_forced: true"
    )
    host = read(text).inventory.pairs["pair"].mirror
    assert host.stores == (Store("/mnt", "*/Maildir"),)
    assert (host.key_file, host.use_agent, host.forced) == (Path.home() / "key", False, True)


@pytest.mark.parametrize(("written", "used"), [("auto", "python3"), ("/usr/bin/python3.9", "/usr/bin/python3.9")])
def test_ansibles_word_for_a_python_that_is_searched_means_python3(written: str, used: str) -> None:
    text = with_host(f"ansible_python_interpreter: {written}")
    assert read(text).inventory.pairs["pair"].mirror.python == used


@pytest.mark.issue("2.5 an archive host in the inventory is accepted and reported as not used by this version")
def test_what_this_version_does_not_use_is_named() -> None:
    text = with_vars("mm_mode: observe", "mm_lease: {}") + "        wit: {mm_place: witness}\n"
    text += "        vault: {mm_place: archive}\n"
    assert read(text).inventory.not_used == ("pair: host vault (archive)",)
    lone = text.replace("mm_lease: {}", "mm_audit: 1h")
    assert "pair: host wit (witness)" in read(lone).inventory.not_used
    looks = lone.replace("mm_mode: observe", "mm_services: {imap: dovecot}")
    assert "pair: host wit (witness)" not in read(looks).inventory.not_used, "a witness looks at services"


@pytest.mark.issue("2.2 connection local and ssh at either end")
@pytest.mark.parametrize("one", ["ssh", "local"])
@pytest.mark.parametrize("two", ["ssh", "local"])
def test_each_end_may_be_local_or_reached_by_ssh(one: str, two: str) -> None:
    text = with_host(f"ansible_connection: {two}, mm_stores: [/mnt/mirror]")
    text = text.replace("mm_place: primary", f"mm_place: primary, ansible_connection: {one}")
    pair = read(text).inventory.pairs["pair"]
    assert (pair.primary.connection, pair.mirror.connection) == (one, two)
    assert (pair.primary.local, pair.mirror.local) == (one == "local", two == "local")


def test_the_demos_way_two_ports_of_loopback_is_a_pair() -> None:
    text = with_host("ansible_host: 127.0.0.1, ansible_port: 2202")
    text = text.replace("mm_place: primary", "mm_place: primary, ansible_host: 127.0.0.1, ansible_port: 2201")
    assert read(text).inventory.pairs["pair"].mirror.port == 2202


def test_crlf_line_ends_and_a_byte_order_mark_are_no_problem() -> None:
    assert read("\ufeff" + SMALL.replace("\n", "\r\n")).inventory.pairs


def test_a_directory_and_a_missing_file_are_configuration_errors(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ConfigError):
            load(path)


def test_a_pair_made_by_hand_without_a_mirror_says_so() -> None:
    pair = read(SMALL).inventory.pairs["pair"]
    lonely = type(pair)("lonely", {"one": pair.primary}, pair.stores)
    with pytest.raises(LookupError, match="has no mirror"):
        _ = lonely.mirror


def test_the_default_state_directory_depends_on_who_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_state_dir() == Path("/var/lib/mailmirror")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
    assert default_state_dir() == Path("/srv/state/mailmirror")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")  # which the specification says to ignore
    assert default_state_dir() == Path.home() / ".local/state/mailmirror"


def test_the_daemons_own_settings_are_the_inventorys() -> None:
    inventory = read(with_vars("mm_state_dir: /srv/state", "mm_listen: 127.0.0.1:9464")).inventory
    assert (inventory.state_dir, inventory.listen) == (Path("/srv/state"), "127.0.0.1:9464")


def test_two_pairs_may_share_a_witness_at_a_port_each_or_without_leases() -> None:
    from_8s = TWO_LEASED.rpartition("mm_lease: {ttl: 8s}\n")
    apart = f"{from_8s[0]}mm_lease: {{ttl: 8s}}\n        mm_guard_port: 7522\n{from_8s[2]}"
    assert [pair.guard_port for pair in read(apart).inventory.pairs.values()] == [7521, 7522]
    assert len(read(TWO_LEASED.replace("        mm_lease: {ttl: 8s}\n", "")).inventory.pairs) == 2


@pytest.mark.issue("6.5 alerts refused by config check when the only channel runs through the protected servers")
def test_alerts_need_one_way_that_is_not_their_subject() -> None:
    mail = "{name: a, smtp: {server: two.example.org, sender: m@example.net, to: [ann@example.net]}}"
    with pytest.raises(InventoryError, match="every alert would go through the servers that it is about: a"):
        read(with_vars(f"mm_alerts: [{mail}]"))
    [pair] = read(with_vars(f"mm_alerts: [{mail}, {{name: b, exec: {{command: [x]}}}}]")).inventory.pairs.values()
    assert [channel.name for channel in pair.alerts] == ["a", "b"]
