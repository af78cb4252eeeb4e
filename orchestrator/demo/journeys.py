"""The acts in which users move: by plan and home again, and because the primary has died, until it is home again.

What is done is an operator's: `mailmirror switchover`, `failover`, `rejoin`, `failback`. Meanwhile a sender elsewhere
goes on sending, and what it was told with 250 is counted at the end.
"""

from __future__ import annotations

import re
import time

from orchestrator.demo import names, watch
from orchestrator.demo.host import Host
from orchestrator.demo.product import CommandFailed
from orchestrator.demo.proving import each_once, equal, guard, mapping, number, report
from orchestrator.demo.site import DOMAIN, PAIR, USERS
from orchestrator.demo.stage import Stage

PER_SECOND = 20.0
ONLY_THERE = 5  # letters that the primary takes after its cable was pulled
STEP = re.compile(r" *([0-9.]+) s  ([a-z_]+): done: ")
IN_A_LINE = 6
SEEN_WITHIN = 10.0  # seconds
RECONNECTS = 60.0  # seconds: the daemon tries a host that was away each half a minute at last


def play(stage: Stage) -> None:
    """All of them, in order."""
    users_move(stage)
    only_there = primary_dies(stage)
    primary_returns(stage, only_there)
    users_come_home(stage)


def users_move(stage: Stage) -> None:
    story, site = stage.story, stage.site
    story.act("The users move to the mirror by plan, and home again")
    told = report(stage.product.tell("dns", "test", PAIR))
    story.proof("`mailmirror dns test`: the key may change the names", told["may"] == "yes", str(told))
    known = len(watch.deliveries(site.ledger))
    with stage.stream(PER_SECOND) as sender:
        journey(stage, "switchover", site.mirror)
        journey(stage, "failback", site.primary)
    came = watch.deliveries(site.ledger)[known:]
    story.figure("letters that came meanwhile", str(len(came)), f"{sender.refused} tries met a closed door")
    story.figure("the longest that one had to wait", f"{sender.longest:.1f} s", "until its sender came again")
    equal(stage, "both trees are the same again")
    each_once(stage, came, f"each of the {len(came)} was taken once, and stands on both hosts once")


def primary_dies(stage: Stage) -> list[watch.Delivery]:
    """Its cable goes first, so that what comes in the last second stands on its disk alone; then its power. Returns
    the letters that only it has.
    """
    story, site = stage.story, stage.site
    story.act("The primary dies, with letters that nobody else has")
    site.primary.cut()
    only_there = stage.send(stage.letters(ONLY_THERE))
    story.figure("letters that only its disk has", str(len(only_there)), "250 was said to each: they were durable")
    site.primary.die()
    known = len(watch.deliveries(site.ledger))
    with stage.stream(PER_SECOND) as sender:
        journey(stage, "failover", site.mirror, "--accept-loss")
    came = watch.deliveries(site.ledger)[known:]
    story.figure("letters that came meanwhile", str(len(came)), f"{sender.refused} tries met nobody who took one")
    story.figure("the longest that one had to wait", f"{sender.longest:.1f} s", "from the death of the primary")
    has = watch.identities(site.mirror.store)
    missing = [each.identity for each in came if has[each.identity] != 1]
    story.proof("the mirror has each of them, once", not missing, ", ".join(missing[:3]))
    there = [each.identity for each in only_there if has[each.identity]]
    story.proof(f"and none of the {len(only_there)} that never left the primary", not there, ", ".join(there))
    return only_there


