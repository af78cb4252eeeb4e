"""The story of a pair, act by act; each ends in a proof of what it showed.

An act does what the world does (letters come, users tidy up, a cable is pulled) and what an operator does (the
product's commands), then looks at both trees with its own eyes. Invariant: no act changes the mirror's tree itself.
"""

from __future__ import annotations

import re
import time
from collections import Counter

from orchestrator.demo import names, watch
from orchestrator.demo.host import Host
from orchestrator.demo.letters import VERY_LARGE
from orchestrator.demo.mailbox import FOLDERS, INBOX
from orchestrator.demo.site import DOMAIN, PAIR, USERS
from orchestrator.demo.stage import Stage
from orchestrator.demo.story import milliseconds, percentile, size

PATIENCE = 30.0  # seconds until what must happen is said not to happen
FIRST = 88  # letters to the INBOXes before there is a mirror
FILED = 8  # and to each further folder
PER_SECOND = 20.0
LIVE = 60  # letters while the mirror follows
DURING_CUT = 24
STEP = re.compile(r" *([0-9.]+) s  ([a-z_]+): done: ")
DEAF = {"connecting", "stopped"}


def play(stage: Stage) -> None:
    """All acts in order. Errors: whatever a command or a proof says."""
    site_stands(stage)
    first_copy(stage)
    with stage.live() as following:
        mail_arrives(stage)
        users_tidy_up(stage)
        link_breaks(stage)
        both_are_equal(stage)
        nothing_is_gone_at_once(stage)
        lease_runs_out(stage)
        users_move(stage)
        stage.story.act("The end")
        code = following.stop()
    stage.story.proof("`mailmirror run` ended cleanly when asked to", code == 0, f"exit code {code}")


def site_stands(stage: Stage) -> None:
    story, site = stage.story, stage.site
    story.act("Two mail hosts, a witness, and a controller between them")
    for host in site.hosts.values():
        story.figure(f"{host.name}, the {host.place}", host.address, "ssh, public keys only, host key pinned; a guard")
    story.figure("SMTP in front of both mail hosts", f":{site.smtp_port}", "250 only by its guard's leave, and durable")
    story.figure(f"a name server for {DOMAIN}", f":{site.dns_port}", "takes signed updates; senders go by it")
    story.figure("accounts, each with " + " ".join(FOLDERS), str(len(USERS)))
    stage.product.guard(str(site.primary.guard), "begin", "--epoch", "1", "--active", "primary")
    took = _until_guard(stage, serves=True)
    story.figure("`mailmirror-guard begin`: the lease is armed", f"{took:.1f} s", "by the guards of mirror and witness")


def first_copy(stage: Stage) -> None:
    story = stage.story
    story.act("There is mail before there is a mirror")
    stage.send(stage.letters(FIRST))
    for folder in FOLDERS[1:]:
        stage.send(stage.letters(FILED, folder))
    kinds = f"{len(stage.kinds)} kinds, from an empty body to MIME trees"
    story.figure("letters sent and delivered", str(stage.sent), kinds)
    stage.product.ask("init", PAIR)
    report = _report(stage.product.tell("sync", PAIR))
    tally = _mapping(report["tally"])
    copied = f"{tally['messages']} messages, {size(_number(tally['message_bytes']))}"
    story.figure("`mailmirror sync`, the first copy", f"{_number(report['seconds']):.2f} s", copied)
    story.proof(f"it says {stage.sent} messages, as many as were sent", tally["messages"] == stage.sent, str(tally))
    _equal(stage, "every file, flag and UID is the same on both")


def mail_arrives(stage: Stage) -> None:
    story = stage.story
    story.act("Mail arrives, and the mirror follows")
    took = stage.until_link({"live"}, PATIENCE)
    story.figure("`mailmirror run`, until it follows live", f"{took:.1f} s", f"watching by {stage.status()['watch']}")
    sent = stage.send(stage.letters(LIVE), PER_SECOND)
    lags = watch.lags(sent, stage.site.mirror.store, PATIENCE)
    pace = f"{LIVE} letters, {PER_SECOND:.0f} a second: lag, median"
    story.figure(pace, milliseconds(percentile(lags, 0.5)), "from rename to rename, on one clock")
    story.figure("99 of 100 within", milliseconds(percentile(lags, 0.99)))
    large = stage.writer.write(VERY_LARGE)
    (lag,) = watch.lags(stage.send([(USERS[0], large)]), stage.site.mirror.store, PATIENCE)
    story.figure(f"one letter of {size(len(large.raw))}: lag", milliseconds(lag))
    _equal(stage, f"all {len(sent) + 1} arrived whole, once")


