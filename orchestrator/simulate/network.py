"""Links between hosts: slow, lossy, doubled, cut in one direction or both.

Datagrams are lost, late or doubled. A request or an answer of a conversation is resent while its link is cut, as TCP
does, and is lost when the link is dead for `PATIENCE`: so it may also arrive long after nobody waits for it any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from orchestrator.simulate.clockwork import Action, Clockwork

PATIENCE = 5.0
"""Seconds after which a dead peer is found, and the conversation ends (DESIGN section 8)."""
AGAIN = 0.5


@dataclass
class Network:
    """`cut`: (from, to) that lose everything. `loss`, `double`: shares of datagrams; `late` of all, by up to `most`
    seconds; `gone`: of requests and answers whose conversation ends under them.
    """

    clockwork: Clockwork
    dice: Random
    cut: set[tuple[str, str]] = field(default_factory=set)
    loss: float = 0.0
    double: float = 0.0
    late: float = 0.0
    most: float = 3.0
    gone: float = 0.0

    def part(self, one: str, other: str, *, one_way: bool) -> None:
        self.cut |= {(one, other)} if one_way else {(one, other), (other, one)}

    def heal(self) -> None:
        self.cut.clear()
        self.heal_losses()

    def heal_losses(self) -> None:
        self.loss = self.double = self.late = self.gone = 0.0

    def _delay(self) -> float:
        seconds = self.dice.uniform(0.001, 0.02)
        return seconds + (self.dice.uniform(0.1, self.most) if self.dice.random() < self.late else 0.0)

    def datagram(self, by: str, to: str, arrives: Action) -> None:
        for _ in range(2 if self.dice.random() < self.double else 1):
            if self.dice.random() >= self.loss:
                self.clockwork.after(self._delay(), lambda: None if (by, to) in self.cut else arrives())

    def stream(self, by: str, to: str, arrives: Action) -> None:
        """A request or an answer of a conversation. Within a host nothing is lost."""
        if by == to:
            self.clockwork.after(0.001, arrives)
        elif self.dice.random() >= self.gone:
            self._sent(by, to, arrives, self.clockwork.now + PATIENCE)

    def _sent(self, by: str, to: str, arrives: Action, dead: float) -> None:
        def due() -> None:
            if (by, to) not in self.cut:
                arrives()
            elif self.clockwork.now < dead:
                self.clockwork.after(AGAIN, due)

        self.clockwork.after(self._delay(), due)
