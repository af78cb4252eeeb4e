"""Guards on real hosts: who may serve while hosts freeze, die, are cut off, come back, and are copies of themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.lab import clock, replayed
from tests.lab.guarded import TTL, answers, guarded_site, order, serves, status, wait_armed
from tests.lab.plan import SERVICE_ADDRESS, STORE
from tests.lab.site import Site
from tests.lab.unanswered import sessions
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guards")]

CLOCK = "/etc/systemd/system/mailmirror-guard.service.d/clock.conf"
LATE = 2 * TTL + 4
"""Within it whatever a lease's end brings has come, on a machine that stalls too."""


@pytest.fixture(scope="module")
def whole() -> Iterator[Site]:
    require.hosts()
    with guarded_site() as site:
        yield site


@pytest.fixture
def site(whole: Site) -> Iterator[Site]:
    """With an armed lease, again after the test."""
    yield whole
    whole.mend()
    wait_armed(whole)


def holds_address(site: Site) -> bool:
    return SERVICE_ADDRESS in site.primary.run("ip -brief address show dev eth0")


def test_the_guards_are_there_and_the_lease_is_armed(site: Site) -> None:
    told = {place: status(site.hosts[place]) for place in ("primary", "mirror", "witness")}
    assert [told[place]["role"] for place in told] == ["active", "passive", "witness"]
    assert {each["epoch"] for each in told.values()} == {1}
    assert not told["primary"]["hands"]["problems"] and not told["primary"]["gate"]["weak"]
    until(lambda: status(site.mirror)["hands"]["queues"], what="the mirror's Postfix only queues")
    assert answers(site, site.mirror, "smtp") and not answers(site, site.mirror, "imap")


@pytest.mark.issue("4.P witness down, mirror rebooting, controller dead, both at once: a healthy primary serves on")
@pytest.mark.parametrize(("first", "second"), [("witness", "mirror"), ("mirror", "witness")])
def test_a_healthy_primary_outlives_its_granters_one_after_the_other(site: Site, first: str, second: str) -> None:
    """With the mirror goes the controller's host."""
    site.hosts[first].power_cut()
    until(lambda: status(site.primary)["left"] is None, within=LATE, what="a grant without an end")
    site.hosts[second].power_cut()
    assert serves(site)
    until(lambda: status(site.primary)["heard"][second] > 2 * TTL, within=4 * LATE, what="both are long gone")
    assert serves(site) and holds_address(site)


@pytest.mark.issue("4.P mirror rebooting in order, with the witness down at once: a healthy primary serves on")
def test_a_mirror_that_is_rebooted_in_order_lets_the_primary_serve_on(site: Site) -> None:
    """Its guard is stopped with the host, and says so before it ends."""
    site.mirror.shut_down()
    site.witness.power_cut()
    until(lambda: status(site.primary)["heard"]["mirror"] > 2 * TTL, within=4 * LATE, what="both are long gone")
    assert status(site.primary)["left"] is None and serves(site) and holds_address(site)


@pytest.mark.issue(
    "4.2 open-ended grants, given and withdrawn by mailmirror-guard grant and withdraw on the host itself"
)
@pytest.mark.parametrize("place", ["mirror", "witness"])
def test_an_operator_takes_a_granter_away_and_has_it_back(site: Site, place: str) -> None:
    leaving, other = site.hosts[place], site.hosts["witness" if place == "mirror" else "mirror"]
    said = leaving.run(["mailmirror-guard", "grant", "--open-ended", "--reason", "new kernel"])
    assert "lets the primary serve without an end, and was sent that 0." in said and "(new kernel)" in said
    until(lambda: status(site.primary)["left"] is None, within=TTL, what="the primary serves without an end")
    assert not status(site.primary)["armed"]
    leaving.power_cut()
    other.power_cut()  # at once: without that grant the primary would stop
    until(lambda: status(site.primary)["heard"][place] > 2 * TTL, within=4 * LATE, what="both are long gone")
    assert serves(site) and holds_address(site)
    site.mend()
    until(lambda: all(age < TTL for age in status(site.primary)["heard"].values()), within=LATE, what="both are back")
    assert "new kernel" in leaving.run("mailmirror-guard status"), "it is remembered"
    assert not status(site.primary)["armed"]
    assert "new kernel" not in leaving.run("mailmirror-guard withdraw")
    wait_armed(site)


