"""A pair whose primary is lost and returns: copied, cut, promoted by hand, and brought home step by step.

The agents, stores and steps are the real ones; only markers are turned here, in the place of a journey. Nothing here
judges: the tests do.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.agent import marker
from orchestrator.agent.beneath import Root
from orchestrator.demo import mailbox
from orchestrator.demo.mailbox import INBOX
from orchestrator.replication import homecoming, reclaim
from orchestrator.replication.homecoming import Found, Outcome, Store
from orchestrator.replication.reclaim import Plan
from tests.support import pairs

ANN = "ex.org/ann"
OPERATION = "op-7"


def bodies(root: Path) -> list[bytes]:
    return sorted(facts[4] for facts in pairs.messages(root).values())


def turn(root: Path, role: str, epoch: int) -> None:
    with Root(str(root)) as opened:
        found = marker.read(opened)
        assert found is not None
        marker.write(opened, found._replace(role=role, epoch=epoch))


class Loss:
    """What is done to any pair whose primary is lost."""

    def __init__(self, laid: pairs.Laid) -> None:
        self.laid = laid

    def cut(self, operation: str = "op-6", epoch: int = 2) -> dict[str, object]:
        head = {"store": str(self.laid.mirror), "operation": operation, "epoch": epoch}
        told: dict[str, object] = self.laid.links["m"].request("sink.cut", head).head["cut"]
        return told

    def promote(self) -> None:
        self.cut()
        self.laid.end()
        turn(self.laid.mirror, marker.ACTIVE, 2)
        self.laid.open()

    def store(self, host: str) -> Store:
        path = self.laid.source if host == "p" else self.laid.mirror
        found = marker.look(str(path))
        assert found is not None
        return Store(self.laid.links[host], str(path), found.store, None, True)

    def look(self) -> Found:
        (cut,) = homecoming.cuts(self.store("m"))
        return Found.unpacked(homecoming.look(self.store("p"), cut).packed())

    def rejoin(self) -> tuple[Plan, Outcome]:
        found = self.look()
        plan = homecoming.plan(found, self.store("m"), reclaim.COUNT)
        assert not plan.ask
        return plan, self.carry_out(found, plan)

    def carry_out(self, found: Found, plan: Plan) -> Outcome:
        assert homecoming.set_aside(self.store("p"), plan, found, OPERATION, 2) == []
        return homecoming.carry_out(self.store("p"), self.store("m"), plan, found, OPERATION, 2)


class Outage(Loss):
    """A pair, copied; then what the primary did alone, a cut, and the mirror's life as the active."""

    def __init__(self, laid: pairs.Laid) -> None:
        super().__init__(laid)
        self.box = pairs.Mailbox(laid.source / ANN)
        for name in ("Sent", "Archive"):
            self.box.create(name)
        for name, count in ((INBOX, 6), ("Sent", 3), ("Archive", 2)):
            for number in range(count):
                self.box.folder(name).deliver(b"Message-ID: <%s.%d@ex>\n\n%d\n" % (name.encode(), number, number))
        laid.sync()
        self.mirror = mailbox.Account(laid.mirror / ANN)