def primary_returns(stage: Stage, only_there: list[watch.Delivery]) -> None:
    story, site = stage.story, stage.site
    story.act("The primary returns, and its letters come home")
    site.primary.boot()
    told = guard(stage, site.primary)
    story.proof("its guard lets it serve nobody: another place took over", told["serves"] is False, str(told))
    before = watch.tree(site.mirror.store)
    plan = mapping(mapping(stage.product.tell("rejoin", PAIR, "--dry-run"))["survey"])
    counts = ", ".join(f"{count} {kind}" for kind, count in mapping(plan["counts"]).items() if count)
    story.figure("`mailmirror rejoin --dry-run`: it has", str(ONLY_THERE), counts)
    story.proof("to look changed nothing on the mirror", watch.tree(site.mirror.store) == before)
    with stage.stream(PER_SECOND):
        began = time.monotonic()
        ended = ordered(stage, "rejoin")
        took = time.monotonic() - began
    story.figure("`mailmirror rejoin`", f"{took:.1f} s", str(ended["why"]))
    timeline(stage)
    done = mapping(mapping(ended["report"])["counts"])
    story.proof(f"by its report, {len(only_there)} were delivered", done["delivered"] == len(only_there), str(done))
    took = stage.until_link({"live"}, RECONNECTS)
    story.figure("until `mailmirror run` follows live again", f"{took:.1f} s", "what was away is tried ever less often")
    for user in USERS:
        stage.inbox(user).opened()
    equal(stage, "both trees are the same again: the primary is a copy of the mirror")
    each_once(stage, only_there, f"each of the {len(only_there)} letters stands on both hosts, once")


def users_come_home(stage: Stage) -> None:
    """Nothing of all that was sent since the beginning may be missing, or there twice."""
    story, site = stage.story, stage.site
    story.act("The users go home")
    journey(stage, "failback", site.primary)
    found = report(stage.product.tell("verify", PAIR, "--deep"))
    left, counted = stage.sent - stage.expunged, found["messages"]
    story.proof("`mailmirror verify --deep` says that both are equal", found["equal"] is True, str(found))
    claim = f"{stage.sent} letters sent, {stage.expunged} deleted: {left} should be there, and {counted} are"
    story.proof(claim, counted == left)
    twice = [each for each, times in watch.identities(site.primary.store).items() if times > 1]
    story.proof("none of them is there twice, by its Message-ID", not twice, ", ".join(twice[:3]))
    equal(stage, "the demo's own comparison of all bytes, flags and UIDs agrees")


def journey(stage: Stage, verb: str, to: Host, *words: str) -> None:
    """One journey by its verb, told step by step, and where clients and guards then see the active place."""
    story, epoch = stage.story, number(guard(stage, to)["epoch"]) + 1
    told = ordered(stage, verb, *words)
    story.figure(f"`mailmirror {verb}`", f"{number(told['seconds']):.1f} s", str(told["why"]))
    timeline(stage)
    now, its = names.ask(stage.site.dns_port, DOMAIN), guard(stage, to)
    led = now.addresses == (to.address,) and now.exchangers[0] == f"10 {to.name}."
    led = led and f"epoch={epoch:.0f} " in now.epoch
    serves = its["serves"] is True and its["epoch"] == epoch
    claim = f"clients are sent to {to.name}, and its guard lets it serve, in epoch {epoch:.0f}"
    story.proof(claim, led and serves, f"{now}, {its}")


def ordered(stage: Stage, verb: str, *words: str) -> dict[str, object]:
    """How a journey ended. The daemon looks each second: until it has seen the last one's end, the next is refused with
    the advice to wait for it, which is done.
    """
    deadline = time.monotonic() + SEEN_WITHIN
    while True:
        try:
            return mapping(stage.product.tell(verb, PAIR, "--yes", "--reason", "the demo shows it", *words))
        except CommandFailed as failed:
            if "A journey is open: wait for its end" not in str(failed) or time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def timeline(stage: Stage) -> None:
    """The steps that the last command told as it went, as `2.3 quiesce`: seconds since its order, and what was done."""
    steps = [found for line in stage.product.said.splitlines() if (found := STEP.match(line))]
    told = [f"{float(step[1]):.1f} {step[2]}" for step in steps]
    for first in range(0, len(told), IN_A_LINE):
        stage.story.say("  " + " · ".join(told[first : first + IN_A_LINE]))