@pytest.mark.issue("4.P witness down, mirror down, both at once: it stops at its deadline, and serves when one is back")
def test_a_primary_that_loses_both_granters_at_once_serves_again_when_one_is_back(site: Site) -> None:
    site.witness.power_cut()
    site.mirror.power_cut()
    until(lambda: not serves(site), within=LATE, what="it has stopped: nobody could promise that it goes on alone")
    site.witness.switch_on()
    site.witness.wait_booted()
    until(lambda: serves(site) and holds_address(site), within=LATE, what="one granter is enough")
    until(lambda: status(site.primary)["left"] is None, within=LATE, what="without an end, since that one is alone")


@pytest.mark.issue("4.P the active cut off from everyone stops at its deadline and lets its address go; one way too")
@pytest.mark.parametrize("way", ["both ways", "it hears nothing", "nobody hears it"])
def test_a_primary_that_hears_nobody_stops_by_itself(site: Site, way: str) -> None:
    for other in (site.mirror, site.witness):
        ends = (site.primary, other) if way == "nobody hears it" else (other, site.primary)
        site.cut(*ends, one_way=way != "both ways")
    until(lambda: not serves(site), within=LATE, what="it has stopped")
    until(lambda: not holds_address(site), what="it has let its address go")
    assert status(site.primary)["serves"] is False
    site.heal()
    until(lambda: serves(site) and holds_address(site), within=LATE, what="it serves again")


@pytest.mark.issue("4.P a cut between primary and mirror only, or primary and witness only: it serves on")
@pytest.mark.parametrize("place", ["mirror", "witness"])
def test_a_primary_that_hears_one_granter_serves_on(site: Site, place: str) -> None:
    site.cut(site.primary, site.hosts[place])
    until(lambda: status(site.primary)["heard"][place] > 2 * TTL, within=LATE + TTL, what="it is long cut off")
    told = status(site.primary)
    assert told["serves"] and told["left"] is not None and serves(site)


@pytest.mark.issue("4.P link flapping: the guard announces its address again")
@pytest.mark.issue("4.4 gratuitous ARP repeated after")
def test_a_guard_announces_its_address_again_when_its_cable_came_back(site: Site) -> None:
    """What the client believes wrongly by then, it knows rightly without having asked."""
    until(lambda: holds_address(site) and not status(site.primary)["hands"]["problems"], what="it holds its address")
    site.primary.unplug()
    wrong = f"ip neighbour replace {SERVICE_ADDRESS} dev eth0 lladdr {site.mirror.mac} nud stale"
    site.client.run(wrong)
    site.primary.plug()
    told = f"ip neighbour show {SERVICE_ADDRESS}"
    until(lambda: site.primary.mac in site.client.run(told), within=15, what="the client knows")


@pytest.mark.issue("4.P host frozen past its lease and thawed: not one positive answer, of no protocol")
def test_a_host_that_was_frozen_answers_nothing_when_it_thaws(site: Site) -> None:
    """Words that reached its kernel while it was frozen: its servers say yes to them, and the yes must not come out."""
    user = site.users[0]
    with ExitStack() as undo:
        for each in sessions(site, site.primary, user, undo):
            each.speak()
            assert each.is_positive(each.answer()), f"{each.name}: while it serves, the last line is answered"
        waiting = sessions(site, site.primary, user, undo)
        assert {each.name for each in waiting} >= {"imap", "pop3", "sieve", "lmtp", "smtp", "login", "submission"}
        site.primary.freeze()
        for each in waiting:
            each.speak()
        for other in (site.mirror, site.witness):
            site.cut(site.primary, other)
        until(lambda: status(site.mirror)["heard"]["primary"] > TTL + 1, within=LATE, what="its lease is over")
        site.primary.thaw()
        assert not serves(site)
        until(lambda: status(site.primary)["serves"] is False, what="it says so itself")
        assert {each.name: each.answer(0.5) for each in waiting} == {each.name: b"" for each in waiting}
    assert not serves(site)


@pytest.mark.issue("4.P guard killed: systemd starts it again, and it serves")
def test_a_guard_that_is_killed_comes_back_and_serves(site: Site) -> None:
    for _ in range(3):
        site.primary.kill("mailmirror-guard.service")
        until(lambda: site.primary.attempt("mailmirror-guard status").returncode == 0, what="it is back")
    until(lambda: serves(site) and holds_address(site), within=LATE, what="it serves")


