"""Our verdict against Dovecot's reading, told again line by line: whatever we take, Dovecot takes.

The model follows maildir_uidlist_read_header and maildir_uidlist_next of Dovecot's maildir-uidlist.c (2.3.19): False
means that Dovecot unlinks the file and numbers everything anew. `tests/e2e/test_dovecot_uidlist.py` holds the same
against a real Dovecot.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.uidlist import Kind, parse, succession
from tests.property.uidlists import HEADER, files, rows_of

STRICTER = re.compile(
    rb"[\r\0]|\n0+[1-9]|::"
    rb"|\A[^\n]* ([VNG])[^\n]* \1"  # a header value twice: the last counts
    rb"|\A[^\n]* [VN][0-9]+[^0-9 \n]"  # a number with a tail: strtoul leaves it
    rb"|\A1 [^\n]*\n(?:[^\n]*\n)*[0-9]+ +:"  # version 1 and a name without a base
)
"""What Dovecot would read and we refuse all the same: bytes that no Dovecot writes, and that C reads in its own way."""


def dovecot_reads(data: bytes) -> bool:
    """Whether Dovecot keeps the file. The last line counts only with its newline."""
    lines = data.split(b"\n")[:-1]
    if not lines or re.match(rb"[13] ", lines[0]) is None:
        return False
    if lines[0][:1] == b"1":
        header = re.match(rb"1 +([0-9]+) +([0-9]+)", lines[0])
        validity, following = (int(header[1]), int(header[2])) if header else (0, 0)
    else:
        fields = {field[:1]: field[1:] for field in lines[0][2:].split(b" ") if field}
        if b"G" in fields and re.fullmatch(rb"[0-9a-fA-F]{32}", fields[b"G"]) is None:
            return False
        validity, following = (_strtoul(fields.get(key, b"")) for key in (b"V", b"N"))
    if not 0 < validity < 2**32 or not 0 < following < 2**32:
        return False
    before = 0
    for line in lines[1:]:
        uid = _row(line, lines[0][:1] == b"3")
        if uid <= before or uid >= 2**32 - 1 or (lines[0][:1] == b"1" and uid >= following):
            return False
        before = uid
    return True


def _strtoul(value: bytes) -> int:
    found = re.match(rb"[0-9]+", value)
    return int(found[0]) if found else 0


def _row(line: bytes, extended: bool) -> int:
    """The row's UID, or 0 where maildir_uidlist_next finds it invalid."""
    found = re.match(rb"([0-9]+) +", line)
    if found is None:
        return 0
    rest = line[found.end() :]
    while extended and rest and not rest.startswith(b":"):
        rest = rest.partition(b" ")[2].lstrip(b" ")
    name = rest[1:] if extended else rest
    return 0 if not name or b"/" in name else int(found[1])


LINES = st.one_of(
    st.from_regex(rb"[0-9]{1,2}( [A-Za-z:][a-z0-9]{0,2}){0,2} :[a-c/]{0,2}", fullmatch=True),
    st.from_regex(rb"[0-9]{1,2} [a-c/ ]{0,3}", fullmatch=True),
    st.sampled_from([b"", b"4294967294 :x", b"4294967295 :y", b"x", b"5", b" 1 :a", b"7 Sx"]),
)
HEADERS = st.one_of(
    st.just(HEADER[:-1]),
    st.from_regex(rb"[0-9] V[0-9]{0,2} N[0-9]{0,2}( G[0-9a-f]{2}| G[0-9a-f]{32})?( P[a-z]{2})?", fullmatch=True),
    st.from_regex(rb"1 [0-9]{1,2} [0-9]{1,2}", fullmatch=True),
)


@given(HEADERS, st.lists(LINES, max_size=5), st.sampled_from([b"", b"\n"]))
def test_whatever_we_take_dovecot_takes(header: bytes, lines: list[bytes], ending: bytes) -> None:
    data = b"\n".join([header, *lines]) + ending
    listing = parse(data)
    if listing.usable:
        assert dovecot_reads(data) and dovecot_reads(listing.data)
    elif STRICTER.search(data) is None:
        assert not dovecot_reads(data)


def mutations(data: bytes) -> st.SearchStrategy[bytes]:
    """The file after one accident: a byte flipped, a piece lost, a line doubled, lost, swapped or put in."""
    spot = st.integers(0, len(data) - 1)
    lines = data.split(b"\n")
    line = st.integers(0, len(lines) - 1)
    return st.one_of(
        st.builds(lambda at, byte: data[:at] + bytes([byte]) + data[at + 1 :], spot, st.integers(32, 126)),
        st.builds(lambda at, size: data[:at] + data[at + size :], spot, st.integers(1, 30)),
        st.builds(lambda at: b"\n".join([*lines[:at], lines[at], *lines[at:]]), line),
        st.builds(lambda at: b"\n".join([*lines[:at], *lines[at + 1 :]]), line),
        st.builds(lambda at, other: b"\n".join([*lines[:at], other, *lines[at:]]), line, LINES),
    )


@pytest.mark.issue("2.P uidlist never installed in a way that makes Dovecot renumber")
@given(files().flatmap(mutations))
def test_a_file_after_an_accident_is_taken_only_if_dovecot_takes_it(data: bytes) -> None:
    listing = parse(data)
    if listing.usable:
        assert dovecot_reads(listing.data)
    elif STRICTER.search(data) is None:
        assert not dovecot_reads(data)


def named(data: bytes) -> dict[int, bytes]:
    return {uid: base for uid, base, _ in rows_of(data)}


@pytest.mark.issue("2.P uidlist UID clash")
@given(files(), files())
def test_what_may_follow_never_gives_a_known_uid_to_another_message(old: bytes, new: bytes) -> None:
    """Two files of one mailbox with nothing to do with one another: only what agrees may follow."""
    before, after = parse(old), parse(new)
    problems = succession(before, after)
    clashes = {uid for uid, base in named(new).items() if uid < before.next_uid and named(old).get(uid) != base}
    assert bool(clashes) == any(problem.kind is Kind.CLASH for problem in problems)
    if not any(problem.fatal for problem in problems):
        assert after.next_uid >= before.next_uid and not clashes


@given(files(), st.data())
def test_what_a_mail_server_does_may_always_follow(data: bytes, draw: st.DataObject) -> None:
    """Appending, moving back and dropping rows of expunged messages, in any order and number."""
    before = parse(data)
    rows = rows_of(data)
    following = before.next_uid
    for step in draw.draw(st.lists(st.sampled_from(["append", "move back", "tidy"]), max_size=6)):
        if step == "tidy":
            last = {base: uid for uid, base, _ in rows}
            rows = [row for row in rows if last[row[1]] == row[0] and draw.draw(st.booleans())]
        elif step == "append" or rows:
            base = b"new%d" % following if step == "append" else draw.draw(st.sampled_from(rows))[1]
            rows.append((following, base, b"%d :%s\n" % (following, base)))
            following += draw.draw(st.integers(1, 3))
    header = HEADER.replace(b" N1 ", b" N%d " % following)
    after = parse(header + b"".join(line for _, _, line in rows))
    assert after.usable
    assert not [problem for problem in succession(before, after) if problem.fatal]
