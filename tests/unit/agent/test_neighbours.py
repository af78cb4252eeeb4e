"""Frames about who has an address: byte for byte as the RFCs have them, and never taken from ourselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent import neighbours
from orchestrator.agent.neighbours import ANNOUNCE_AFTER, Claim, Told, announcing

OWN, OTHER = bytes.fromhex("02000a14000c"), bytes.fromhex("02000a14000b")
V4, V6 = "192.0.2.10", "2001:db8::10"
BOTH = pytest.mark.parametrize("address", [V4, V6])


@pytest.mark.issue("4.4 duplicate address detection, IPv4")
def test_an_arp_probe_asks_for_the_address_and_names_no_sender() -> None:
    """RFC 5227 1.1 and 2.1.1: sender address all zero, target hardware ignored."""
    assert neighbours.probe(OWN, V4).hex() == (
        "ffffffffffff02000a14000c0806" + "0001080006040001" + "02000a14000c" + "00000000" + "000000000000" + "c000020a"
    )


@pytest.mark.issue("4.4 duplicate address detection, IPv6")
def test_a_solicitation_comes_from_nobody_and_goes_to_the_groups_of_the_address() -> None:
    """RFC 4862 5.4.2; the checksum as tcpdump and Linux take it (the lab's hosts answer)."""
    frame = neighbours.probe(OWN, V6)
    assert frame[:14].hex() == "3333ff000010" + OWN.hex() + "86dd"
    assert frame[14:54].hex() == "6000000000183aff" + "00" * 16 + "ff0200000000000000000001ff000010"
    assert frame[54:56].hex() == "8700"
    assert frame[58:].hex() == "00000000" + "20010db8000000000000000000000010"
    assert summed(frame) == 0
    assert neighbours.group(V6) == frame[:6]


@pytest.mark.issue("4.4 gratuitous ARP request and reply")
def test_an_ipv4_address_is_announced_as_request_and_as_reply() -> None:
    request, reply = neighbours.announcements(OWN, V4)
    assert request[20:].hex() == "0001" + OWN.hex() + "c000020a" + "00" * 6 + "c000020a"
    assert reply[20:].hex() == "0002" + OWN.hex() + "c000020a" + OWN.hex() + "c000020a"


@pytest.mark.issue("4.4 unsolicited NA override")
def test_an_ipv6_address_is_announced_with_override_and_the_link_layer_address() -> None:
    [frame] = neighbours.announcements(OWN, V6)
    assert frame[:6].hex() == "333300000001"
    assert (frame[21], frame[54], frame[58]) == (255, 136, 0x20)
    assert frame[-8:].hex() == "0201" + OWN.hex()
    assert summed(frame) == 0


def summed(frame: bytes) -> int:
    """0 where an ICMPv6 checksum is right."""
    body = frame[54:]
    return neighbours.checksum(frame[22:54] + len(body).to_bytes(4, "big") + bytes((0, 0, 0, 58)) + body)


@BOTH
def test_whoever_has_the_address_is_told_with_its_mac(address: str) -> None:
    for frame in neighbours.announcements(OTHER, address):
        assert neighbours.claim(frame, [OWN], address) == Claim("02:00:0a:14:00:0b")
    assert neighbours.claim(neighbours.probe(OTHER, address), [OWN], address) == Claim("02:00:0a:14:00:0b", False)


@BOTH
def test_our_own_frames_and_those_about_other_addresses_are_no_claim(address: str) -> None:
    other = {V4: "192.0.2.11", V6: "2001:db8::11"}[address]
    for mac, about in ((OWN, address), (OTHER, other)):
        for frame in (neighbours.probe(mac, about), *neighbours.announcements(mac, about)):
            assert neighbours.claim(frame, [OWN], address) is None


def test_an_advertisement_that_was_routed_here_is_no_claim() -> None:
    [frame] = neighbours.announcements(OTHER, V6)
    assert neighbours.claim(frame[:21] + b"\xfe" + frame[22:], [OWN], V6) is None


@given(st.binary(max_size=120), st.sampled_from([V4, V6]))
def test_no_bytes_from_the_link_break_it(noise: bytes, address: str) -> None:
    kind = neighbours.protocol(address).to_bytes(2, "big")
    for frame in (noise, OTHER + OTHER + kind + noise):
        found = neighbours.claim(frame, [OWN], address)
        assert found is None or len(found.mac) == 17


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=60))
def test_an_address_is_told_at_once_five_times_in_half_a_minute_and_anew_when_the_cable_came_back(
    steps: list[tuple[float, bool]],
) -> None:
    now, changes = 100.0, 2
    sent: list[float] = []
    told: Told | None = None
    for passed, flapped in steps:
        now += passed
        if flapped:
            changes, sent = changes + 2, []
        yes, told = announcing(told, now, changes)
        sent += [now] if yes else []
        assert sent, "at once"
        assert len(sent) <= len(ANNOUNCE_AFTER)
        assert all(at - sent[0] >= after for at, after in zip(sent, ANNOUNCE_AFTER, strict=False))
    told = None
    said = []
    for tick in range(40):
        yes, told = announcing(told, tick / 10, 2, contested=True)
        said += [tick / 10] if yes else []
    assert said == [0.0, 1.0, 2.0, 3.0], "as long as another kernel answers as well"
    told = None
    ticks = [at / 10 for at in range(400)]
    said = []
    for at in ticks:
        yes, told = announcing(told, at, 2)
        said += [at] if yes else []
    assert said == list(ANNOUNCE_AFTER)
