"""A key is pinned only by a line that names the host and carries exactly that key."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.remote.known_hosts import Key, Pins, file_name, pins

ONE, TWO = Key("ssh-ed25519", b"one"), Key("ssh-rsa", b"two")


def line(names: str, key: Key, marker: str = "") -> str:
    return f"{marker} {names} {key.kind} {base64.b64encode(key.blob).decode()} a comment".strip()


@pytest.mark.parametrize(
    ("names", "asked", "pinned"),
    [
        ("mail1", "mail1", True),
        ("MAIL1", "mail1", True),
        ("mail1", "mail2", False),
        ("mail1,192.0.2.1", "192.0.2.1", True),
        ("[mail1]:2222", "[mail1]:2222", True),
        ("[mail1]:2222", "mail1", False),
        ("mail1", "[mail1]:2222", False),
        ("[mail1]:2222", "m", False),
        ("*.example.org", "mail1.example.org", True),
        ("*.example.org,!mail1.example.org", "mail1.example.org", False),
        ("!mail1.example.org,*.example.org", "mail1.example.org", False),
        ("mail?", "mail1", True),
        ("|1|c2FsdHNhbHRzYWx0c2FsdHNhbHQ=|AAAA", "mail1", False),
        ("|1|not base64|x", "mail1", False),
        ("|1|", "mail1", False),
    ],
)
def test_a_line_names_the_host_or_it_does_not(names: str, asked: str, pinned: bool) -> None:
    assert pins([line(names, ONE)], [asked]).accept(ONE) is pinned


def test_every_key_of_the_host_counts_and_no_other() -> None:
    found = pins([line("a", ONE), line("b", Key("ssh-ed25519", b"other")), line("a", TWO)], ["a"])
    assert found.kinds == ("ssh-ed25519", "ssh-rsa")
    assert found.accept(ONE) and found.accept(TWO)
    assert not found.accept(Key("ssh-ed25519", b"two")) and not found.accept(Key("ssh-ed25519", b"other"))


def test_a_revoked_key_is_never_accepted() -> None:
    found = pins([line("a", ONE), line("*", ONE, "@revoked")], ["a"])
    assert not found.accept(ONE)


def test_a_certificate_authority_pins_nothing() -> None:
    assert pins([line("*", ONE, "@cert-authority")], ["a"]) == Pins()


def test_the_address_comes_before_the_name_and_the_name_where_it_has_none() -> None:
    lines = [line("mail1", ONE), line("192.0.2.1", TWO)]
    assert pins(lines, ["192.0.2.1", "mail1"]).keys == (TWO,)
    assert pins(lines[:1], ["192.0.2.1", "mail1"]).keys == (ONE,)


def test_what_can_not_be_read_pins_nothing() -> None:
    lines = ["", "# a", "a", "a ssh-ed25519", "a ssh-ed25519 %%%", "@revoked", line("a", ONE)]
    assert pins(lines, ["a"]).keys == (ONE,)


@given(st.lists(st.text(), max_size=5))
def test_no_file_breaks_it(lines: list[str]) -> None:
    assert not pins(lines, ["mail1"]).accept(ONE)


def test_a_port_of_its_own_has_a_name_of_its_own() -> None:
    assert file_name("mail1", 22) == "mail1" and file_name("::1", 2222) == "[::1]:2222"


def test_what_ssh_keygen_hashes_is_found_and_fingerprints_are_its(tmp_path: Path) -> None:
    made = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", made], check=True)
    kind, blob, *_ = made.with_suffix(".pub").read_text().split()
    known = tmp_path / "known"
    known.write_text(f"[mail1]:2222 {kind} {blob}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", known], check=True, capture_output=True)
    assert "mail1" not in known.read_text()
    key = Key(kind, base64.b64decode(blob))
    assert pins(known.read_text().splitlines(), ["[mail1]:2222"]).accept(key)
    told = subprocess.run(["ssh-keygen", "-lf", made], check=True, capture_output=True, text=True).stdout
    assert key.fingerprint in told
