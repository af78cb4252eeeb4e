"""One witness, two pairs: each has its own guard there, which nobody notices who isn't of that pair.

The mail hosts of the first pair are real ones. The guards of the second pair's stand on the client's host, as processes
with an address each. The first pair's Postfix on the mirror is one that can't be held.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import yaml

from tests.lab import product
from tests.lab.files import File
from tests.lab.guarded import NAMES
from tests.lab.host import CommandFailed
from tests.lab.site import PAIR, Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guards")]

TTL = 4.0
FIRST, SECOND = product.PAIR, "second"
PLACES = (*PAIR, "witness")
OTHERS = {"primary": "10.20.0.21", "mirror": "10.20.0.22"}
WITNESS, PORT = "10.20.0.13", 7522
UNITS = {FIRST: "mailmirror-guard.service", SECOND: f"mailmirror-guard@{SECOND}.service"}
REGISTERS = {FIRST: "/var/lib/mailmirror-guard", SECOND: f"/var/lib/mailmirror-guard/pairs/{SECOND}"}
ETC = "find /etc -printf '%p %y %m %U %G %l\\n' | sort; find /etc -type f -exec sha256sum {} + | sort"
THIEF = """
import socket, sys, threading
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
tries = 0
while not ended.is_set():
    other = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        other.bind(("::", int(sys.argv[1])))
        print("stolen", flush=True)
        ended.wait()
    except OSError:
        tries += 1
        if tries == 1:
            print("trying", flush=True)
    other.close()
