"""On whole hosts: the guard laid down and taken away, a passive Postfix that only queues, the boot gate over a reboot.

The pair has no witness: its boot gate opens when the passive place's guard confirms that there is no later epoch.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.lab import plan, post, product
from tests.lab.host import CommandFailed, Host
from tests.lab.plan import STORE
from tests.lab.site import PAIR, Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guards")]

CALL = """
import json, sys
sys.path.append("/usr/lib/mailmirror/code/current")
from orchestrator.agent import posture, units
module, word, *arguments = json.load(sys.stdin)
print(json.dumps(getattr({"posture": posture, "units": units}[module], word)(*arguments)))
"""
DEAF = """table inet deaf {
  chain arrives { type filter hook input priority 0; tcp dport 25 reject with tcp reset; }
}
"""
ETC = "find /etc -printf '%p %y %m %U %G %l\\n' | sort; find /etc -type f -exec sha256sum {} + | sort"
MAIL = ("postfix.service", "postfix@-.service", "dovecot.service", "dovecot.socket")
RUNNING = "systemctl show -P MainPID dovecot.service; cat /var/spool/postfix/pid/master.pid"
PRIMARY, MIRROR = "mail1.example.test", "mail2.example.test"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    require.hosts()
    inventory: dict[str, Any] = product.inventory(("primary", "mirror"))
    address = {"addresses": [f"{plan.SERVICE_ADDRESS}/24"], "interface": "eth0"}
    inventory["mailmirror"]["vars"]["mm_vip"] = address
    with Site(PAIR, users=3) as built:
        built.mirror.lay({"/etc/mailmirror/inventory.yaml": yaml.safe_dump(inventory, sort_keys=False)})
        built.boot()
        built.mirror.run("mailmirror init --yes", timeout=60)
        yield built


@pytest.fixture(scope="module")
def before(site: Site) -> dict[str, str]:
    """What /etc held on both mail hosts before anything was installed."""
    return {host.name: host.run(ETC) for host in (site.primary, site.mirror)}


@pytest.fixture(scope="module")
def installed(site: Site, before: dict[str, str]) -> Site:
    """The guard on both hosts: over SSH on the primary, as a child on the mirror, which the controller runs on."""
    running = site.primary.run(RUNNING)
    for name, *words in ((PRIMARY, "--guard"), (MIRROR,)):
        told = site.mirror.run(["mailmirror", "agent", "install", name, "--yes", *words], timeout=60)
        assert "the guard: brought up to" in told
    assert site.primary.run(RUNNING) == running, "what ran went on running"
    for host in (site.primary, site.mirror):
        until(functools.partial(is_done, host), within=30, what=f"the guard of {host.name} has done its work")
    return site


def call(host: Host, module: str, word: str, *arguments: object) -> Any:
    """What a function of the agent that was laid down on a host gives, as JSON."""
    line = json.dumps([module, word, *arguments])
    return json.loads(host.run(["/usr/bin/python3", "-I", "-S", "-c", CALL], stdin=line, timeout=60))


def status(host: Host) -> Any:
    """What a host's guard tells of itself."""
    return json.loads(host.run("mailmirror-guard status --format json"))


def is_done(host: Host) -> bool:
    told = status(host)
    return bool(told["role"] in ("active", "passive") and told["hands"]["done"])


def diff(one: str, other: str) -> list[str]:
    return sorted(set(one.splitlines()) ^ set(other.splitlines()))


@pytest.mark.issue("4.2 agent install update: unit, key, settings, drop-ins; on this machine too")
def test_it_is_laid_down_once_and_a_second_time_changes_nothing(installed: Site) -> None:
    keys = [host.run("cat /etc/mailmirror/guard.key") for host in (installed.primary, installed.mirror)]
    assert keys[0] == keys[1] and len(bytes.fromhex(keys[0])) == 32
    settings = [
        json.loads(host.run("cat /etc/mailmirror/guard.json")) for host in (installed.primary, installed.mirror)
    ]
    assert [each["place"] for each in settings] == ["primary", "mirror"]
    assert settings[0]["peers"] == {"mirror": ["10.20.0.12", 7521]}
    assert settings[1]["fixed"] == {"primary": "10.20.0.11", "mirror": "10.20.0.12"}
    modes = installed.mirror.run("stat -c '%a %U' /etc/mailmirror/guard.* /var/lib/mailmirror/*.guard.key")
    assert set(modes.splitlines()) == {"600 root"}
    for name in (PRIMARY, MIRROR):
        told = installed.mirror.run(["mailmirror", "agent", "update", name, "--yes"], timeout=60)
        assert "stood there already" in told
    for host in (installed.primary, installed.mirror):
        assert host.systemctl("is-active", "mailmirror-guard.service") == "active\n"
        assert not host.failed()
        assert call(host, "units", "shut", MAIL) == ["DONE", []]


