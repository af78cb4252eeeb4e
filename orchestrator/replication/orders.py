"""What operators order of a session's passive places: deleted mail back, waiting deletions through, a place anew.

Invariant: an order names what it is about, and is refused when that isn't so any more; nothing is put aside but under a
permit, and so only while nothing about the source is odd. It opens nothing and begins no pass: the session does.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import Refused
from orchestrator.inventory.model import Host
from orchestrator.remote.host import Conversation
from orchestrator.replication.equality import lines
from orchestrator.replication.flow import PATIENCE, Flow
from orchestrator.replication.heads import checked, content
from orchestrator.replication.report import Deleted, Selection, UndeleteReport, Waiting

MAX_FOUND = 1_000
AT_ONCE = 2_000

Flows = Mapping[str, Sequence[Flow]]
"""By the passive place's host name, a flow per store."""


def undelete(pair: str, places: Flows, chosen: Selection, *, dry_run: bool) -> list[UndeleteReport]:
    """Bring deleted messages back out of the quarantine of each passive place, as waiting deletions."""
    return [_undelete(pair, host, flows, chosen, dry_run) for host, flows in places.items()]


def _undelete(pair: str, host: str, flows: Sequence[Flow], chosen: Selection, dry_run: bool) -> UndeleteReport:
    report = UndeleteReport(pair, host, 0, 0, planned=dry_run)
    for flow in flows:
        frame = flow.sink.link.request("sink.undelete", {"store": flow.sink.path}, timeout=PATIENCE)
        rows = [row for row in content(flow.sink.host, "quarantine", frame) or [] if _is_chosen(chosen, row)]
        report.chosen += len(rows)
        report.chosen_bytes += sum(int(row[6]) for row in rows)
        report.found += [Deleted(str(row[2]), str(row[3]), str(row[5]), int(row[6]), float(row[1])) for row in rows]
        if rows and not dry_run:
            wanted = [int(row[0]) for row in rows]
            for at in range(0, len(wanted), AT_ONCE):
                head = {"store": flow.sink.path, "restore": wanted[at : at + AT_ONCE]}
                done = flow.sink.link.request("sink.undelete", head, timeout=PATIENCE)
                report.restored += int(checked(flow.sink.host, "sink.undelete", done.head)["restored"])
            flow.refresh()
    del report.found[MAX_FOUND:]
    return report


def _is_chosen(chosen: Selection, row: Sequence[Any]) -> bool:
    _, at, account, folder, what, name, _ = row
    return (
        what == 0
        and (not chosen.account or fnmatch.fnmatchcase(str(account), chosen.account))
        and (not chosen.pattern or fnmatch.fnmatchcase(f"{folder}/{str(name).split(':', 1)[0]}", chosen.pattern))
        and (chosen.since is None or float(at) >= chosen.since)
        and (chosen.until is None or float(at) < chosen.until)
    )


def release(pair: str, places: Flows, waiting: str) -> int:
    """Let the waiting deletions of this id through; how many. Raises Refused when it isn't what waits now."""
    now: list[tuple[str, Waiting]] = []
    for host, flows in places.items():
        for flow in flows:
            flow.refresh()
            for each in flow.status.waiting:
                if each.id == waiting:
                    return flow.release(each.account)
                now.append((host, each))
    raise Refused(
        f"Under the id {waiting!r} no deletions of {pair} wait any more. {waits_now(now)}",
        remedy="An id stands for just the deletions that were shown with it; `mailmirror status` shows what waits now.",
    )


def waits_now(waiting: Sequence[tuple[str, Waiting]]) -> str:
    """What waits, each with its host, in a sentence."""
    if not waiting:
        return "Nothing waits now."
    each = [f"{held.count:,} of {held.account!r} on {host} (id {held.id})" for host, held in waiting]
    return f"What waits now: {', '.join(each)}."


def retire_vanished(
    account: str, active: str, facts: Sequence[Mapping[str, Any]], places: Flows, *, dry_run: bool
) -> int:
    """As `retire`, in whichever store the account has vanished from. Raises Refused while it is there."""
    for number, told in enumerate(facts):
        if account in told["missing"]:
            return retire([flows[number] for flows in places.values()], account, dry_run=dry_run)
    raise Refused(
        f"The account {account} hasn't vanished on {active}.",
        remedy="Remove it there first; `mailmirror status` lists vanished accounts.",
    )


def retire(flows: Sequence[Flow], account: str, *, dry_run: bool) -> int:
    """Let a vanished account's deletion through on one store's passive places; how many messages."""
    if dry_run:
        return _messages_of(flows, account)
    source = flows[0].source
    head = {"store": source.path, "account": account}
    count = int(source.link.request("source.retire", head, timeout=PATIENCE).head["messages"])
    for flow in flows:
        flow.pull()
        flow.refresh()
        if any(each.account == account for each in flow.status.waiting):
            flow.release(account)
    return count


def _messages_of(flows: Sequence[Flow], account: str) -> int:
    """How many messages of an account stand on the passive places, by the first of them."""
    for flow in flows:
        frame = flow.sink.link.request("sink.digests", {"store": flow.sink.path}, timeout=PATIENCE)
        found = lines(content(flow.sink.host, "lines", frame) or [])
        count = sum(line.messages for line in found.values() if line.account == account)
        if count:
            return count
    return 0


def turn(host: Host, link: Conversation, *, operation: str, epoch: int, active: str) -> bool:
    """Turn each store of a host to what it is in `epoch`, in which the place `active` is; whether any wasn't that yet.

    `link` holds none of the stores open, nor does anybody else. Raises LinkLost; AgentFault: that store is as it was.
    """
    role = "active" if host.place == active else "passive"
    head = {"operation": operation, "epoch": epoch, "role": role, "active": active}
    made = False
    for store in host.stores:
        answer = link.request("store.turn", {**head, "store": store.root}, timeout=PATIENCE)
        made |= bool(checked(host.name, "store.turn", answer.head)["made"])
    return made


def set_aside(places: Flows, *, dry_run: bool) -> list[str]:
    """Empty each passive place into its quarantine; sentences that say what was, or would be, put there.

    The stores have to be opened anew afterwards. Raises Refused while the source is in doubt.
    """
    done = []
    for host, flows in places.items():
        for flow in flows:
            if not flow.may_delete:
                doubt = flow.facts.get("trouble") or "its last scan wasn't whole"
                raise Refused(
                    f"The store on {flow.source.host} is in doubt: {doubt}",
                    remedy="Nothing is put aside on the mirror while its source can't be trusted.",
                )
            count, where = flow.set_aside(count_only=dry_run), f"{flow.sink.path} on {host}"
            goes = "would go" if dry_run else "went"
            done.append(f"{count:,} message{'' if count == 1 else 's'} in {where} {goes} into quarantine there")
    return done
