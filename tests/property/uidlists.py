"""Uidlists for hypothesis: sound ones, and a plain reading of them."""

from __future__ import annotations

from hypothesis import strategies as st

HEADER = b"3 V1700000000 N1 G0123456789abcdef0123456789abcdef\n"

BASES = st.one_of(
    st.integers(0, 999).map(lambda number: b"17%d.M%dP7.h,S=%d" % (number, number, number)),
    st.binary(min_size=1, max_size=12).map(lambda raw: raw.translate(None, b":/\r\n\0") or b"x"),
)
FIELDS = st.lists(st.sampled_from([b"S12", b"W345", b"P1.2:3", b"O1", b"Gab", b"Z"]), max_size=3)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A sound file of version 3: rising UIDs, every base once, a next UID that may be behind the rows."""
    bases = draw(st.lists(BASES, unique=True, max_size=12))
    uid, lines = 0, []
    for base in bases:
        uid += draw(st.integers(1, 5))
        fields = b"".join(b" " + field for field in draw(FIELDS))
        lines.append(b"%d%s :%s\n" % (uid, fields, base))
    next_uid = draw(st.integers(1, uid + 10))
    return HEADER.replace(b" N1 ", b" N%d " % next_uid) + b"".join(lines)


def rows_of(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """(UID, base, line) of each row, read without any of our own code. Only for sound files of version 3."""
    rows = []
    for line in data.split(b"\n")[1:-1]:
        uid, rest = line.split(b" ", 1)
        base = rest[1:] if rest.startswith(b":") else rest[rest.index(b" :") + 2 :]
        rows.append((int(uid), base, line + b"\n"))
    return rows