"""


def inventory(ports: bool = True) -> dict[str, Any]:
    told: Any = product.inventory(PLACES)
    hosts = told["mailmirror"]["children"][FIRST]["hosts"]
    hosts[NAMES["mirror"]]["ansible_host"] = "10.20.0.12"
    others = {f"other-{place}.example.test": {"mm_place": place, "ansible_host": at} for place, at in OTHERS.items()}
    second = {"hosts": {**others, NAMES["witness"]: hosts[NAMES["witness"]]}}
    told["mailmirror"]["vars"]["mm_lease"] = {"ttl": f"{TTL:g}s"}
    told["mailmirror"]["children"][SECOND] = {"vars": {"mm_guard_port": PORT}, **second} if ports else second
    return dict(told)


def guard_json(place: str) -> str:
    """Of a mail host of the second pair, which has nothing to gate."""
    peers = {other: [at, PORT] for other, at in {**OTHERS, "witness": WITNESS}.items() if other != place}
    told: dict[str, Any] = {"pair": SECOND, "place": place, "peers": peers, "port": PORT, "listen": OTHERS[place]}
    nothing: dict[str, Any] = {"served": [], "units": [], "postfix": False, "addresses": [], "stores": []}
    return json.dumps({**told, "ttl": TTL, "drift": 0.01, "stop": 0.5, "fixed": OTHERS, **nothing})


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    require.hosts()
    with Site(PLACES, users=1) as built:
        built.mirror.lay({"/etc/mailmirror/inventory.yaml": yaml.safe_dump(inventory(), sort_keys=False)})
        built.boot()
        built.witness.run(f"({ETC}) > /run/etc.before")
        built.mirror.run("postconf -P smtp/inet/soft_bounce=no && systemctl enable dovecot.service 2> /dev/null")
        built.mirror.run(f"mailmirror init {FIRST} --yes", timeout=60)
        for place in ("witness", "primary", "mirror"):
            agent(built, "install", FIRST, place)
        agent(built, "install", SECOND, "witness")
        key = built.mirror.run(f"cat /var/lib/mailmirror/{SECOND}.guard.key")
        for place, at in OTHERS.items():
            home = f"/root/{place}"
            built.client.run(f"ip address add {at}/24 dev eth0")
            built.client.lay({f"{home}/guard.json": guard_json(place), f"{home}/key": File(key, 0o600)})
            words = ["systemd-run", f"--unit=other-{place}", product.PYTHON, "-m", "orchestrator.agent.guardtalk"]
            built.client.run([*words, *at_home(home), "run"])
            until(partial(other, built, place), what="it answers")
        other(built, "primary", "begin", "--epoch", "5", "--active", "primary")
        armed(built, FIRST, SECOND)
        yield built


def at_home(home: str) -> list[str]:
    return ["--settings", f"{home}/guard.json", "--key", f"{home}/key", "--state", home, "--run", home]


def agent(site: Site, verb: str, pair: str, place: str, *words: str) -> Any:
    """`mailmirror agent` for a host of a pair: what it did to the guard."""
    guard = ["--guard"] if verb == "install" and place == "primary" else []
    line = ["mailmirror", "agent", verb, pair, NAMES[place], "--yes", "--format", "json", *guard, *words]
    return json.loads(site.mirror.run(line, timeout=60))["guard"]


def other(site: Site, place: str, *words: str) -> Any:
    """The status of a guard of the second pair's mail hosts, or {} while it doesn't answer; with `words` an order."""
    verb = words or ("status", "--format", "json")
    line = [product.PYTHON, "-m", "orchestrator.agent.guardtalk", "--run", f"/root/{place}", *verb]
    done = site.client.attempt(line)
    return json.loads(done.stdout) if not words and done.returncode == 0 else {}


def of_witness(site: Site, pair: str) -> Any:
    return json.loads(site.witness.run(f"mailmirror-guard --pair {pair} status --format json"))


def of_primary(site: Site, pair: str) -> Any:
    if pair == SECOND:
        return other(site, "primary")
    return json.loads(site.primary.run("mailmirror-guard status --format json"))


def armed(site: Site, *pairs: str) -> None:
    until(lambda: all(_is_armed(site, pair) for pair in pairs), within=30, what=f"{pairs} are armed")


def _is_armed(site: Site, pair: str) -> bool:
    """With the witness in it: the active alone would say so as soon as nobody has granted without an end."""
    active = of_primary(site, pair)
    said = site.witness.attempt(f"mailmirror-guard --pair {pair} status --format json")
    epoch = json.loads(said.stdout)["epoch"] if said.returncode == 0 else 0
    return bool(active["armed"] and active["serves"] and active["epoch"] == epoch)


def process(site: Site, pair: str) -> str:
    return site.witness.run(f"systemctl show -P MainPID {UNITS[pair]}").strip()


@pytest.mark.issue("4.2 a witness of several pairs: each lease is granted by the guard of its pair")
def test_each_pair_has_a_guard_of_its_own_and_is_granted_by_it(site: Site) -> None:
    def told() -> bool:
        said = site.witness.run("mailmirror-guard status")
        return f"witness of {FIRST}: witness, epoch 1 " in said and f"witness of {SECOND}: witness, epoch 5 " in said

    until(told, what="both have heard of their pair's epoch")
    keys = site.witness.run("cat /etc/mailmirror/guard.key /etc/mailmirror/pairs/*/guard.key").split()
    assert len(set(keys)) == 2
    refused = site.witness.attempt("mailmirror-guard grant --open-ended --reason x")
    assert refused.returncode == 2 and f"{FIRST}, {SECOND}" in refused.stderr
    site.client.kill("other-mirror.service", "STOP")
    site.witness.kill(UNITS[SECOND], "STOP")
    try:
        until(lambda: not of_primary(site, SECOND)["serves"], within=2 * TTL, what="nobody grants the second's active")
        assert of_primary(site, FIRST)["armed"] and of_witness(site, FIRST)["armed"]
    finally:
        site.witness.kill(UNITS[SECOND], "CONT")
        site.client.kill("other-mirror.service", "CONT")
    until(lambda: of_primary(site, SECOND)["serves"], within=30, what="it serves again")
    armed(site, SECOND)


@pytest.mark.issue("4.2 a witness of several pairs: ending one pair's guard leaves the other untouched")
@pytest.mark.parametrize(("ended", "left"), [(SECOND, FIRST), (FIRST, SECOND)])
def test_the_end_of_one_pairs_guard_is_nothing_to_the_other(site: Site, ended: str, left: str) -> None:
    before = process(site, left)
    site.witness.systemctl("stop", UNITS[ended])
    until(lambda: not of_primary(site, ended)["armed"], within=30, what="it was let serve without an end")
    assert of_primary(site, ended)["serves"] and of_primary(site, left)["armed"]
    assert process(site, left) == before and process(site, ended) == "0"
    site.witness.systemctl("start", UNITS[ended])
    armed(site, FIRST, SECOND)


@pytest.mark.issue("4.2 a guard's port stays its own while it is started anew, whoever wants it")
def test_nobody_takes_the_port_of_a_guard_that_is_started_anew(site: Site) -> None:
    pair, port = SECOND, PORT
    witness, unit = site.witness, UNITS[pair]
    with witness.start(["python3", "-c", THIEF, str(port)], user="daemon", stdin=-1, stdout=-1, text=True) as thief:
        assert thief.stdin is not None and thief.stdout is not None
        assert thief.stdout.readline() == "trying\n"
        before = process(site, pair)
        witness.kill(unit)
        until(lambda: process(site, pair) not in ("0", before), what="it is back")
        until(lambda: witness.attempt(f"mailmirror-guard --pair {pair} status").returncode == 0, what="it answers")
        witness.systemctl("restart", unit)
        assert witness.journal(unit).count("another process has UDP port") == 0
        witness.systemctl("stop", unit)
        assert thief.stdout.readline() == "stolen\n"
        witness.systemctl("start", "--no-block", unit)
        until(lambda: "another process has UDP port" in witness.journal(unit), what="it says what it lacks")
        thief.stdin.close()
    until(lambda: witness.systemctl("show", "-P", "SubState", unit) == "running\n", what="it has its port")
    armed(site, pair)


@pytest.mark.issue("4.2 a witness of several pairs: agent update keeps the register, of one laid earlier too")
def test_an_update_keeps_the_register_and_leaves_the_other_alone(site: Site) -> None:
    witness = site.witness
    laid = json.loads(witness.run("cat /var/lib/mailmirror-guard/laid.json"))
    del laid["pair"]  # as a version without it wrote
    witness.run("cat > /var/lib/mailmirror-guard/laid.json", stdin=json.dumps(laid))
    before, known = process(site, SECOND), of_witness(site, FIRST)
    witness.run("echo >> /etc/mailmirror/guard.json")
    assert agent(site, "update", FIRST, "witness")["restarted"] is not None
    now = of_witness(site, FIRST)
    assert (now["epoch"], now["active"]) == (known["epoch"], known["active"])
    assert now["generation"] > known["generation"] and process(site, SECOND) == before
    for pair in (FIRST, SECOND):
        assert agent(site, "update", pair, "witness")["changed"] == []
    armed(site, FIRST, SECOND)


@pytest.mark.issue(
    "4.2 a witness of several pairs: a mail host has one guard, a port one pair, each refused with a remedy"
)
def test_what_cant_stand_beside_another_guard_is_refused(site: Site) -> None:
    with pytest.raises(CommandFailed, match="hears at UDP port 7521 of this witness already") as told:
        written(site, inventory(ports=False), "config", "check")
    assert told.value.returncode == 78 and "inventory.yaml:" in str(told.value)
    alone = inventory(ports=False)
    alone["mailmirror"]["children"]["third"] = alone["mailmirror"]["children"].pop(SECOND)
    del alone["mailmirror"]["children"][FIRST]
    with pytest.raises(CommandFailed, match=f"the guard of the pair {FIRST} hears at UDP port 7521 there") as told:
        written(site, alone, "agent", "install", NAMES["witness"], "--yes")
    assert told.value.returncode == 4 and "mm_guard_port" in str(told.value)
    third = inventory()
    third["mailmirror"]["children"] = {"third": third["mailmirror"]["children"][FIRST]}
    with pytest.raises(CommandFailed, match="a mail host has one guard") as told:
        written(site, third, "agent", "install", NAMES["primary"], "--guard", "--yes")
    assert told.value.returncode == 4
    assert of_primary(site, FIRST)["pair"] == FIRST


def written(site: Site, told: dict[str, Any], *words: str) -> None:
    site.mirror.run("cat > /root/inventory.yaml", stdin=yaml.safe_dump(told, sort_keys=False))
    site.mirror.run(["mailmirror", "-i", "/root/inventory.yaml", *words], timeout=60)


@pytest.mark.issue("4.2 a witness of several pairs: agent remove takes one pair's guard and leaves the other")
def test_removal_of_one_pairs_guard_leaves_the_other_and_of_both_nothing(site: Site) -> None:
    witness = site.witness
    for pair, left in ((SECOND, FIRST), (FIRST, SECOND)):
        before = process(site, left)
        agent(site, "remove", pair, "witness")
        assert process(site, left) == before and of_witness(site, left)["pair"] == left
        assert f"witness of {left}" in witness.run("mailmirror-guard status")
        assert witness.attempt(["systemctl", "cat", UNITS[pair]]).returncode != 0
        assert witness.attempt(f"ls {REGISTERS[pair]}/register.json").returncode != 0
        assert of_primary(site, pair)["serves"] and of_primary(site, left)["armed"]
        if pair == SECOND:
            agent(site, "install", SECOND, "witness")
            armed(site, SECOND)
    agent(site, "remove", SECOND, "witness")
    left_over = set(witness.run(ETC).splitlines()) ^ set(witness.run("cat /run/etc.before").splitlines())
    assert left_over == set()
    assert witness.run("ls -A /var/lib/mailmirror-guard").split() in ([], ["lost+found"])
    assert witness.attempt("ls -d /usr/lib/mailmirror /usr/local/sbin/mailmirror-guard").stdout == ""


@pytest.mark.issue("4.2 agent remove: a passive host whose Postfix wasn't held begins to serve nothing")
def test_a_passive_host_whose_postfix_cant_be_held_serves_nothing_afterwards(site: Site) -> None:
    mirror = site.mirror
    told = json.loads(mirror.run("mailmirror-guard status --format json"))
    assert told["role"] == "passive" and "soft_bounce" in told["hands"]["problems"]["hold Postfix"]
    assert mirror.run("pgrep -x qmgr")
    done = agent(site, "remove", FIRST, "mirror")
    assert set(done["stopped"]) >= {"postfix@-.service"} or "postfix.service" in done["stopped"]
    assert mirror.attempt("pgrep -x dovecot; pgrep -x qmgr").returncode != 0
    assert mirror.run("systemctl is-enabled dovecot.service") == "enabled\n", "as it was"
    assert any("dovecot.service" in line and "after a reboot" in line for line in done["told"]), done
