"""Which words of a server are positive answers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.oracle.answers import EARS, Ear, ear

SMTP = "S220 hi\nCEHLO x\nS250-a\nS250 b\n"
POP = "S+OK hi\nCUSER u\nS+OK\nCPASS p\n"
IMAP = "S* OK hi\nCa LOGIN u p\n"
LITERALS = """S=a OK in
Cb APPEND INBOX {12}
S+ go
Cx OK a
b O
C
S=b OK
Cc FETCH 1 BODY[]
S* 1 FETCH (BODY[] {9}
Sd OK no
S)
S=c OK
"""
LMTP = """S220
CLHLO x
S250 b
CMAIL
S250
CRCPT a
S250
CRCPT b
S250
CRCPT c
S550
CDATA
S354
C.
S=250 a has it
S450 b is full
CQUIT
S221
"""
TALKS: dict[str, tuple[str, str]] = {
    # Each line: who said it; = marks a positive answer.
    "imap login and after": ("imap", IMAP + "S=a OK in\nCb NOOP\nS* 1 EXISTS\nS=b OK\nCc X\nSc BAD no\n"),
    "imap before a login": ("imap", "S* OK hi\nCa CAPABILITY\nS* CAPABILITY IMAP4\nSa OK\nCb NOOP\nSb OK\n"),
    "imap refused login": ("imap", IMAP + "Sa NO wrong\nCb NOOP\nSb OK not in\n"),
    "imap sasl": ("imap", "S* OK hi\nCa AUTHENTICATE PLAIN\nS+ \nCAGEA\nS=a OK in\n"),
    "imap preauth": ("imap", "S=* PREAUTH in\nCa NOOP\nS=a OK\n"),
    "imap literals": ("imap", IMAP + LITERALS),
    "pop3": ("pop3", POP + "S=+OK in\nCRETR 1\nS=+OK\nS+OK in a text\nS.\nCDELE 1\nS=+OK\n"),
    "pop3 refused": ("pop3", POP + "S-ERR\nCCAPA\nS+OK\nSUSER\nS.\n"),
    "pop3 lists": ("pop3", POP + "S=+OK\nCUIDL\nS=+OK\nS+OK\nS.\nCUIDL 1\nS=+OK 1 x\nCNOOP\nS=+OK\n"),
    "mx": ("smtp", SMTP + "CMAIL\nS250\nCRCPT\nS250\nCDATA\nS354\nC250 x\nC.\nS=250 taken\nCQUIT\nS221\n"),
    "mx refused": ("smtp", SMTP + "CMAIL\nS250\nCRCPT\nS250\nCDATA\nS354\nC.\nS451 later\nCRSET\nS250 ok\n"),
    "mx pipelined": ("smtp", SMTP + "CMAIL\nCRCPT\nCDATA\nS250\nS250\nS354\nC.\nCQUIT\nS=250 taken\nS221\n"),
    "mx nobody there": ("smtp", SMTP + "CMAIL\nCRCPT\nCDATA\nS250\nS550\nS554\nCRSET\nS250 ok\n"),
    "submission": ("submission", SMTP + "CAUTH LOGIN\nS334 x\nCdQ==\nS334 y\nCcA==\nS=235 in\nCMAIL\nS250\n"),
    "auth at an mx": ("smtp", SMTP + "CAUTH PLAIN x\nS235 in\n"),
    "lmtp": ("lmtp", LMTP),
    "sieve": ("sieve", 'S"IMPL" "x"\nSOK\nCAUTHENTICATE "PLAIN" "x"\nS=OK in\nCPUTSCRIPT "a" {5+}\nCOK a\nC\nS=OK\n'),
}


def listen(listener: Ear, talk: str) -> tuple[list[str], list[str]]:
    """(what was marked as positive, what was heard as such). A line without a mark belongs to the speaker before."""
    marked: list[str] = []
    heard: list[str] = []
    for who, positive, line in re.findall(r"([SC])(=?)([^\n]*\n(?:[^SC][^\n]*\n)*)", talk):
        data = line.replace("\n", "\r\n").encode()
        if who == "C":
            listener.from_client(data)
        else:
            marked += [line.strip()] if positive else []
            heard += listener.from_server(data)
    return marked, heard


@pytest.mark.parametrize("name", TALKS)
def test_exactly_the_positive_answers_are_heard(name: str) -> None:
    protocol, talk = TALKS[name]
    marked, heard = listen(ear(protocol), talk)
    assert heard == marked


@pytest.mark.parametrize("name", TALKS)
def test_it_does_not_matter_how_the_bytes_were_cut(name: str) -> None:
    protocol, talk = TALKS[name]
    listener = ear(protocol)
    heard: list[str] = []
    for who, _, line in re.findall(r"([SC])(=?)([^\n]*\n(?:[^SC][^\n]*\n)*)", talk):
        for byte in line.replace("\n", "\r\n").encode():
            if who == "C":
                listener.from_client(bytes([byte]))
            else:
                heard += listener.from_server(bytes([byte]))
    assert heard == listen(ear(protocol), talk)[0]


@pytest.mark.parametrize("protocol", ["imap", "submission", "pop3"])
def test_nothing_is_read_after_tls_began(protocol: str) -> None:
    listener = ear(protocol)
    listener.from_client(b"a LOGIN u p\r\nPASS x\r\nAUTH PLAIN x\r\n")
    listener.from_client(b"\x16\x03\x01\x02\x00")
    assert listener.encrypted
    assert listener.from_server(b"a OK\r\n+OK\r\n235 in\r\n") == []
    assert ear("imaps").encrypted


@given(st.sampled_from(sorted(EARS)), st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=20))
def test_no_bytes_at_all_break_an_ear(protocol: str, pieces: list[tuple[bool, bytes]]) -> None:
    listener = ear(protocol)
    for client, data in pieces:
        if client:
            listener.from_client(data)
        else:
            listener.from_server(data)
