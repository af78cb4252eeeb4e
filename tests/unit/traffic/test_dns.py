"""Dynamic updates against the embedded server: the real protocol, over a real connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dns.message
import dns.rcode
import dns.tsig
import dns.update
import pytest

from orchestrator.errors import HostUnreachable, NotPermitted, Refused, StillRunning
from orchestrator.traffic.dns import Key, Zone
from orchestrator.traffic.pointing import Mark, Plan, planned
from tests.support.nameserver import NameServer, serving
from tests.support.nameserver import Zone as Served

pytestmark = pytest.mark.issue("4.4 DNS by RFC 2136 with TSIG")

KEY = Key("mailmirror", "hmac-sha256", b"0123456789abcdef")
LINES = (
    "@ 60 SOA ns postmaster 1 60 20 3600 5",
    "@ 60 NS ns",
    "ns 60 A 127.0.0.1",
    "mail 300 A 192.0.2.10",
    "imap 300 A 192.0.2.10",
    "other 60 A 192.0.2.99",
)
FIRST, SECOND = Mark(1, "mail1.example.test"), Mark(2, "mail2.example.test")
HOME, AWAY = ("192.0.2.10",), ("192.0.2.20", "2001:db8::20")


@contextmanager
def served(lines: tuple[str, ...] = LINES) -> Iterator[NameServer]:
    with serving(Served("example.test", lines, KEY.ring, ["mail", "imap"])) as server:
        yield server


@pytest.fixture
def server() -> Iterator[NameServer]:
    with served() as made:
        yield made


def zone(
    server: NameServer, key: Key = KEY, names: tuple[str, ...] = ("mail", "imap"), origin: str = "example.test"
) -> Zone:
    return Zone("127.0.0.1", origin, names, key, port=server.port, seconds=2.0)


def pointed(at: Zone, mark: Mark, addresses: tuple[str, ...], ttl: int = 60) -> int:
    """Move the names; the serial that all servers have by then."""
    plan = planned(at.seen(), mark, addresses, ttl)
    assert plan is not None
    [sight] = at.point(plan, 5.0)
    return sight.serial


def test_what_the_servers_say_is_seen(server: NameServer) -> None:
    [sight] = zone(server).seen()
    assert sight.addresses == {"mail": ("192.0.2.10",), "imap": ("192.0.2.10",)}
    assert (sight.ttls, sight.serial, sight.mark, sight.trouble) == ({"mail": 300, "imap": 300}, 1, None, "")


@pytest.mark.issue("4.4 compare-and-swap on an epoch TXT in the same update; A AAAA; read back")
def test_the_names_move_with_the_epoch_and_are_read_back(server: NameServer) -> None:
    at = zone(server)
    assert pointed(at, FIRST, HOME) == 2
    assert pointed(at, SECOND, AWAY, 30) == 3
    [sight] = at.seen()
    assert (sight.mark, sight.addresses["imap"], sight.ttls["mail"]) == (SECOND, AWAY, 30)
    assert planned(at.seen(), SECOND, AWAY, 30) is None
    assert pointed(at, Mark(3, "mail1.example.test"), HOME) == 4
    assert at.seen()[0].addresses["mail"] == HOME, "the address that the other place had alone is gone"


@pytest.mark.issue("4.P an old epoch, a second controller with a stale state: refused, told, nothing changed")
def test_a_controller_that_slept_changes_nothing(server: NameServer) -> None:
    at = zone(server)
    pointed(at, FIRST, HOME)
    stale = planned(at.seen(), SECOND, AWAY, 60)
    assert stale is not None
    pointed(at, Mark(2, "mail3.example.test"), ("192.0.2.30",))
    before = at.seen()
    with pytest.raises(Refused, match="isn't at the epoch that this change was planned on"):
        at.point(stale, 1.0)
    assert at.seen() == before
    with pytest.raises(Refused, match="The zone is at epoch 2 with mail3"):
        planned(before, SECOND, AWAY, 60)


def test_two_first_changes_at_once_are_one_change(server: NameServer) -> None:
    at = zone(server)
    plan = planned(at.seen(), FIRST, HOME, 60)
    assert plan is not None
    pointed(at, Mark(1, "elsewhere.example.test"), AWAY)
    with pytest.raises(Refused, match="isn't at the epoch"):
        at.point(plan, 1.0)


def test_a_change_whose_answer_was_lost_may_be_sent_again(server: NameServer) -> None:
    at = zone(server)
    plan = planned(at.seen(), FIRST, HOME, 60)
    assert plan is not None
    assert at.point(plan, 1.0) == at.point(plan, 1.0)


@pytest.mark.issue("4.4 rights dry-run by the false-prerequisite flip")
def test_rights_are_told_and_nothing_changes(server: NameServer) -> None:
    before = zone(server).seen()
    assert zone(server).rights() == "yes"
    with pytest.raises(NotPermitted, match="refuses the key mailmirror: REFUSED") as caught:
        zone(server, names=("other",)).rights()
    assert "Grant it A, AAAA and TXT for other and below" in caught.value.remedy
    assert zone(server).seen() == before


@pytest.mark.issue("4.P DNS server refusing: no flip")
@pytest.mark.issue("4.4 rcode checked")
@pytest.mark.parametrize(
    "key", [Key("mailmirror", "hmac-sha256", b"another"), Key("stranger", "hmac-sha256", b"0123456789abcdef")]
)
def test_a_key_that_the_server_doesnt_know_changes_nothing(server: NameServer, key: Key) -> None:
    before = zone(server).seen()
    with pytest.raises(Refused, match="isn't signed"):
        zone(server, key).point(Plan(None, FIRST, AWAY, 60), 1.0)
    with pytest.raises(Refused, match="isn't signed"):
        zone(server, key).rights()
    assert zone(server).seen() == before


class Unsigned(Served):
    """Answers updates without a signature and applies none: what anybody on the way could do."""

    def __init__(self, code: dns.rcode.Rcode) -> None:
        super().__init__("example.test", LINES, KEY.ring, ["mail", "imap"])
        self.code = code

    def answer(self, wire: bytes) -> bytes:
        if isinstance(dns.message.from_wire(wire, keyring={KEY.ring.name: KEY.ring}), dns.update.UpdateMessage):
            return self._unsigned(wire, self.code)
        return super().answer(wire)


@pytest.mark.parametrize("code", [dns.rcode.NOERROR, dns.rcode.NXRRSET, dns.rcode.REFUSED])
def test_an_unsigned_answer_proves_nothing(code: dns.rcode.Rcode) -> None:
    with serving(Unsigned(code)) as server:
        with pytest.raises(Refused, match="isn't signed"):
            zone(server).point(Plan(None, FIRST, AWAY, 60), 1.0)
        with pytest.raises(Refused, match="isn't signed"):
            zone(server).rights()


def test_an_update_with_one_name_that_isnt_granted_changes_none(server: NameServer) -> None:
    before = zone(server).seen()
    with pytest.raises(NotPermitted):
        zone(server, names=("mail", "other")).point(Plan(None, FIRST, AWAY, 60), 1.0)
    assert zone(server).seen() == before


def test_a_server_that_isnt_the_zones_is_told(server: NameServer) -> None:
    with pytest.raises(Refused, match="isn't authoritative for other"):
        zone(server, origin="other.test").seen()


@pytest.mark.issue("4.P DNS server away: no flip")
def test_a_server_that_is_away_is_unreachable(server: NameServer) -> None:
    away = Zone("127.0.0.1", "example.test", ["mail"], KEY, port=1, seconds=1.0)
    with pytest.raises(HostUnreachable, match="doesn't answer"):
        away.seen()
    with pytest.raises(HostUnreachable):
        away.rights()


@pytest.mark.issue("4.4 read back from every authoritative server")
@pytest.mark.issue("4.P DNS secondary lagging: no flip without proof")
def test_a_server_that_lags_keeps_the_change_unproven(server: NameServer) -> None:
    second = (*LINES[:2], "@ 60 NS ns2", "ns2 60 A 127.0.0.2", *LINES[2:])
    frozen = Served("example.test", second, KEY.ring, [])
    with served(second) as first, serving(frozen, "127.0.0.2", first.port):
        at = zone(first)
        plan = planned(at.seen(), FIRST, AWAY, 60)
        assert plan is not None
        with pytest.raises(StillRunning, match=r"not every name server shows it yet: ns2\.example\.test\.: serial 1"):
            at.point(plan, 0.5)
        with pytest.raises(Refused, match="The name servers disagree"):
            planned(at.seen(), SECOND, HOME, 60)


def test_a_name_server_that_is_away_stops_a_change_before_it_begins() -> None:
    second = (*LINES[:2], "@ 60 NS ns2", "ns2 60 A 127.0.0.3", *LINES[2:])
    with served(second) as first, pytest.raises(Refused, match=r"Not every name server answers: ns2\.example\.test\."):
        planned(zone(first).seen(), FIRST, AWAY, 60)


@pytest.mark.parametrize(
    "text", ["v=mailmirror2 epoch=1", "v=mailmirror1 epoch=-1 active=x", "v=mailmirror1 epoch=1 active="]
)
def test_an_epoch_that_cant_be_read_stops_everything(text: str) -> None:
    with (
        served((*LINES, f'_mailmirror.mail 60 TXT "{text}"')) as made,
        pytest.raises(Refused, match="epoch can't be read"),
    ):
        zone(made).seen()


def test_other_texts_beside_the_epoch_are_left_alone() -> None:
    with served((*LINES, '_mailmirror.mail 60 TXT "somebody\'s note"')) as made:
        assert zone(made).seen()[0].mark is None
        with pytest.raises(Refused):
            zone(made).point(Plan(None, FIRST, AWAY, 60), 1.0)


def test_the_key_is_hmac_sha256_as_named() -> None:
    assert KEY.ring.algorithm == dns.tsig.HMAC_SHA256
