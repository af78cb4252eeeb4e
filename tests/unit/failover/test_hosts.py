"""Who looks at a place that has just been promoted: somebody else where there is anybody, and the place itself last."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from orchestrator.errors import HostUnreachable
from orchestrator.failover.hosts import Hosts
from orchestrator.inventory.model import Host, Pair
from orchestrator.readiness import asking
from orchestrator.remote.host import Conversation
from tests.unit.health.test_asked import PAIR, without


class Reading:
    """What was seen of a service: well, or how it failed."""

    def __init__(self, how: str) -> None:
        self.service, self.how, self.why = "imap", how, "refused" * bool(how)


class Lookers:
    """What each host would see; those that aren't named can't be reached."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pair: Pair, **sees: str) -> None:
        self.asked: list[str] = []
        self.world = Hosts(pair, cast(Any, None), open_link=self.open)
        self.sees = sees
        monkeypatch.setattr(asking, "looked", lambda link, *_: [Reading(self.sees[link.name])])

    def open(self, host: Host) -> Conversation:
        self.asked.append(host.name)
        if host.name not in self.sees:
            raise HostUnreachable(f"{host.name} doesn't answer")

        class Link:
            name = host.name
            lost = False

            def close(self) -> None:
                """Nothing is open."""

        return cast(Conversation, Link())


ALONE = without(PAIR, "wit", "vault")  # the controller is on the mirror


@pytest.mark.issue("5.2 who sees a promoted place from outside, in a pair without a witness too")
def test_a_witness_looks_and_else_the_other_mail_host_and_itself_only_when_that_is_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = Lookers(monkeypatch, PAIR, wit="", mail1="refused", mail2="refused")
    assert seen.world.outside("mirror", 1.0) == "" and seen.asked == ["wit"]
    seen = Lookers(monkeypatch, ALONE, mail1="", mail2="refused")
    assert seen.world.outside("mirror", 1.0) == "" and seen.asked == ["mail1"]
    seen = Lookers(monkeypatch, ALONE, mail1="refused", mail2="")
    assert "imap of mail2: refused" in seen.world.outside("mirror", 1.0), "what users see counts"
    seen = Lookers(monkeypatch, ALONE, mail2="")
    assert seen.world.outside("mirror", 1.0) == "" and seen.asked == ["mail1", "mail2"]
    seen = Lookers(monkeypatch, ALONE)
    with pytest.raises(HostUnreachable):
        seen.world.outside("mirror", 1.0)


def test_without_services_there_is_nothing_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Lookers(monkeypatch, replace(ALONE, services={}))
    assert "no services are said" in seen.world.outside("mirror", 1.0)