def users_tidy_up(stage: Stage) -> None:
    story = stage.story
    story.act("Users read, sort and delete")
    before = _wire(stage)
    done = [_reads(stage), _sorts(stage), _deletes(stage), _renames(stage)]
    took = stage.until_equal(PATIENCE)
    for label, count in done:
        story.figure(label, str(count))
    story.figure("until the mirror had it all", milliseconds(took))
    story.figure(
        "bytes on the wire for it", size(_wire(stage) - before), "both ways, both hosts; no body travelled twice"
    )
    _equal(stage, "flags, keywords, places and folder names are the same, no message has a new UID")


def link_breaks(stage: Stage) -> None:
    story = stage.story
    story.act("The cable to the mirror is pulled")
    stage.site.mirror.cut()
    sent = stage.send(stage.letters(DURING_CUT))
    for user in USERS:
        inbox = stage.inbox(user)
        inbox.flag(min(inbox.messages()), "FRS")
    took = stage.until_link(DEAF, PATIENCE)
    story.figure("until silence is known to be a dead link", f"{took:.1f} s", "nothing was closed, nothing answered")
    behind = watch.differences(watch.tree(stage.site.primary.store), watch.tree(stage.site.mirror.store))
    story.figure("letters that came meanwhile", str(len(sent)), "the mail server noticed nothing")
    story.proof("the mirror lacks them", len(behind) >= len(sent), f"only {len(behind)} differences")
    stage.site.mirror.heal()
    took = stage.until_equal(PATIENCE)
    story.figure("healed; until the backlog was there", f"{took:.1f} s", "taken up where it stopped")
    _equal(stage, "nothing is missing, nothing is there twice")


def both_are_equal(stage: Stage) -> None:
    story = stage.story
    story.act("Is it really a copy?")
    stage.until_link({"live"}, PATIENCE)
    report = _report(stage.product.tell("verify", PAIR, "--deep"))
    read = f"{report['messages']} messages, {report['folders']} folders"
    story.figure("`mailmirror verify --deep`, every byte read", f"{_number(report['seconds']):.2f} s", read)
    story.proof("it says that both are equal", report["equal"] is True, str(report["differences"]))
    left, counted = stage.sent - stage.expunged, report["messages"]
    claim = f"{stage.sent} letters sent, {stage.expunged} deleted: {left} should be there, and {counted} are"
    story.proof(claim, counted == left)
    _equal(stage, "the demo's own comparison of all bytes, flags and UIDs agrees")


def nothing_is_gone_at_once(stage: Stage) -> None:
    story = stage.story
    story.act("A deletion can be taken back for a week")
    report = _report(stage.product.tell("undelete", PAIR, "--list"))
    held = size(_number(report["chosen_bytes"]))
    story.figure("`mailmirror undelete` lists", str(report["chosen"]), f"{held}, in the mirror's quarantine")
    claim = f"it lists the {stage.expunged} messages that users deleted"
    story.proof(claim, report["chosen"] == stage.expunged, f"it lists {report['chosen']}")


def lease_runs_out(stage: Stage) -> None:
    story, site = stage.story, stage.site
    story.act("The primary serves by a lease, and stops by itself when nobody renews it")
    granted = f"{_number(_guard(stage)['left']):.1f} s"
    story.figure("granted by the guards of mirror and witness", granted, "asked for again four times a lease")
    granters = [site.hosts[place].running["guard"] for place in ("mirror", "witness")]
    for guard in granters:
        guard.order("hang")
    took = _until_guard(stage, serves=False)
    story.figure("both hang; until the primary had stopped", f"{took:.1f} s", "by its own clock, unasked")
    story.proof("it serves nobody, since its lease has run out", _guard(stage)["left"] == 0, str(_guard(stage)))
    with stage.sender() as sender:
        taken = sender.tries(*stage.letters(1)[0])
    story.proof("a letter that comes now is turned away, at both", not taken, "somebody took it")
    for guard in granters:
        guard.order("heal")
    took = _until_guard(stage, serves=True)
    story.figure("they go on; until it served again", f"{took:.1f} s")
    told = [stage.product.guard(str(host.guard), "status", "--format", "json") for host in site.hosts.values()]
    serving = [str(each["place"]) for each in told if each["serves"]]
    story.proof("one place serves, and only one", serving == ["primary"], str(serving))


def _until_guard(stage: Stage, *, serves: bool) -> float:
    """Seconds until the primary's guard, its lease armed, says that it serves, or doesn't. Errors: StillRunning."""
    began = time.monotonic()
    told: dict[str, object] = {}

    def holds() -> bool:
        told.update(_guard(stage))
        return told["armed"] is True and told["serves"] is serves

    watch.until(holds, PATIENCE, lambda: str(told))
    return time.monotonic() - began


def _guard(stage: Stage) -> dict[str, object]:
    """What `mailmirror-guard status` on the primary says."""
    return stage.product.guard(str(stage.site.primary.guard), "status", "--format", "json")


