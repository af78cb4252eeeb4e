"""The story of a pair, act by act; each ends in a proof of what it showed.

An act does what the world does (letters come, users tidy up, a cable is pulled) and what an operator does (the
product's commands), then looks at both trees with its own eyes. Invariant: no act changes the mirror's tree itself.
"""

from __future__ import annotations

from orchestrator.demo import journeys, watch
from orchestrator.demo.letters import VERY_LARGE
from orchestrator.demo.mailbox import FOLDERS, INBOX
from orchestrator.demo.proving import PATIENCE, equal, guard, mapping, number, report, until_guard
from orchestrator.demo.site import DOMAIN, PAIR, USERS
from orchestrator.demo.stage import Stage
from orchestrator.demo.story import milliseconds, percentile, size

FIRST = 88  # letters to the INBOXes before there is a mirror
FILED = 8  # and to each further folder
PER_SECOND = 20.0
LIVE = 60  # letters while the mirror follows
DURING_CUT = 24
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
        journeys.play(stage)
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
    took = until_guard(stage, site.primary, serves=True)
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
    found = report(stage.product.tell("sync", PAIR))
    tally = mapping(found["tally"])
    copied = f"{tally['messages']} messages, {size(number(tally['message_bytes']))}"
    story.figure("`mailmirror sync`, the first copy", f"{number(found['seconds']):.2f} s", copied)
    story.proof(f"it says {stage.sent} messages, as many as were sent", tally["messages"] == stage.sent, str(tally))
    equal(stage, "every file, flag and UID is the same on both")


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
    equal(stage, f"all {len(sent) + 1} arrived whole, once")


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
    equal(stage, "flags, keywords, places and folder names are the same, no message has a new UID")


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
    equal(stage, "nothing is missing, nothing is there twice")


def both_are_equal(stage: Stage) -> None:
    story = stage.story
    story.act("Is it really a copy?")
    stage.until_link({"live"}, PATIENCE)
    found = report(stage.product.tell("verify", PAIR, "--deep"))
    read = f"{found['messages']} messages, {found['folders']} folders"
    story.figure("`mailmirror verify --deep`, every byte read", f"{number(found['seconds']):.2f} s", read)
    story.proof("it says that both are equal", found["equal"] is True, str(found["differences"]))
    left, counted = stage.sent - stage.expunged, found["messages"]
    claim = f"{stage.sent} letters sent, {stage.expunged} deleted: {left} should be there, and {counted} are"
    story.proof(claim, counted == left)
    equal(stage, "the demo's own comparison of all bytes, flags and UIDs agrees")


def nothing_is_gone_at_once(stage: Stage) -> None:
    story = stage.story
    story.act("A deletion can be taken back for a week")
    found = report(stage.product.tell("undelete", PAIR, "--list"))
    held = size(number(found["chosen_bytes"]))
    story.figure("`mailmirror undelete` lists", str(found["chosen"]), f"{held}, in the mirror's quarantine")
    claim = f"it lists the {stage.expunged} messages that users deleted"
    story.proof(claim, found["chosen"] == stage.expunged, f"it lists {found['chosen']}")


def lease_runs_out(stage: Stage) -> None:
    story, site = stage.story, stage.site
    story.act("The primary serves by a lease, and stops by itself when nobody renews it")
    granted = f"{number(guard(stage, site.primary)['left']):.1f} s"
    story.figure("granted by the guards of mirror and witness", granted, "asked for again four times a lease")
    granters = [site.hosts[place].running["guard"] for place in ("mirror", "witness")]
    for each in granters:
        each.order("hang")
    took = until_guard(stage, site.primary, serves=False)
    story.figure("both hang; until the primary had stopped", f"{took:.1f} s", "by its own clock, unasked")
    told = guard(stage, site.primary)
    story.proof("it serves nobody, since its lease has run out", told["left"] == 0, str(told))
    with stage.sender() as sender:
        taken = sender.tries(*stage.letters(1)[0])
    story.proof("a letter that comes now is turned away, at both", not taken, "somebody took it")
    for each in granters:
        each.order("heal")
    took = until_guard(stage, site.primary, serves=True)
    story.figure("they go on; until it served again", f"{took:.1f} s")
    words = [guard(stage, host) for host in site.hosts.values()]
    serving = [str(each["place"]) for each in words if each["serves"]]
    story.proof("one place serves, and only one", serving == ["primary"], str(serving))


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


def _wire(stage: Stage) -> float:
    status = stage.status()
    return number(status["bytes_received"]) + number(status["bytes_sent"])