@pytest.mark.issue("4.4 VIP removed at stop of its guard, whose gate runs out; taken up again by the next one")
def test_a_guard_that_is_stopped_lets_the_address_go_and_the_gate_run_out(site: Site) -> None:
    assert holds_address(site)
    site.primary.systemctl("stop", "mailmirror-guard.service")
    assert not holds_address(site)
    until(lambda: not serves(site), within=LATE, what="nobody has renewed the gate")
    site.primary.systemctl("start", "mailmirror-guard.service")
    until(lambda: serves(site) and holds_address(site), within=LATE, what="it serves again")


@pytest.mark.issue("4.P guard hung: shut at the deadline, and started anew by systemd's watchdog")
def test_a_guard_that_hangs_leaves_a_shut_gate_until_the_watchdog_has_it_started_anew(site: Site) -> None:
    site.primary.kill("mailmirror-guard.service", "STOP")
    until(lambda: not serves(site), within=LATE, what="the kernel has shut the gate")
    until(lambda: serves(site), within=30, what="a new guard was started, and was granted")


@pytest.mark.issue("4.P ruleset flushed: the gate is laid anew")
def test_a_flushed_ruleset_is_laid_anew(site: Site) -> None:
    site.primary.run("nft flush ruleset")
    until(lambda: "mailmirror_gate {" in site.primary.run("nft list ruleset"), what="the gate stands again")
    until(lambda: serves(site), what="and is open")


@pytest.mark.issue("4.P clock stepped: nothing changes")
@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_stepped_clock_changes_nothing(site: Site, seconds: int) -> None:
    for host in (site.primary, site.witness):
        if not host.path(CLOCK).exists():
            host.fake_clock()
            host.lay({CLOCK: f"[Service]\nEnvironmentFile=-{clock.ENVIRONMENT}\n"})
            host.systemctl("daemon-reload")
            host.systemctl("restart", "mailmirror-guard.service")
    wait_armed(site)
    before = [status(host)["generation"] for host in (site.primary, site.witness)]
    for host in (site.primary, site.witness):
        host.step_clock(seconds)
    try:
        until(lambda: all(age < TTL for age in status(site.primary)["heard"].values()), what="they hear each other")
        assert serves(site) and status(site.primary)["armed"]
        after = [status(host)["generation"] for host in (site.primary, site.witness)]
        assert all(now - then <= 1 for then, now in zip(before, after, strict=True)), "no minutes were made up"
    finally:
        for host in (site.primary, site.witness):
            host.step_clock(0)


@pytest.mark.issue("4.2 after a reboot it serves if a granter answers, else it stays shut until an operator attests")
def test_a_reboot_with_nobody_to_ask_leaves_mail_down_until_a_person_says_so(site: Site) -> None:
    site.mirror.power_cut()
    site.witness.power_cut()
    site.primary.power_cut()
    site.primary.switch_on()
    site.primary.wait_booted()
    until(lambda: status(site.primary)["role"] == "active", what="its guard is there")
    assert not status(site.primary)["serves"] and not holds_address(site)
    assert site.primary.attempt("systemctl is-active dovecot.service").stdout.strip() != "active"
    refused = site.primary.attempt("systemctl start dovecot.service; systemctl is-active dovecot.service")
    assert refused.stdout.strip() != "active"
    told = site.primary.run(["mailmirror-guard", "serve", "--attest", "the mirror lies in pieces before me"])
    assert "an operator attested" in told
    until(lambda: serves(site) and holds_address(site), within=LATE, what="it serves by a person's word")


MARKER = f"{STORE}/.mailmirror/store.json"


@pytest.mark.issue("4.P a restored snapshot: no grant for a store that is an older copy, told, nothing changed")
def test_a_primary_whose_store_was_restored_from_a_snapshot_gets_no_grant(site: Site) -> None:
    old = site.primary.run(f"cat {MARKER}")
    newer = {**json.loads(old), "generation": json.loads(old)["generation"] + 5}
    site.primary.run(f"cat > {MARKER}", stdin=json.dumps(newer))
    until(lambda: newer_is_known(site, newer["generation"]), within=LATE, what="the granters remember it")
    site.primary.run(f"cat > {MARKER}", stdin=old)
    until(lambda: not serves(site), within=LATE, what="it got no grant for the older copy")
    assert "restored copy" in site.primary.run("mailmirror-guard status")
    site.primary.run(f"cat > {MARKER}", stdin=json.dumps(newer))
    until(lambda: serves(site), within=LATE, what="it serves with what it had")


def newer_is_known(site: Site, generation: int) -> bool:
    kept = json.loads(site.witness.run("head -1 /var/lib/mailmirror-guard/register.json"))
    return [generation] == [told for _, told in kept["stores"].values()]


