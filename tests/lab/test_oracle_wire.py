"""Two places on the wire: a hand-over is none, and a second writer is found, in the clear and inside TLS."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.lab.oracle import witness
from tests.lab.oracle.journal import Began, Journal, now, read
from tests.lab.oracle.mailbox import Mailbox
from tests.lab.oracle.resolver import Resolver
from tests.lab.oracle.run import wire_of
from tests.lab.oracle.site import Place, Site
from tests.lab.oracle.stand import Stand
from tests.lab.oracle.table import lines
from tests.lab.oracle.verdict import Verdict, judge
from tests.lab.oracle.wire import trusting
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("oracle")]

SEED = 5


def mailbox(site: Site, number: int, journal: Journal, *, tls: bool) -> Mailbox:
    return Mailbox(site, site.users[number], journal, Resolver(site), trusting(site.ca) if tls else None)


@pytest.mark.issue("3.3 which place answered is told by the veth; a second writer is found")
@pytest.mark.parametrize("tls", [False, True], ids=["in the clear", "inside TLS"])
def test_a_second_writer_is_found_on_the_wire_and_a_hand_over_is_not_one(tmp_path: Path, tls: bool) -> None:
    require.root()
    one = Stand(tmp_path / "one", 2, post=False, name="primary")
    other = Stand(tmp_path / "other", 2, post=False, name="mirror")
    with one, other:
        places = (*one.site.places, *other.site.places)
        assert len({place.veth for place in places}) == 2
        orderly = _heard(one, other, places, tmp_path / "orderly", tls, intruder=False)
        assert orderly.of("second writer") == [], "\n".join(lines(orderly))
        assert set(orderly.serving) == {"primary", "mirror"}
        both = _heard(one, other, places, tmp_path / "both", tls, intruder=True)
        (found,) = both.of("second writer")
        assert found.about == "mirror and primary"


def _heard(one: Stand, other: Stand, places: tuple[Place, ...], place: Path, tls: bool, *, intruder: bool) -> Verdict:
    """A user of the primary, then one of the mirror; the intruder is a session that still lives on the primary."""
    place.mkdir()
    site = Site(**{**vars(one.site), "places": places})
    there = Site(**{**vars(other.site), "places": places})
    with witness.Standing(site, place / "wire"), Journal(place / "j") as journal:
        journal.write(Began(now(), time.time(), SEED, 0))
        old = mailbox(site, 0, journal, tls=tls)
        for number in range(3):
            old.append("INBOX", f"s{SEED}-{place.name}-{number}", ())
        new = mailbox(there, 1, journal, tls=tls)
        for number in range(3, 6):
            new.append("INBOX", f"s{SEED}-{place.name}-{number}", ())
        if intruder:
            old.append("INBOX", f"s{SEED}-{place.name}-9", ())
        for box in (old, new):
            box.disconnect()
    records = list(read(place / "j"))
    return judge(records, {}, wire_of(records, place / "wire", ()))