@pytest.mark.issue("4.2 agent update: the guard is started anew in less than a quarter of a lease")
def test_an_update_restarts_the_guard_quickly(installed: Site) -> None:
    installed.mirror.run("echo >> /etc/mailmirror/guard.json")
    words = ["mailmirror", "agent", "update", MIRROR, "--yes", "--format", "json"]
    done = json.loads(installed.mirror.run(words, timeout=60))["guard"]
    assert done["changed"] == ["/etc/mailmirror/guard.json"]
    print(f"the guard was started anew in {done['restarted']:.2f} s")
    assert done["restarted"] < 8 / 4


def test_another_controllers_key_is_refused(installed: Site) -> None:
    key = "/var/lib/mailmirror/example_test.guard.key"
    installed.mirror.run(f"mv {key} /root/key")
    try:
        with pytest.raises(CommandFailed, match="another controller's") as refused:
            installed.mirror.run(["mailmirror", "agent", "update", PRIMARY, "--yes"], timeout=60)
        assert refused.value.returncode == 4
    finally:
        installed.mirror.run(f"mv /root/key {key}")


@pytest.mark.issue("4.2 a systemd unit whose hardening lets the guard do its work")
def test_the_units_hardening_lets_a_guard_do_its_work(installed: Site) -> None:
    """On the mirror it stopped Dovecot, held Postfix and started it; on both it laid its tables."""
    told = [status(host) for host in (installed.primary, installed.mirror)]
    assert [each["role"] for each in told] == ["active", "passive"]
    assert [(each["hands"]["problems"], each["gate"]["weak"]) for each in told] == [({}, ""), ({}, "")]
    assert told[1]["hands"]["queues"]
    print(installed.mirror.run("systemd-analyze security --no-pager mailmirror-guard.service | tail -1").strip())


@pytest.mark.issue("4.2 queue-only posture of a passive Postfix: it queues, and relays only to the active")
def test_a_passive_postfix_queues_and_relays_only_to_the_active(installed: Site) -> None:
    mirror, user = installed.mirror, installed.users[0]
    proof = call(mirror, "posture", "held")
    assert proof[:2] == ["DONE", installed.primary.address], proof
    installed.primary.run(["nft", "-f", "-"], stdin=DEAF)
    try:
        post.send(installed, user, "by the second MX", server="mail2")
        mirror.run("postqueue -f")
        until(lambda: "10.20.0.11" in mirror.run("postqueue -j"), what="it waits for the active")
    finally:
        installed.primary.run("nft delete table inet deaf")
    until(lambda: not mirror.run("postqueue -f; postqueue -j"), within=30, every=1.0, what="its queue is empty")
    until(lambda: post.subjects(installed, user) == ["by the second MX"], what="it is delivered by the active")
    assert mirror.run(f"find {STORE} -path '*/new/*' -type f -o -path '*/cur/*' -type f") == ""
    sent = [line for line in mirror.journal().splitlines() if "status=sent" in line]
    assert sent and all("relay=10.20.0.11[10.20.0.11]:25" in line for line in sent)


def test_what_the_active_refuses_stays_in_the_queue(installed: Site) -> None:
    """A passive place's list of users may be behind, and its own system's letters aren't the active's."""
    mirror = installed.mirror
    mirror.run("echo hello | sendmail -f root@mail2.example.test root@mail2.example.test")
    until(lambda: "Relay access denied" in mirror.run("postqueue -j"), what="it was refused, and stays")
    mirror.run("postsuper -d ALL")


@pytest.mark.issue("4.2 start stop mask of the mail services, each proven")
def test_services_are_stopped_masked_and_started_and_each_is_proven(installed: Site) -> None:
    primary = installed.primary
    assert call(primary, "units", "stop", MAIL) == ["DONE", []]
    assert primary.attempt("pgrep -x dovecot; pgrep -x qmgr").returncode != 0
    assert call(primary, "units", "mask", MAIL) == ["DONE", []]
    assert primary.attempt("systemctl start dovecot.service").returncode != 0
    assert call(primary, "units", "unmask", MAIL) == []
    assert call(primary, "units", "start", MAIL) == ["DONE", []]
    assert primary.run("pgrep -x dovecot && pgrep -x qmgr")
    assert call(primary, "units", "stopped", MAIL)[0] == "NOT_DONE"


