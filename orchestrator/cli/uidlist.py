"""`mailmirror uidlist check PATH...`: what is wrong with a uidlist, before Dovecot finds it.

Works alone: no inventory, no daemon, no second host. Reads the files that are named, or every
`dovecot-uidlist` and `courierimapuiddb` below the directories that are named, and says of each
problem what Dovecot would do about it and what to do instead.

Invariant: it only reads, and below a directory it follows no link. It repairs nothing: the good
copy of a broken uidlist stands on the other place, or in nobody's hands.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import NamedTuple

import click

from orchestrator.agent import beneath, names
from orchestrator.agent.uidlist import Kind, Problem, UidList, parse
from orchestrator.agent.uidwrite import NEAR_THE_END
from orchestrator.agent.wire import text
from orchestrator.cli import words
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import NothingToDo, NotPermitted, UsageError

RENUMBERS = "Dovecot deletes the file and numbers every message anew under the same UIDVALIDITY"
TAKE_ANOTHER = "stop Dovecot for this account, put the other place's file here, and start it again"

ADVICE: dict[Kind, tuple[str, str]] = {
    Kind.TORN: (
        "Dovecot appends its next row to this line, and gives the messages of both new UIDs later",
        "stop Dovecot for this account, cut the file after its last newline, and start it again",
    ),
    Kind.GARBAGE: (RENUMBERS, f"{TAKE_ANOTHER}; without one, remove this line"),
    Kind.ZERO: (RENUMBERS, f"{TAKE_ANOTHER}; without one, remove this line"),
    Kind.DISORDER: (RENUMBERS, f"{TAKE_ANOTHER}; without one, sort the rows by UID"),
    Kind.CLASH: (RENUMBERS, f"{TAKE_ANOTHER}; without one, remove the row whose message is gone"),
    Kind.HEADER: (RENUMBERS, TAKE_ANOTHER),
    Kind.TWICE: ("Dovecot warns, keeps the last row and rewrites the file", "nothing: it mends itself"),
    Kind.FIELD: ("Dovecot logs an error, drops the field and rewrites the file", "nothing: it mends itself"),
}
NO_GUID = ("Dovecot makes a GUID and rewrites the file", "nothing: it mends itself")


class Beside(NamedTuple):
    """How the rows and the messages in cur and new beside the file agree, in numbers."""

    rows_without_message: int
    messages_without_row: int
    names_twice: int


class Report(NamedTuple):
    """One uidlist. `beside` is None where no cur and new stand beside it (a control directory)."""

    path: bytes
    listing: UidList
    beside: Beside | None

    @property
    def problems(self) -> list[Problem]:
        """What has to be mended, by line. What Dovecot mends itself is among the notes."""
        wrong = [problem for problem in self.listing.problems if problem.fatal or problem.kind is Kind.TORN]
        return sorted(wrong, key=lambda problem: problem.line)

    @property
    def notes(self) -> list[str]:
        listing, beside = self.listing, self.beside
        notes = [_sentence(problem) for problem in listing.problems if problem not in self.problems]
        if listing.next_uid >= NEAR_THE_END:
            notes.append(f"the next UID is {listing.next_uid}: more than half of all UIDs are used up")
        if beside and beside.rows_without_message:
            rows = words.counted(beside.rows_without_message, "row")
            notes.append(f"{rows} without a message: harmless, they were expunged")
        if beside and beside.messages_without_row:
            messages = words.counted(beside.messages_without_row, "message")
            notes.append(f"{messages} without a row: Dovecot gives them the next UIDs")
        if beside and beside.names_twice:
            twice = words.counted(beside.names_twice, "name")
            notes.append(f"{twice} in both new and cur, or twice in one: Dovecot makes a new message of the second")
        return notes


@click.group()
def command() -> None:
    """Look after Dovecot's and Courier's uidlists; needs no inventory."""


@command.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@style_option
@click.pass_obj
def check(front: Front, paths: tuple[str, ...]) -> int:
    """Check the uidlists that are named, or all below the directories that are named.

    Exit code 0: all are sound. 1: some aren't.
    """
    checked = broken = noted = 0
    shown: list[dict[str, object]] = []
    for report in (report for path in paths for report in reports(path)):
        checked, broken, noted = checked + 1, broken + len(report.problems), noted + len(report.notes)
        if front.style == "json":
            shown.append(as_json(report))
        else:
            print("".join(line + "\n" for line in as_lines(report)), end="")
    if not checked:
        raise NothingToDo("no uidlist below " + ", ".join(paths), remedy="Name a file, or an account's directory.")
    if front.style == "json":
        print(json.dumps(shown, indent=1))
    else:
        counts = (words.counted(checked, "uidlist"), words.counted(broken, "problem"), words.counted(noted, "note"))
        print("checked {}: {}, {}".format(*counts))
    return 1 if broken else 0


def reports(path: str) -> Iterator[Report]:
    """A report for the uidlist at `path`, or for each one below it. Raises UsageError."""
    try:
        if os.path.isdir(path):
            yield from _below(path)
        else:
            parent, name = os.path.split(path)
            with beneath.Root(parent or ".") as root:
                yield _report(root, b"", os.fsencode(name), os.fsencode(path))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: {error.strerror}", remedy="Name a file or a directory that is there.") from error
    except (beneath.Outside, beneath.NotRegular) as error:
        raise UsageError(f"{path}: {error}", remedy="Name the file itself, not a link to it.") from error
    except PermissionError as error:
        raise NotPermitted(f"{os.fsdecode(error.filename or path)}: {error.strerror}") from error


def as_lines(report: Report) -> list[str]:
    """The report as lines: path:line: KIND: what; what Dovecot would do; remedy."""
    where = _printable(report.path)
    lines = [f"{where}:{problem.line}: {_sentence(problem)}" for problem in report.problems]
    return lines + [f"{where}: note: {note}" for note in report.notes]


def as_json(report: Report) -> dict[str, object]:
    """The report for programs. Numbers are None where they can't be known."""
    listing, beside = report.listing, report.beside
    return {
        "path": _printable(report.path),
        "version": listing.header.version,
        "uidvalidity": listing.uidvalidity,
        "next_uid": listing.next_uid,
        "rows": len(listing.uids),
        "usable": listing.usable,
        "problems": [_problem_as_json(problem) for problem in report.problems],
        "notes": report.notes,
        "rows_without_message": beside.rows_without_message if beside else None,
        "messages_without_row": beside.messages_without_row if beside else None,
        "names_twice": beside.names_twice if beside else None,
    }


