"""Dynamic updates against the embedded server: the real protocol, over a real connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dns.message
import dns.rcode
import dns.tsig
import dns.update
import pytest

from orchestrator.demo.nameserver import NameServer, serving
from orchestrator.demo.nameserver import Zone as Served
from orchestrator.errors import HostUnreachable, NotPermitted, Refused, StillRunning
from orchestrator.traffic import lifetime
from orchestrator.traffic.dns import Key, Zone
from orchestrator.traffic.pointing import MX, Exchange, Mark, Plan, Sight
from orchestrator.traffic.switch import OLD, SHOWS, UNKNOWN, Arrival, Target, point_at
from tests.support.proofs import Fenced

pytestmark = pytest.mark.issue("4.4 DNS by RFC 2136 with TSIG")

KEY = Key("mailmirror", "hmac-sha256", b"0123456789abcdef")
LINES = (
    "@ 60 SOA ns postmaster 1 60 20 3600 5",
    "@ 60 NS ns",
    "@ 3600 MX 10 mail1",
    "@ 3600 MX 20 mail2",
    "@ 3600 MX 90 elsewhere.example.net.",
    "ns 60 A 127.0.0.1",
    "mail 300 A 192.0.2.10",
    "imap 300 A 192.0.2.10",
    "other 60 A 192.0.2.99",
)
TWO = (*LINES[:2], "@ 60 NS ns2", "ns2 60 A 127.0.0.2", *LINES[2:])
NS2 = "ns2.example.test"
MAIL1, MAIL2 = "mail1.example.test", "mail2.example.test"
HOME, AWAY = ("192.0.2.10",), ("192.0.2.20", "2001:db8::20")
FIRST, SECOND = Target(1, MAIL1, "primary", HOME), Target(2, MAIL2, "mirror", AWAY)
EXCHANGE = Exchange("example.test", (MAIL1, MAIL2), 10, 20)


@contextmanager
def served(lines: tuple[str, ...] = LINES) -> Iterator[NameServer]:
    with serving(Served("example.test", lines, KEY.ring, ["mail", "imap"], ["@"])) as server:
        yield server


@pytest.fixture
def server() -> Iterator[NameServer]:
    with served() as made:
        yield made


def zone(
    server: NameServer,
    key: Key = KEY,
    names: tuple[str, ...] = ("mail", "imap"),
    origin: str = "example.test",
    ttl: int = 60,
) -> Zone:
    return Zone("127.0.0.1", origin, names, key, port=server.port, seconds=2.0, ttl=ttl)


def following(server: NameServer, watch: tuple[str, ...] = ()) -> Zone:
    """One name, and the mail exchangers."""
    return Zone("127.0.0.1", "example.test", ("mail",), KEY, exchange=EXCHANGE, watch=watch, port=server.port)


def pointed(at: Zone, target: Target, proof: Fenced | None = None) -> Sight:
    """Move the names; what the update server says by then."""
    point_at(at, target, proof or Fenced.before(target), 5.0)
    return at.seen()[0]


def arrivals(at: Zone, plan: Plan, within: float = 0.3) -> dict[str, Arrival]:
    return {arrival.server: arrival for arrival in at.prove(plan, within)}


def test_what_the_servers_say_is_seen(server: NameServer) -> None:
    [sight] = zone(server).seen()
    assert sight.addresses == {"mail": ("192.0.2.10",), "imap": ("192.0.2.10",)}
    assert (sight.ttls, sight.serial, sight.mark, sight.trouble) == ({"mail": 300, "imap": 300}, 1, None, "")


@pytest.mark.issue("4.4 compare-and-swap on an epoch TXT in the same update; A AAAA; read back")
def test_the_names_move_with_the_epoch_and_are_read_back(server: NameServer) -> None:
    at = zone(server)
    assert pointed(at, FIRST).serial == 2
    sight = pointed(zone(server, ttl=30), SECOND)
    assert (sight.serial, sight.mark, sight.addresses["imap"]) == (3, Mark(2, MAIL2), AWAY)
    assert sight.ttls["mail"] == 30
    assert at.plan(SECOND).is_done
    assert pointed(at, Target(3, MAIL1, "primary", HOME)).addresses["mail"] == HOME, "the other's own address is gone"


@pytest.mark.issue("4.4 MX priorities in the same update")
def test_the_exchangers_preferences_follow_in_the_same_update(server: NameServer) -> None:
    at = following(server)
    first = pointed(at, FIRST)
    assert (first.serial, first.mx) == (2, ((10, MAIL1), (20, MAIL2), (90, "elsewhere.example.net")))
    second = pointed(at, SECOND)
    assert second.mx == ((10, MAIL2), (20, MAIL1), (90, "elsewhere.example.net")), "a third one is left alone"
    assert (second.serial, second.ttls[MX]) == (3, 60)


def test_a_host_is_the_same_exchanger_however_it_is_written() -> None:
    now = ((10, MAIL1), (20, MAIL2))
    assert EXCHANGE.led_by("Mail2.Example.TEST.", now) == EXCHANGE.led_by(MAIL2, now) == ((10, MAIL2), (20, MAIL1))


def test_an_exchanger_that_somebody_added_since_stops_the_change(server: NameServer) -> None:
    at = following(server)
    plan = at.plan(FIRST)
    server.zone.put("@ 3600 MX 30 third")
    with pytest.raises(Refused, match="isn't at the epoch, or not as, this change was planned on"):
        at.apply(plan, Fenced.before(FIRST))
    assert at.seen()[0].mark is None
    assert (30, "third.example.test") in pointed(at, FIRST).mx


@pytest.mark.issue("4.4 nothing is applied without a proof object")
def test_without_a_proof_of_the_old_place_nothing_moves(server: NameServer) -> None:
    at = zone(server)
    pointed(at, FIRST)
    before, plan = at.seen(), at.plan(SECOND)
    for proof in (None, Fenced(MAIL2, 2), Fenced(MAIL1, 1), Fenced("mail3.example.test", 2)):
        with pytest.raises(Refused, match="Users aren't sent to mail2"):
            at.apply(plan, proof)
    assert at.seen() == before
    at.apply(plan, Fenced(MAIL1, 2))


@pytest.mark.issue("4.P an old epoch, a second controller with a stale state: refused, told, nothing changed")
def test_a_controller_that_slept_changes_nothing(server: NameServer) -> None:
    at = zone(server)
    pointed(at, FIRST)
    stale = at.plan(SECOND)
    pointed(at, Target(2, "mail3.example.test", "mirror", ("192.0.2.30",)), Fenced(MAIL1, 2))
    before = at.seen()
    with pytest.raises(Refused, match="isn't at the epoch"):
        at.apply(stale, Fenced(MAIL1, 2))
    assert at.seen() == before
    with pytest.raises(Refused, match="The zone is at epoch 2 with mail3"):
        at.plan(SECOND)


def test_two_first_changes_at_once_are_one_change(server: NameServer) -> None:
    at = zone(server)
    plan = at.plan(FIRST)
    pointed(at, Target(1, "elsewhere.example.test", "mirror", AWAY))
    with pytest.raises(Refused, match="isn't at the epoch"):
        at.apply(plan, Fenced.before(FIRST))


def test_a_change_whose_answer_was_lost_may_be_sent_again(server: NameServer) -> None:
    at = following(server)
    plan = at.plan(FIRST)
    at.apply(plan, Fenced.before(FIRST))
    at.apply(plan, Fenced.before(FIRST))
    assert at.seen()[0].serial == 2


@pytest.mark.issue("4.4 rights dry-run by the false-prerequisite flip")
def test_rights_are_told_and_nothing_changes(server: NameServer) -> None:
    before = zone(server).seen()
    assert zone(server).rights() == following(server).rights() == "yes"
    with pytest.raises(NotPermitted, match="refuses the key mailmirror: REFUSED") as caught:
        zone(server, names=("other",)).rights()
    assert "Grant it A, AAAA and TXT for other and below" in caught.value.remedy
    server.zone.grant(["mail"], [])
    with pytest.raises(NotPermitted) as caught:
        following(server).rights()
    assert "and MX for example.test" in caught.value.remedy
    assert zone(server).seen() == before


@pytest.mark.issue("4.P DNS server refusing: no flip")
@pytest.mark.issue("4.4 rcode checked")
@pytest.mark.parametrize(
    "key", [Key("mailmirror", "hmac-sha256", b"another"), Key("stranger", "hmac-sha256", b"0123456789abcdef")]
)
def test_a_key_that_the_server_doesnt_know_changes_nothing(server: NameServer, key: Key) -> None:
    before = zone(server).seen()
    with pytest.raises(Refused, match="isn't signed"):
        pointed(zone(server, key), SECOND)
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
            pointed(zone(server), FIRST)
        with pytest.raises(Refused, match="isn't signed"):
            zone(server).rights()


def test_an_update_with_one_name_that_isnt_granted_changes_none(server: NameServer) -> None:
    before = zone(server).seen()
    with pytest.raises(NotPermitted):
        pointed(zone(server, names=("mail", "other")), SECOND)
    assert zone(server).seen() == before


def test_a_server_that_isnt_the_zones_is_told(server: NameServer) -> None:
    with pytest.raises(Refused, match="isn't authoritative for other"):
        zone(server, origin="other.test").seen()


def test_a_name_that_is_an_alias_moves_nothing() -> None:
    with (
        served((*LINES, "pop 60 CNAME mail")) as made,
        pytest.raises(Refused, match=r"pop\.example\.test\. is an alias"),
    ):
        zone(made, names=("mail", "pop")).plan(FIRST)


@pytest.mark.issue("4.P DNS server away: no flip")
def test_a_server_that_is_away_is_unreachable() -> None:
    away = Zone("127.0.0.1", "example.test", ["mail"], KEY, port=1, seconds=1.0)
    with pytest.raises(HostUnreachable, match="doesn't answer"):
        away.seen()
    with pytest.raises(HostUnreachable):
        away.rights()


@pytest.mark.issue("4.4 read back from every authoritative server")
@pytest.mark.issue("4.P DNS secondary lagging: no flip without proof")
def test_a_server_that_lags_keeps_the_change_unproven() -> None:
    frozen = Served("example.test", TWO, KEY.ring, [])
    with served(TWO) as first, serving(frozen, "127.0.0.2", first.port):
        at = zone(first)
        with pytest.raises(StillRunning, match=r"isn't proven: ns2\.example\.test: serial 1, no epoch; the zone is"):
            point_at(at, FIRST, Fenced.before(FIRST), 0.5)
        for excused in ((), (NS2,)):
            with pytest.raises(Refused, match="The name servers disagree"):
                at.plan(SECOND, excused)


def test_a_name_server_without_an_address_is_no_server_less() -> None:
    lines = (*LINES, "@ 60 NS nowhere", "@ 60 NS nowhere.invalid.")
    with served(lines) as first:
        seen = {sight.server: sight.trouble for sight in zone(first).seen()}
    assert set(seen) == {"127.0.0.1", "nowhere.example.test", "nowhere.invalid"}
    assert all("has no address" in trouble for server, trouble in seen.items() if server != "127.0.0.1")


@pytest.mark.issue("4.4 observed propagation measured")
def test_propagation_is_told_per_server_and_a_resolver_counts_for_nothing() -> None:
    late, memory = (Served("example.test", TWO, KEY.ring, []) for _ in range(2))
    with served(TWO) as first, serving(late, "127.0.0.2", first.port), serving(memory, "127.0.0.4", first.port):
        at = following(first, watch=("127.0.0.4",))
        plan = at.plan(FIRST)
        at.apply(plan, Fenced.before(FIRST))
        timer = threading.Timer(0.4, late.follow, [first.zone])
        timer.start()
        found = {arrival.server: arrival for arrival in at.prove(plan, 10.0, patient=True)}
        timer.join()
        here, there = found["127.0.0.1"], found[NS2]
        assert (here.state, there.state, found["127.0.0.4"].state) == (SHOWS, SHOWS, SHOWS)
        assert here.seconds is not None and there.seconds is not None and here.seconds < there.seconds < 10.0
        assert there.seconds >= 0.3, "no earlier than it came, but for the threads' start"
        assert (here.counts, there.counts, found["127.0.0.4"].counts) == (True, True, False)
        memory.put("mail 300 A 192.0.2.77")
        assert arrivals(at, plan)["127.0.0.4"].state == OLD
        began = time.monotonic()
        point_at(at, FIRST, None, 60.0)
        assert time.monotonic() - began < 30, "nobody waits for a resolver that remembers"


def test_a_name_server_that_is_away_stops_a_change_before_it_begins_unless_it_is_excused() -> None:
    with served(TWO) as first:
        at = zone(first)
        with pytest.raises(Refused, match=r"Not every name server answers: ns2\.example\.test:"):
            at.plan(FIRST)
        plan = at.plan(FIRST, [NS2])
        at.apply(plan, Fenced.before(FIRST))
        away = arrivals(at, plan)[NS2]
        assert (away.state, away.seconds, away.counts) == (UNKNOWN, None, False)


def test_one_that_went_away_since_it_was_planned_is_unknown_and_not_proven() -> None:
    with served(TWO) as first:
        with serving(Served("example.test", TWO, KEY.ring, []), "127.0.0.2", first.port):
            plan = zone(first).plan(FIRST)
        zone(first).apply(plan, Fenced.before(FIRST))
        away = arrivals(zone(first), plan)[NS2]
        assert (away.state, away.seconds, away.counts) == (UNKNOWN, None, True)


@pytest.mark.parametrize(
    "text", ["v=mailmirror2 epoch=1", "v=mailmirror1 epoch=-1 active=x", "v=mailmirror1 epoch=1 active="]
)
def test_an_epoch_that_cant_be_read_stops_everything(text: str) -> None:
    with (
        served((*LINES, f'_mailmirror.mail 60 TXT "{text}"')) as made,
        pytest.raises(Refused, match="epoch can't be read"),
    ):
        zone(made).plan(FIRST)


def test_other_texts_beside_the_epoch_are_left_alone() -> None:
    with served((*LINES, '_mailmirror.mail 60 TXT "somebody\'s note"')) as made:
        assert zone(made).seen()[0].mark is None
        with pytest.raises(Refused):
            pointed(zone(made), FIRST)


@pytest.mark.issue("4.4 TTL lowered ahead and restored")
def test_times_to_live_are_lowered_counted_on_and_restored(server: NameServer) -> None:
    at = following(server)
    lower = lifetime.lowering(at.seen(), 60, 1000.0)
    assert lower is not None
    at.apply(lower)
    stamp = lifetime.lowering(at.seen(), 60, 1000.0)
    assert stamp is not None
    at.apply(stamp)
    another = following(server)  # which knows what the zone says, and nothing else
    [seen] = another.seen()
    assert (seen.ttls, seen.mark) == ({"mail": 60, MX: 60}, None)
    assert lifetime.held(seen).since == 1001 + 3600
    assert pointed(another, FIRST).lowered == seen.lowered, "a move leaves the note"
    back = lifetime.restoring(another.seen())
    assert back is not None
    another.apply(back)
    [seen] = another.seen()
    assert (seen.ttls, seen.lowered, seen.mark) == ({"mail": 300, MX: 3600}, None, Mark(1, MAIL1))
    assert lifetime.restoring(another.seen()) is None


def test_a_lowering_that_was_planned_before_a_move_changes_nothing(server: NameServer) -> None:
    at = zone(server)
    lower = lifetime.lowering(at.seen(), 60, 1000.0)
    assert lower is not None
    pointed(at, FIRST)
    before = at.seen()
    with pytest.raises(Refused, match="isn't at the epoch"):
        at.apply(lower)
    assert at.seen() == before


def test_a_note_longer_than_a_string_of_dns_is_kept_whole() -> None:
    names = tuple(f"a-name-that-is-quite-long-{number}" for number in range(20))
    lines = (*LINES, *(f"{name} 300 A 192.0.2.10" for name in names))
    with serving(Served("example.test", lines, KEY.ring, names)) as made:
        note = pointed(zone(made, names=names), FIRST).lowered
        assert note is not None and dict(note.was) == dict.fromkeys(names, 300)


def test_the_key_is_hmac_sha256_as_named() -> None:
    assert KEY.ring.algorithm == dns.tsig.HMAC_SHA256