def users_move(stage: Stage) -> None:
    story, site = stage.story, stage.site
    story.act("The users move to the mirror by plan, and home again")
    told = _report(stage.product.tell("dns", "test", PAIR))
    story.proof("`mailmirror dns test`: the key may change the names", told["may"] == "yes", str(told))
    known = len(watch.deliveries(site.ledger))
    with stage.stream(PER_SECOND) as sender:
        _journey(stage, "switchover", site.mirror, 2)
        _journey(stage, "failback", site.primary, 3)
    came = watch.deliveries(site.ledger)[known:]
    story.figure("letters that came meanwhile", str(len(came)), f"{sender.refused} tries met a closed door")
    story.figure("the longest that one had to wait", f"{sender.longest:.1f} s", "until its sender came again")
    _equal(stage, "both trees are the same again")
    _each_once(stage, came)


def _journey(stage: Stage, verb: str, to: Host, epoch: int, *words: str) -> None:
    """One journey by its verb, told step by step, and where clients and guards then see the active place."""
    story, port = stage.story, stage.site.dns_port
    told = _mapping(stage.product.tell(verb, PAIR, "--yes", "--reason", "the demo shows it", *words))
    story.figure(f"`mailmirror {verb}`", f"{_number(told['seconds']):.1f} s", str(told["why"]))
    for line in _timeline(stage.product.said):
        story.say("  " + line)
    now = names.ask(port, DOMAIN)
    led = now.addresses == (to.address,) and now.exchangers[0] == f"10 {to.name}." and f"epoch={epoch} " in now.epoch
    guard = stage.product.guard(str(to.guard), "status", "--format", "json")
    story.proof(
        f"clients are sent to {to.name}, and its guard lets it serve, in epoch {epoch}",
        led and guard["serves"] is True and guard["epoch"] == epoch,
        f"{now}, {guard}",
    )


def _timeline(said: str) -> list[str]:
    """The steps that a journey told as it went, `2.3 quiesce`, a few in a line."""
    steps = [found for line in said.splitlines() if (found := STEP.match(line))]
    each = [f"{float(step[1]):.1f} {step[2]}" for step in steps]
    return [" · ".join(each[first : first + 7]) for first in range(0, len(each), 7)]


def _reads(stage: Stage) -> tuple[str, int]:
    read = 0
    for user in USERS:
        inbox = stage.inbox(user)
        important = inbox.keyword("$Important")
        for n, base in enumerate(list(inbox.messages())[:12]):
            inbox.flag(base, "S" + ("" if n % 3 else "F") + ("" if n % 4 else important))
            read += 1
    return "messages read, some starred or given a keyword", read


def _sorts(stage: Stage) -> tuple[str, int]:
    moved = 0
    for user in USERS:
        inbox = stage.inbox(user)
        chosen = stage.chance.sample(sorted(inbox.messages()), 6)
        inbox.move(chosen, stage.account(user).folder("Archive"))
        moved += len(chosen)
    return "moved from INBOX to Archive", moved


def _deletes(stage: Stage) -> tuple[str, int]:
    gone = 0
    for user in USERS:
        for folder in (INBOX, "Trash"):
            place = stage.account(user).folder(folder)
            chosen = stage.chance.sample(sorted(place.messages()), 2)
            place.expunge(chosen)
            gone += len(chosen)
    stage.expunged += gone
    return "deleted for good", gone


def _renames(stage: Stage) -> tuple[str, int]:
    for user in USERS:
        stage.account(user).rename("Archive", "Archive 2026")
    return "folders renamed, Archive to Archive 2026", len(USERS)


def _each_once(stage: Stage, came: list[watch.Delivery]) -> None:
    """Every letter that somebody took since stands once, by its Message-ID in the ledger and its file on both hosts."""
    for host in stage.site.mail_hosts:
        bases = Counter(base for folder in watch.tree(host.store).values() for base in folder)
        wrong = [each.identity for each in came if bases[each.base] != 1]
        stage.story.proof(
            f"each letter that came meanwhile stands once on {host.name}", not wrong, ", ".join(wrong[:3])
        )
    twice = [each for each, times in Counter(each.identity for each in came).items() if times > 1]
    stage.story.proof("and none was delivered twice", not twice, ", ".join(twice[:3]))


def _equal(stage: Stage, claim: str) -> None:
    found = _deep_differences(stage)
    stage.story.proof(claim, not found, "; ".join(found[:3]))


def _deep_differences(stage: Stage) -> list[str]:
    stage.until_equal(PATIENCE)
    site = stage.site
    return watch.differences(watch.tree(site.primary.store, deep=True), watch.tree(site.mirror.store, deep=True))


def _wire(stage: Stage) -> float:
    status = stage.status()
    return _number(status["bytes_received"]) + _number(status["bytes_sent"])


def _report(told: object) -> dict[str, object]:
    """The one report of a pair with one mirror."""
    if not isinstance(told, list) or len(told) != 1:
        raise ValueError(f"one report was expected, not {told!r}")
    return _mapping(told[0])


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"a mapping was expected, not {value!r}")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise ValueError(f"a number was expected, not {value!r}")
    return float(value)