def _problem_as_json(problem: Problem) -> dict[str, object]:
    consequence, remedy = _advice(problem)
    return {
        "line": problem.line,
        "kind": problem.kind.value,
        "what": problem.what,
        "fatal": problem.fatal,
        "consequence": consequence,
        "remedy": remedy,
    }


def _below(path: str) -> Iterator[Report]:
    top = os.fsencode(path)
    with beneath.Root(path) as root:
        for directory, folders, files in os.walk(top, onerror=_unless_gone):
            folders[:] = sorted(folder for folder in folders if names.enters(folder))
            inside = b"" if directory == top else os.path.relpath(directory, top)
            for name in sorted(files):
                if names.is_uidlist(name):
                    report = _found(root, inside, name, os.path.join(directory, name))
                    yield from (report,) if report else ()


def _found(root: beneath.Root, inside: bytes, name: bytes, path: bytes) -> Report | None:
    """The report of a file that the walk came by; None when it is a link, or gone meanwhile."""
    try:
        return _report(root, inside, name, path)
    except (FileNotFoundError, beneath.Outside, beneath.NotRegular):
        return None


def _unless_gone(error: OSError) -> None:
    """A directory that vanishes while a live store is walked is nothing to speak of; any other error is."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _report(root: beneath.Root, folder: bytes, name: bytes, path: bytes) -> Report:
    with os.fdopen(beneath.open_file(root.open_dir(folder), name), "rb") as file:
        listing = parse(file.read())
    return Report(path, listing, _beside(root, folder, listing))


def _beside(root: beneath.Root, folder: bytes, listing: UidList) -> Beside | None:
    """The numbers of the folder's own messages; None when it holds none (or can't)."""
    prefix = folder + b"/" if folder else b""
    found: list[bytes] = []
    try:
        for place in (b"new", b"cur"):
            found += (name for name in beneath.entries(root.open_dir(prefix + place)) if names.is_message(name))
    except (FileNotFoundError, NotADirectoryError, beneath.Outside):
        return None
    bases = {names.split(name)[0] for name in found}
    rows = set(listing.bases)
    return Beside(len(rows - bases), len(bases - rows), len(found) - len(bases))


def _advice(problem: Problem) -> tuple[str, str]:
    if problem.kind is Kind.HEADER and not problem.fatal:
        return NO_GUID
    return ADVICE[problem.kind]


def _sentence(problem: Problem) -> str:
    consequence, remedy = _advice(problem)
    return f"{problem.kind.value.upper()}: {problem.what}; {consequence}; {remedy}"


def _printable(path: bytes) -> str:
    """A path of any bytes on one line."""
    return words.safe(text(path))
