"""What the commands print: from the JSON of an answer to the sentences and tables that people read.

It takes plain JSON values, as the daemon sends them and `--format json` shows them, so that
the ordinary and the short way print the same, and imports next to nothing (see `fast`).
`show` prints and gives the exit code; everything else makes strings.
"""

from __future__ import annotations

import json
import os
import sys
import time

from orchestrator.cli import wellness
from orchestrator.replication.lateness import is_late

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    Row = dict[str, Any]

SHOWN_DIFFERENCES = 50
UNITS = ("B", "kB", "MB", "GB", "TB")


def show(verb: str, told: Any, style: str) -> int:
    """Print an answer to a verb in the style (table or json); its exit code."""
    sys.stdout.write(text(verb, told, style))
    sys.stdout.flush()
    return EXITS[verb](told) if verb in EXITS else 0


def text(verb: str, told: Any, style: str) -> str:
    """What `show` prints."""
    return json.dumps(told, indent=2) + "\n" if style == "json" else TABLES[verb](told)


def failure(message: str, remedy: str) -> str:
    """An error, and what to do next, for stderr. Names in it may come from a mail host: only line breaks act."""
    lines = [printable(line) for line in f"mailmirror: {message}".split("\n")]
    return "\n".join([*lines, *(f"  {printable(line)}" for line in remedy.split("\n") if remedy)]) + "\n"


def printable(text: str) -> str:
    """The text with everything escaped that could act on a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def abandon_stdout() -> None:
    """Nobody reads stdout any more: let what is still buffered go nowhere, quietly (Python's docs, note on SIGPIPE)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def size(count: float) -> str:
    """Bytes, for people: 1.2 MB."""
    for unit in UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {UNITS[-1]}"


def span(seconds: float) -> str:
    """A duration, for people: 0.24 s, 12 s, 5 min, 3 h, 2 days."""
    if seconds < 10:
        return f"{seconds:.2f} s" if seconds else "0 s"
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} days"


