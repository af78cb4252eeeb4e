"""A queue moved between two whole hosts, by the agent's own conversation: the primary's Postfix stopped, the mirror's
running and queueing only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import post, product
from tests.lab.host import Host
from tests.lab.site import PAIR, Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]

MOVE = """
import json, sys
from orchestrator.failover import carrying, queueplan
from orchestrator.inventory.load import load
from orchestrator.remote.opening import open_conversation
[pair] = load("/etc/mailmirror/inventory.yaml").pairs.values()
operation, epoch, *steps = sys.argv[1:]
whose = {"instance": "", "operation": operation, "epoch": int(epoch)}
links = {host.name: open_conversation(host) for host in (pair.primary, pair.mirror)}

def asking(host):
    def ask(head, blob=b""):
        answer = links[host.name].request("queue", head, blob)
        return answer.head, bytes(answer.blob)
    return ask

ends = carrying.Ends(asking(pair.primary), asking(pair.mirror), "primary")
told = {}
for step in steps:
    there, rows = carrying.looked(ends)
    if step == "move":
        plan = queueplan.move(there, rows, "primary", operation)
        ends.gives({"do": "hold", "ids": list(plan.hold), **whose}, b"")
        told["stays"] = dict(plan.stays)
        told["carried"] = carrying.carried(ends, plan.carry, operation, int(epoch))._asdict()
    elif step == "release":
        ids = queueplan.to_release(rows, "primary", operation)
        told["release"], _ = ends.takes({"do": "release", "source": "primary", "ids": ids, **whose}, b"")
    elif step == "drop":
        confirmed = queueplan.to_drop(there, rows, "primary")
        told["drop"], _ = ends.gives({"do": "drop", "confirmed": confirmed, **whose}, b"")
print(json.dumps(told))
for link in links.values():
    link.close()
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    require.hosts()
    with Site(PAIR, users=3) as built:
        built.boot()
        yield built


def move(site: Site, *words: str) -> Any:
    return json.loads(site.mirror.run([product.PYTHON, "-c", MOVE, *words], timeout=60))


def queue(host: Host) -> dict[str, tuple[str, int]]:
    rows = [json.loads(line) for line in host.run("postqueue -j").splitlines()]
    return {row["queue_id"]: (row["queue_name"], row["arrival_time"]) for row in rows}


def deliver(host: Host, held: bool) -> None:
    """Whether this host's Postfix gives letters to Dovecot."""
    host.run(f"postconf -e defer_transports={'lmtp' if held else ''} && postfix reload 2> /dev/null")


@pytest.mark.issue("5.2 queue in the lab: ids and times kept, released only on command, delivered once")
def test_deferred_mail_moves_and_is_delivered_once_when_it_is_let_go(site: Site) -> None:
    primary, mirror, user = site.primary, site.mirror, site.users[0]
    deliver(primary, held=True)  # the destination is down
    for number in range(4):
        post.send(site, user, f"letter {number}")
    post.send(site, user, "already here", server="mail2")
    until(lambda: len([each for each in queue(primary).values() if each[0] == "deferred"]) == 4, what="all deferred")
    own = sorted(queue(primary))[-1]
    primary.run(f"postsuper -h {own}")
    before = queue(primary)
    primary.systemctl("stop", "postfix.service")
    there = queue(mirror)

    told = move(site, "one", "1", "move")
    moved = sorted(set(before) - {own})
    assert sorted(told["carried"]["laid"]) == moved and list(told["stays"]) == [own]
    assert queue(mirror) == {**there, **{each: ("hold", before[each][1]) for each in moved}}
    assert move(site, "one", "1", "move")["carried"] == {"laid": [], "known": [], "remains": []}

    mirror.systemctl("start", "dovecot.service")
    deliver(mirror, held=False)
    mirror.run("postqueue -f")
    until(lambda: post.subjects(site, user, server="mail2") == ["already here"], within=20, what="its own letter")
    assert {name for name, (where, _) in queue(mirror).items() if where == "hold"} == set(moved), "ours wait"

    assert move(site, "one", "2", "release")["release"]["released"] == moved
    until(lambda: not queue(mirror), within=20, what="all is delivered")
    subjects = post.subjects(site, user, server="mail2")
    assert sorted(subjects[1:]) == sorted({f"letter {number}" for number in range(4)} - {subject(site, own)})
    assert move(site, "two", "2", "move", "release")["carried"]["laid"] == []
    assert sorted(move(site, "two", "2", "drop")["drop"]["dropped"]) == moved
    assert queue(primary) == {own: ("hold", before[own][1])}
    assert post.subjects(site, user, server="mail2") == subjects, "each once"


def subject(site: Site, queue_id: str) -> str:
    said = site.primary.run(f"postcat -hq {queue_id}")
    return next(line.partition(": ")[2] for line in said.splitlines() if line.startswith("Subject: "))
