"""The moving names on real BINDs, one that takes changes and one that follows it: what they take, what they refuse, how
long the world remembers, and that nothing moves without a proof.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab import names, plan, product
from tests.lab.files import File
from tests.lab.host import Host
from tests.lab.site import CA, Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]

KEY = "/etc/mailmirror/tsig.key"
INVENTORY = "/etc/mailmirror/inventory.yaml"
NAME = f"{plan.SERVICE}.{plan.DOMAIN}"
ORDERS = "/root/orders.py"
# What the journeys will do; `mailmirror` has no verb for it yet: `move EPOCH PLACE ADDRESS`, `lower CLOCK`, `restore`.
# A proof is asked for, and this one stands for an operator's word.
SCRIPT = """
import json, sys, time
from collections import namedtuple
from dataclasses import asdict
from orchestrator.errors import MailmirrorError
from orchestrator.inventory.load import load
from orchestrator.traffic import lifetime
from orchestrator.traffic.declared import key_of, zone_of
from orchestrator.traffic.switch import Target
Proof = namedtuple("Proof", "kind host epoch when")
[pair] = load("/etc/mailmirror/inventory.yaml").pairs.values()
zone = zone_of(pair, key_of(pair))
order, *rest = sys.argv[1:]
said, arrivals = "", []
try:
    plan, proof = None, None
    if order == "move":
        host, other = (pair.primary, pair.mirror) if rest[1] == "primary" else (pair.mirror, pair.primary)
        plan = zone.plan(Target(int(rest[0]), host.name, host.place, (rest[2],)))
        proof = Proof("attested", other.name, int(rest[0]), time.time())
    elif order == "lower":
        plan = lifetime.lowering(zone.seen(), zone.ttl, float(rest[0]))
    else:
        plan = lifetime.restoring(zone.seen())
    if plan is not None:
        if not plan.is_done:
            zone.apply(plan, proof)
        arrivals = [asdict(each) for each in zone.prove(plan, 5.0)]
except MailmirrorError as error:
    said = str(error)
print(json.dumps({"said": said, "arrivals": arrivals}))
"""
# The outside client: it tells where it goes, each time that this changes, and after how many seconds that was.
OUTSIDE = """
import json, sys, time
from tests.lab.oracle import resolver, site
asked = resolver.Resolver(site.load("/root/site.json"))
went = None
while True:
    goes = [asked.service(), sorted((each.preference, each.host) for each in asked.exchanges())]
    if goes != went:
        print(json.dumps([time.time(), *goes]), flush=True)
        went = goes
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def named() -> Iterator[Site]:
    require.hosts()
    with Site(("nameserver", "secondary", "primary", "mirror", "client"), users=1) as site:
        site.boot()
        site.mirror.lay({ORDERS: File(SCRIPT, 0o644)})
        lay(site, names.key_file(site.tsig), [plan.SERVICE])
        until(lambda: serial(site, "secondary") == serial(site, "nameserver"), within=30, what="the second one follows")
        yield site


def lay(site: Site, key: str, moving: list[str]) -> None:
    """The key and the names, as an operator would write them down."""
    server = plan.SEATS["nameserver"].address
    mx = f"mx: {{name: {plan.DOMAIN}, active: 10, passive: 20}}"
    said = (
        f"{{server: {server}, zone: {plan.DOMAIN}, names: [{', '.join(moving)}], ttl: 5, {mx}, tsig: {{file: {KEY}}}}}"
    )
    site.mirror.lay({KEY: File(key, 0o600)})
    site.mirror.run(f"sed -i '/mm_dns/d; s|^    mm_state_dir|    mm_dns: {said}\\n&|' {INVENTORY}")


def dig(site: Site, kind: str, name: str, place: str = "nameserver") -> list[str]:
    """What a client is told there, in order."""
    server = plan.SEATS[place].address
    return sorted(site.client.run(["dig", "+short", "+time=2", f"@{server}", kind, name]).splitlines())


def serial(site: Site, place: str) -> int:
    [soa] = dig(site, "SOA", plan.DOMAIN, place) or ["- - 0"]
    return int(soa.split()[2])


def points_at(site: Site) -> str:
    return " ".join(dig(site, "A", NAME))


def epoch(site: Site) -> int:
    """Which the zone is in."""
    texts = " ".join(dig(site, "TXT", f"_mailmirror.{NAME}"))
    return int(texts.partition("epoch=")[2].split()[0]) if "epoch=" in texts else 0