def moment(when: float | None, none: str = "-") -> str:
    """A point in time in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when)) if when else none


def safe(text: str) -> str:
    """A text that may hold bytes of file names (`agent.wire.text`), so that nothing in it acts on a terminal."""
    try:
        text = text.encode("latin-1").decode()
    except UnicodeError:  # it isn't a byte string, or not one of UTF-8: shown as it is
        text = str(text)
    return printable(text)


def counted(count: int, one: str, many: str = "") -> str:
    """1 message, 2,000 messages."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns, as wide as they need to be, two spaces apart."""
    rows = [[safe(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    )
    return "\n".join(lines) + "\n"


# -- sync ------------------------------------------------------------------------------------------


def sync(reports: list[Row]) -> str:
    return "".join(_sync_one(report) for report in reports)


def _sync_one(report: Row) -> str:
    pair, host, tally = report["pair"], safe(report["host"]), report["tally"]
    done = changes(tally)
    if report["planned"]:
        text = f"{pair}: {host} {'would get ' + done if done else 'has everything'}.\n"
    else:
        what = f"{host} got {done}" if done else f"nothing had changed for {host}"
        text = f"{pair}: {what}, in {span(report['seconds'])}.\n"
        text += f"  On the wire: {size(report['bytes_received'])} received, {size(report['bytes_sent'])} sent.\n"
    if tally["waiting"]:
        text += f"  {counted(tally['waiting'], 'deletion')} held back: see `mailmirror status {pair}`.\n"
    return text + "".join(f"  Problem: {safe(problem)}\n" for problem in report["problems"])


def changes(tally: Row) -> str:
    """What a pass did or would do, in words; empty for nothing."""
    parts = []
    if tally["messages"]:
        parts.append(f"{counted(tally['messages'], 'message')} ({size(tally['message_bytes'])})")
    for key, one, many in (
        ("linked", "move or copy", "moves and copies"),
        ("renamed", "flag change", ""),
        ("folders", "new folder", ""),
        ("folders_renamed", "renamed folder", ""),
        ("sidecars", "sidecar file", ""),
        ("deleted", "deletion", ""),
    ):
        if tally[key]:
            parts.append(counted(tally[key], one, many))
    return ", ".join(parts)


def _sync_exit(reports: list[Row]) -> int:
    return 7 if any(report["problems"] or report["tally"]["refused"] for report in reports) else 0


# -- status ----------------------------------------------------------------------------------------

HEAD = ("PAIR", "STATE", "LINK", "ACTIVE HOST", "PASSIVE HOST", "PLACE", "LAG", "PENDING", "EQUAL AS OF", "HELD BACK")


def status(told: Row) -> str:
    """The table of pairs, and below it what is worth knowing, each with what to do about it."""
    now = time.time()
    rows = [row for pair in told["pairs"] for row in _status_rows(pair)]
    text = "".join(_status_notes(pair, now) for pair in told["pairs"])
    if told["stale"] and told.get("daemon"):
        text = f"{safe(told['daemon'])}\n" + text
    return table(HEAD, rows) + ("\n" + text if text else "")


def _status_rows(pair: Row) -> list[tuple[str, ...]]:
    state = pair.get("state", "-") + (" then" if pair.get("stale") and pair.get("state") else "")
    first = (pair["pair"], state, pair["link"], pair["active"] or "unknown")
    then = " then" if pair.get("stale") else ""
    rows: list[tuple[str, ...]] = []
    for passive in pair["passives"]:
        lag = passive["lag_seconds"]
        held = sum(waiting["count"] for waiting in passive["waiting"])
        rows.append(
            (
                *first,
                passive["host"],
                passive["place"],
                "unknown" if lag is None else span(lag) + then,
                f"{passive['pending']:,}{then}" if pair["taken_at"] else "unknown",
                moment(passive["equal_as_of"], "never"),
                counted(held, "deletion") if held else "-",
            )
        )
    return rows or [(*first, "-", "-", "unknown", "unknown", "never", "-")]


def _status_notes(pair: Row, now: float) -> str:
    name = pair["pair"]
    notes = list(_notes(pair, now))
    return "".join(f"{name}: {safe(note)}\n" + (f"    {safe(todo)}\n" if todo else "") for note, todo in notes)


def _notes(pair: Row, now: float) -> Iterator[tuple[str, str]]:
    """What is worth knowing beside the table, each with what to do about it."""
    name = pair["pair"]
    yield from _age(pair, now)
    if pair["trouble"]:
        yield pair["trouble"], pair["remedy"]
    if pair.get("state") and not pair.get("stale"):
        yield from wellness.decided(pair)
    if pair.get("health") and not pair.get("stale"):  # without a daemon nobody looks
        yield from wellness.lines(pair["health"], now)
    for passive in pair["passives"]:
        yield from _notes_on(passive, pair, now)
    for account in pair["missing_accounts"]:
        yield (
            f"The account {safe(account)} vanished from {pair['active']}; its copy is kept.",
            f"If that was meant: mailmirror account retire {name} {shell_word(account)} --accept-loss",
        )
    if pair["unstable_folders"]:
        yield f"Deletions wait in {counted(pair['unstable_folders'], 'folder')} whose listing doesn't hold still.", ""
    if pair["watch_why"] and pair["link"] in LINKED:
        yield f"Changes are noticed by {pair['watch']}: {pair['watch_why']}", ""
    if pair["not_used"]:
        yield f"Not used by this version: {', '.join(pair['not_used'])}.", ""


def _age(pair: Row, now: float) -> Iterator[tuple[str, str]]:
    """How old that is which is shown, where it isn't how the pair stands now."""
    seen, name = pair["taken_at"], pair["pair"]
    ago = f"{span(max(0.0, now - seen))} ago ({moment(seen)})"
    if pair.get("stale") and not seen:
        todo = f"A new pair begins with `mailmirror init {name}`, then `mailmirror sync {name}` or `mailmirror run`."
        yield "Nothing is known of it here: no pass was made yet, or what it saw was lost.", todo
    elif pair.get("stale"):
        by = f"as `{pair['seen_by']}` saw it last" if pair.get("seen_by") else "as it was seen last"
        yield f"This is {by}, {ago}; how it stands now isn't known.", ""
    elif pair["link"] not in LINKED and seen:
        yield f"There is no link now; this is as it was seen last, {ago}.", ""


LINKED = ("live", "catching up")


def _notes_on(passive: Row, pair: Row, now: float) -> Iterator[tuple[str, str]]:
    host, name = passive["host"], pair["pair"]
    linked, lag, rpo = pair["link"] in LINKED, passive["lag_seconds"], pair.get("rpo", 0.0)
    if is_late(rpo, lag, linked=linked, seen_at=pair["taken_at"], now=now):
        if linked and lag is not None:
            yield (
                f"{host} is behind: it lacks changes that are {span(lag)} old, and mm_rpo is {span(rpo)}.",
                f"{counted(passive['pending'], 'change')} to go. If that doesn't fall, look at the link and its disk.",
            )
        elif pair["taken_at"]:
            yield f"{host} may lack more than mm_rpo allows ({span(rpo)}): nothing has come to it since then.", ""
    for held in passive["waiting"]:
        what = f"{counted(held['count'], 'deletion')} of {safe(held['account'])}"
        since = f"held back since {moment(held['since'])}"
        todo = (
            f"The mail is still on {host}. If its deletion is meant: mailmirror ack {name} {held['id']} --accept-loss"
        )
        yield f"{what} {since}: {held['reason']}", todo
    if passive["sidecars_wait"]:
        what = counted(passive["sidecars_wait"], "sidecar (uidlist or the like)", "sidecars (uidlists and the like)")
        todo = "Stop it: a mirror's Dovecot is stopped normally. If it serves other mail, say mm_other_dovecot: true."
        yield f"{what} held back: a Dovecot runs on {host} that can reach the store.", todo
    for problem in passive["problems"]:
        yield f"{host}: {problem}", ""


def shell_word(text: str) -> str:
    """A word that can be typed to a shell (shlex would cost its imports)."""
    plain = text and all((c.isalnum() and c.isascii()) or c in "@%+=:,./-_" for c in text)
    return text if plain else "'" + text.replace("'", "'\\''") + "'"


# -- the other verbs -------------------------------------------------------------------------------


def verify(reports: list[Row]) -> str:
    return "".join(_verify_one(report) for report in reports)


def _verify_one(report: Row) -> str:
    what = f"{counted(report['messages'], 'message')} in {counted(report['folders'], 'folder')}"
    how = "names, flags, UIDs and bodies" if report["deep"] else "names, flags and UIDs"
    verdict = "is equal" if report["equal"] else f"differs in {counted(len(report['differences']), 'place')}"
    text = f"{report['pair']}: {safe(report['host'])} {verdict} ({how} of {what}, {span(report['seconds'])}).\n"
    if report["waiting"]:
        text += f"  {counted(report['waiting'], 'deletion')} held back: allowed for.\n"
    shown = report["differences"][:SHOWN_DIFFERENCES]
    text += "".join(f"  {safe(found['account'])} {safe(found['folder'])}: {safe(found['what'])}\n" for found in shown)
    if len(report["differences"]) > len(shown):
        text += f"  and {len(report['differences']) - len(shown):,} more; --format json shows all.\n"
    return text


def _verify_exit(reports: list[Row]) -> int:
    return 0 if all(report["equal"] for report in reports) else 1


def undelete(reports: list[Row]) -> str:
    return "".join(_undelete_one(report) for report in reports)


def _undelete_one(report: Row) -> str:
    host, chosen = (
        safe(report["host"]),
        f"{counted(report['chosen'], 'deleted message')} ({size(report['chosen_bytes'])})",
    )
    if not report["planned"]:
        text = f"{report['pair']}: {counted(report['restored'], 'message')} brought back on {host}.\n"
        return text + "".join(f"  Problem: {safe(problem)}\n" for problem in report["problems"])
    text = f"{report['pair']}: {chosen} on {host}.\n"
    rows = [
        (moment(found["deleted_at"]), found["account"], found["folder"], size(found["size"]), found["name"])
        for found in report["found"]
    ]
    if rows:
        text += table(("DELETED AT", "ACCOUNT", "FOLDER", "SIZE", "NAME"), rows)
    if report["chosen"] > len(rows):
        text += f"and {report['chosen'] - len(rows):,} more.\n"
    return text


def _undelete_exit(reports: list[Row]) -> int:
    if any(report["problems"] for report in reports):
        return 7
    return 0 if any(report["chosen"] for report in reports) else 3


def release(told: Row) -> str:
    return f"{counted(told['released'], 'deletion')} of {told['id']} may go on.\n"


def retire(told: Row) -> str:
    may = "would be deleted" if told["planned"] else "may be deleted"
    return f"{counted(told['messages'], 'message')} of {told['account']} {may} on the passive places.\n"


def init(told: Row) -> str:
    return "".join(f"{sentence}\n" for sentence in told["done"])


TABLES: dict[str, Callable[[Any], str]] = {
    "sync": sync,
    "status": status,
    "verify": verify,
    "undelete": undelete,
    "release": release,
    "retire": retire,
    "init": init,
}
EXITS: dict[str, Callable[[Any], int]] = {"sync": _sync_exit, "verify": _verify_exit, "undelete": _undelete_exit}