@pytest.mark.issue("4.P a replayed grant: sent again on the wire it prolongs nothing")
def test_grants_that_a_stranger_sends_again_prolong_nothing(site: Site) -> None:
    """All that the granters said within a whole lease, from a host that isn't cut off, until after the deadline."""
    with replayed.overheard(site.primary, {site.mirror.address, site.witness.address}) as heard:
        until(lambda: len(heard) > 40, within=4 * TTL, what="grants were heard")
    for other in (site.mirror, site.witness):
        site.cut(other, site.primary)
    began, epoch = time.monotonic(), status(site.primary)["epoch"]
    with replayed.again(site.client, site.primary.address, heard):
        until(lambda: not serves(site), within=LATE, what="it has stopped")
        assert time.monotonic() - began < LATE
        time.sleep(TTL)  # that nothing brings it back has no event
        told = status(site.primary)
        assert not told["serves"] and not holds_address(site) and told["epoch"] == epoch


@pytest.mark.issue(
    "4.2 where nftables is missing the guard stops services and address itself, and says that it is weaker"
)
def test_a_host_without_nftables_stops_its_services_at_the_deadline(site: Site) -> None:
    guard, dovecot = "mailmirror-guard.service", ["systemctl", "is-active", "dovecot.service", "postfix@-.service"]
    library = site.primary.run("find /usr/lib -name 'libnftables.so.1*'").split()
    site.primary.systemctl("stop", guard)
    site.primary.run("nft flush ruleset")
    site.primary.run(f"mkdir /root/kept && mv {' '.join(library)} /root/kept/")
    try:
        site.primary.systemctl("start", guard)
        until(lambda: status(site.primary)["serves"] and serves(site), within=LATE, what="it serves by its lease")
        assert "there is no nftables here" in status(site.primary)["gate"]["weak"]
        assert "apt-get install nftables" in site.primary.run("mailmirror-guard status")
        for other in (site.mirror, site.witness):
            site.cut(other, site.primary)
        until(lambda: not serves(site) and not answers(site, site.primary, "smtp"), within=LATE, what="it has stopped")
        ended = {"inactive", "failed"}
        until(lambda: set(site.primary.attempt(dovecot).stdout.split()) <= ended, within=LATE, what="they have ended")
        assert not holds_address(site)
        site.heal()
        until(lambda: serves(site) and holds_address(site), within=LATE, what="it serves again")
    finally:
        site.primary.run(f"mv /root/kept/* {library[0].rpartition('/')[0]}/ && rmdir /root/kept")
        site.primary.systemctl("restart", guard)
    until(lambda: serves(site) and not status(site.primary)["gate"]["weak"], within=LATE, what="the gate stands again")


@pytest.mark.issue("4.2 promoted by the lease alone: both refuse, all runs out, the witness first")
def test_the_mirror_is_promoted_when_the_primary_is_cut_off_and_the_primary_learns_of_it(site: Site) -> None:
    for other in (site.mirror, site.witness):
        site.cut(site.primary, other)
    for granter in (site.mirror, site.witness):
        assert "refuse" in order(granter, verb="refuse", operation="op 1")["outcome"]
    early = order(site.witness, verb="advance", operation="op 2", epoch=2, active="mirror")
    assert "hasn't run out" in early.get("error", "")
    for granter in (site.witness, site.mirror):
        advance = {"verb": "advance", "operation": "op 2", "epoch": 2, "active": "mirror"}
        until(lambda: "outcome" in order(granter, **advance), within=LATE, what="it has advanced")  # noqa: B023
    assert not serves(site)
    until(lambda: serves(site, site.mirror), within=LATE, what="the mirror serves")
    site.heal()
    until(lambda: status(site.primary)["epoch"] == 2, within=LATE, what="the primary has learnt of epoch 2")
    assert status(site.primary)["role"] == "passive" and not serves(site)
    stale = order(site.mirror, verb="advance", operation="op 3", epoch=2, active="mirror")
    assert "doesn't follow" in stale["error"], "a second controller with a stale state"
    again = order(site.mirror, verb="advance", operation="op 2", epoch=2, active="mirror")
    assert "outcome" in again and again["epoch"] == 2, "the same order again is done already"
    back(site)


def back(site: Site) -> None:
    """Epoch 3, the primary active: as a switchover ends, without its mail."""
    order(site.mirror, verb="tombstone", operation="op 4", epoch=3)
    order(site.primary, verb="advance", operation="op 5", epoch=3, active="primary", proof="a tombstone of the mirror")
    wait_armed(site)