@pytest.mark.issue("4.2 boot gate drop-ins on Postfix, Dovecot and the site's own units: a reboot")
def test_after_a_reboot_nothing_starts_unless_the_guard_says_so(installed: Site) -> None:
    primary, mirror = installed.primary, installed.mirror
    mirror.systemctl("stop", "mailmirror-guard.service")  # nobody says that there is no later epoch
    primary.run("systemctl enable dovecot.socket 2> /dev/null")
    primary.shut_down()
    took = primary.boot()
    print(f"booted with the gate shut in {took:.1f} s")
    assert call(primary, "units", "stopped", MAIL) == ["DONE", []]
    assert set(primary.failed()) <= {"dovecot.socket"}, "what the gate skips hasn't failed"
    for unit in MAIL:
        primary.attempt(["systemctl", "start", unit])
    assert call(primary, "units", "start", MAIL)[0] == "NOT_DONE"
    assert primary.run("ss -Htln 'sport = 143 or sport = 993 or sport = 25'") == ""
    primary.run("systemctl disable dovecot.socket 2> /dev/null; systemctl reset-failed")
    order = primary.run("systemctl show -P After dovecot.service postfix.service postfix@-.service")
    assert order.count("mailmirror-guard.service") == 3
    mirror.systemctl("start", "mailmirror-guard.service")
    until(lambda: status(primary)["serves"] and is_done(primary), within=30, what="it serves again")
    assert post.subjects(installed, installed.users[0]) == ["by the second MX"]
    until(lambda: is_done(mirror), within=30, what="the mirror queues again")


@pytest.mark.issue("4.2 boot gate: it fails shut when the guard is gone or its code is")
def test_without_a_guard_the_gate_is_shut(installed: Site) -> None:
    primary = installed.primary
    primary.run("mv /usr/lib/mailmirror/guard /usr/lib/mailmirror/guard.away")
    try:
        primary.attempt("systemctl restart dovecot.service")
        assert primary.attempt("pgrep -x dovecot").returncode != 0
    finally:
        primary.run("mv /usr/lib/mailmirror/guard.away /usr/lib/mailmirror/guard; systemctl reset-failed")
    assert call(primary, "units", "start", MAIL) == ["DONE", []]


@pytest.mark.issue("4.2 agent remove: an active host isn't left without its guard by --yes, and goes on serving")
def test_the_active_loses_its_guard_by_name_and_goes_on_serving(installed: Site, before: dict[str, str]) -> None:
    primary, mirror = installed.primary, installed.mirror
    primary.run("nft add table inet others")
    running = primary.run(RUNNING)
    with pytest.raises(CommandFailed, match="--active") as refused:
        mirror.run(["mailmirror", "agent", "remove", PRIMARY, "--yes"], timeout=60)
    assert refused.value.returncode == 4
    assert primary.systemctl("is-active", "mailmirror-guard.service") == "active\n"
    mirror.run(["mailmirror", "agent", "remove", PRIMARY, "--yes", "--active", PRIMARY], timeout=60)
    assert primary.run(RUNNING) == running
    assert primary.run("nft list tables") == "table inet others\n"
    assert plan.SERVICE_ADDRESS in primary.run("ip address show dev eth0")
    assert diff(primary.run(ETC), before[primary.name]) == []
    left = primary.run("ls -d /usr/lib/mailmirror /usr/local/sbin/mailmirror-guard 2> /dev/null || true")
    assert left == "" and primary.run("ls -A /var/lib/mailmirror-guard").split() in ([], ["lost+found"])
    assert primary.run(f"test -f {STORE}/.mailmirror/store.json && echo marked") == "marked\n"
    assert post.subjects(installed, installed.users[0]) == ["by the second MX"]


@pytest.mark.issue("4.2 agent remove: Postfix put back, services of a held host stopped, /etc as it was")
def test_a_passive_host_is_as_it_was_and_delivers_nothing(installed: Site, before: dict[str, str]) -> None:
    mirror = installed.mirror
    post.send(installed, installed.users[1], "waits here", server="mail2")
    told = mirror.run(["mailmirror", "agent", "remove", MIRROR, "--yes"], timeout=60)
    assert "is stopped: start it only when this host is to deliver mail" in told
    assert diff(mirror.run(ETC), before[mirror.name]) == []
    assert mirror.attempt("pgrep -x qmgr").returncode != 0
    with pytest.raises(CommandFailed, match="has no guard"):
        mirror.run(["mailmirror", "agent", "remove", MIRROR, "--yes"], timeout=60)