def ordered(site: Site, *words: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """What was said where an order failed, "" else; what became of it at each server."""
    told = json.loads(site.mirror.run([product.PYTHON, ORDERS, *words]))
    return told["said"], {arrival["server"]: arrival for arrival in told["arrivals"]}


def move(site: Site, epoch: int, place: str) -> tuple[str, dict[str, dict[str, Any]]]:
    return ordered(site, "move", str(epoch), place, plan.SEATS[place].address)


def exchangers(first: str, then: str) -> list[str]:
    return [f"10 {plan.SEATS[first].full_name}.", f"20 {plan.SEATS[then].full_name}."]


NS, NS2 = plan.SEATS["nameserver"].address, plan.SEATS["secondary"].full_name


@pytest.mark.issue("4.4 dns test: rights dry-run by the false-prerequisite flip")
@pytest.mark.issue("4.4 dns show")
def test_the_key_is_tried_without_effect(named: Site) -> None:
    before = points_at(named)
    said = named.mirror.run("mailmirror dns test")
    tried = "the key mailmirror may change the names (tried; nothing was changed); 2 name servers of example.test agree"
    assert tried in said
    shown = named.mirror.run("mailmirror dns show").splitlines()
    assert shown[1].split() == ["SERVER", "SERIAL", "NAME", "ADDRESSES", "TTL", "EPOCH"]
    assert shown[2].split()[2:5] == [plan.SERVICE, before, "5"]
    assert shown[3].split()[2:8] == ["MX", "10", "mail1.example.test,", "20", "mail2.example.test", "60"]
    assert "Resolvers keep answers for 60 s; a move wants 5 s, which is to be lowered ahead of it." in shown
    assert points_at(named) == before


@pytest.mark.issue("4.4 TTL lowered ahead and restored")
def test_times_to_live_are_lowered_noted_in_the_zone_and_restored(named: Site) -> None:
    assert ordered(named, "lower", "1000000000")[0] == ""
    assert "lowered; not every name server was seen to show it yet" in named.mirror.run("mailmirror dns show")
    assert ordered(named, "lower", "1000000000")[0] == ""  # by another process, which finds it lowered, and stamps
    assert "it counts since 2001-09-09 01:47:41 UTC" in named.mirror.run("mailmirror dns show")
    assert _ttls(named) == {plan.SERVICE: 5, "@mx": 5}
    assert ordered(named, "restore")[0] == ""
    assert _ttls(named) == {plan.SERVICE: 5, "@mx": 60}
    assert dig(named, "TXT", f"_mailmirror.{NAME}") == []


def _ttls(site: Site) -> dict[str, int]:
    """As every server has them."""
    [told] = json.loads(site.mirror.run("mailmirror dns show --format json"))
    first, second = (server["ttls"] for server in told["servers"])
    assert first == second
    return dict(first)


@pytest.mark.issue("4.4 compare-and-swap epoch TXT in the same update, read back from every authoritative server")
@pytest.mark.issue("4.4 MX priorities in the same update")
@pytest.mark.issue("4.4 observed propagation measured")
@pytest.mark.issue("4.P an old epoch, a second controller with a stale state: refused, told, nothing changed")
def test_the_name_and_the_exchangers_move_once_per_epoch(named: Site) -> None:
    assert move(named, 1, "primary")[0] == ""
    assert points_at(named) == plan.SEATS["primary"].address
    before = serial(named, "nameserver")
    said, arrivals = move(named, 2, "mirror")
    assert (said, arrivals[NS]["state"], arrivals[NS2]["state"]) == ("", "shows", "shows")
    assert arrivals[NS]["seconds"] >= 0 and 0 <= arrivals[NS2]["seconds"] < 5, arrivals
    assert (points_at(named), serial(named, "secondary")) == (plan.SEATS["mirror"].address, before + 1)
    assert dig(named, "MX", plan.DOMAIN, "secondary") == exchangers("mirror", "primary")
    assert "The zone is at epoch 2 with mail2.example.test active, this change is of 2" in move(named, 2, "primary")[0]
    assert "this change is of 1" in move(named, 1, "primary")[0]
    assert points_at(named) == plan.SEATS["mirror"].address
    assert "2, mail2.example.test" in named.mirror.run("mailmirror dns show")


@contextmanager
def outside(site: Site) -> Iterator[Any]:
    """The outside client; gives what reads its next word: when, the address, the exchangers."""
    described = {**json.loads(site.describe().as_json()), "ca": CA}
    site.client.path("/root/site.json").write_text(json.dumps(described))
    client = site.client.start([product.PYTHON, "-c", OUTSIDE], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    try:
        yield lambda: json.loads(client.stdout.readline())
    finally:
        client.kill()
        client.wait()
        client.stdout.close()


@pytest.mark.issue("4.4 the outside client goes to the new place after the TTL")
def test_the_outside_client_goes_to_the_new_place_when_its_answers_have_run_out(named: Site) -> None:
    home = epoch(named) + 1
    assert move(named, home, "primary")[0] == ""
    named.client.run("sleep 0.1")
    with outside(named) as goes:
        _, address, _ = goes()
        assert address == plan.SEATS["primary"].address
        [began] = named.client.run(["date", "+%s.%N"]).split()
        assert move(named, home + 1, "mirror")[0] == ""
        moved = [goes()]
        if moved[0][1] != plan.SEATS["mirror"].address or moved[0][2][0][1] != plan.SEATS["mirror"].full_name:
            moved.append(goes())  # each record has its own time to run out
    when, address, exchangers = moved[-1]
    assert address == plan.SEATS["mirror"].address
    assert exchangers == [[10, plan.SEATS["mirror"].full_name], [20, plan.SEATS["primary"].full_name]]
    assert when - float(began) < 5 + 10, "no later than the TTL, and what a loaded machine adds"


@pytest.mark.issue("4.P DNS secondary lagging: no flip without proof")
def test_a_secondary_that_lags_is_told_by_its_serial_and_stops_the_next_move(named: Site) -> None:
    now, second = epoch(named), named.hosts["secondary"]
    place = "primary" if points_at(named) == plan.SEATS["mirror"].address else "mirror"
    named.cut(named.nameserver, second)  # neither NOTIFY nor transfer comes through; all others reach both
    try:
        said, arrivals = move(named, now + 1, place)
        assert (said, arrivals[NS]["state"], arrivals[NS2]["state"]) == ("", "shows", "old")
        assert f"the zone is at serial {serial(named, 'nameserver')} where it is changed" in arrivals[NS2]["said"]
        assert "The name servers disagree" in move(named, now + 2, "primary")[0]
        assert "do not agree" in named.mirror.attempt("mailmirror dns test").stdout
    finally:
        named.heal(named.nameserver, second)
    second.systemctl("restart", "named")  # which asks at its start; by itself it asks when its refresh is over
    until(lambda: serial(named, "secondary") == serial(named, "nameserver"), within=30, what="it follows")
    said, arrivals = move(named, now + 1, place)
    assert (said, {each["state"] for each in arrivals.values()}) == ("", {"shows"}), "the same move, proven now"


@pytest.mark.issue("4.P DNS secondary away: no flip without proof")
def test_a_secondary_that_is_away_is_unknown_and_moves_nothing(named: Site) -> None:
    before, now, second = points_at(named), epoch(named), named.hosts["secondary"]
    second.freeze()
    try:
        assert f"Not every name server answers: {NS2}" in move(named, now + 1, "primary")[0]
        assert named.mirror.attempt("mailmirror dns show").returncode == 1
    finally:
        second.thaw()
    assert (points_at(named), epoch(named)) == (before, now)


@pytest.mark.issue("4.P DNS server stale: no flip without proof")
def test_a_server_that_was_put_back_to_an_older_zone_is_found_out(named: Site) -> None:
    """The zone's file comes back from a copy: its epoch is older than the one that the other server shows."""
    now, server = epoch(named), named.nameserver
    server.systemctl("stop", "named")
    server.run("cp -a /var/lib/bind /root/bind.kept")
    server.systemctl("start", "named")
    place = "primary" if points_at(named) == plan.SEATS["mirror"].address else "mirror"
    assert move(named, now + 1, place)[0] == ""
    server.systemctl("stop", "named")
    server.run("rm -rf /var/lib/bind && cp -a /root/bind.kept /var/lib/bind")
    server.systemctl("start", "named")
    assert epoch(named) == now
    assert "The name servers disagree" in move(named, now + 1, place)[0]
    assert epoch(named) == now, "nothing was changed"
    _forget(named.hosts["secondary"])
    until(lambda: serial(named, "secondary") == serial(named, "nameserver"), within=30, what="it starts anew")


def _forget(second: Host) -> None:
    second.systemctl("stop", "named")
    second.run("rm -f /var/lib/bind/site.copy*")
    second.systemctl("start", "named")


@pytest.mark.issue("4.P DNS server refusing: no flip")
def test_a_key_that_may_not_and_one_that_is_wrong_are_told(named: Site) -> None:
    before = points_at(named)
    lay(named, names.key_file(named.tsig), ["ns"])
    done = named.mirror.attempt("mailmirror dns test")
    assert (done.returncode, "refuses the key mailmirror: REFUSED" in done.stderr) == (77, True), done.stderr
    lay(named, names.key_file(names.secret()), [plan.SERVICE])
    done = named.mirror.attempt("mailmirror dns test")
    assert (done.returncode, "doesn't take the TSIG key" in done.stderr) == (77, True), done.stderr
    assert "doesn't take the TSIG key" in move(named, epoch(named) + 1, "primary")[0]
    lay(named, "nonsense", [plan.SERVICE])
    done = named.mirror.attempt("mailmirror dns test")
    assert (done.returncode, "holds no TSIG key" in done.stderr) == (78, True), done.stderr
    lay(named, names.key_file(named.tsig), [plan.SERVICE])
    assert points_at(named) == before


@pytest.mark.issue("4.P DNS server away: no flip without proof")
def test_a_name_server_that_is_away_or_hangs_moves_nothing(named: Site) -> None:
    before, now = points_at(named), epoch(named)
    server = named.nameserver
    server.freeze()
    try:
        assert "doesn't answer" in move(named, now + 1, "primary")[0]
    finally:
        server.thaw()
    server.systemctl("stop", "named")
    done = named.mirror.attempt("mailmirror dns test")
    assert (done.returncode, "doesn't answer" in done.stderr) == (69, True)
    server.systemctl("start", "named")
    assert points_at(named) == before
