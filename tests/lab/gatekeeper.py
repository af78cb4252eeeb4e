"""A process that holds a gate and does what it is told, a line of JSON each: [method, argument, stall].

`stall` is [number of the transaction, seconds before it, seconds after it]: there it stands still, as a process that
is stopped. `open` and `lay_open` have their deadline as seconds from now, `open_until` as CLOCK_BOOTTIME. Its
answer is a line of JSON: what the method returned, or the words of its refusal.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from orchestrator.agent.gate import Gate, boottime
from orchestrator.agent.lease import ALWAYS
from orchestrator.agent.nft import Nft, Refused
from orchestrator.agent.ruleset import Ports


class Stalling:
    """nftables by a process that may stand still before and after a transaction."""

    def __init__(self) -> None:
        self.nft = Nft()
        self.count = 0
        self.stall: tuple[int, float, float] = (0, 0.0, 0.0)

    def run(self, text: str) -> str:
        self.count += 1
        at, before, after = self.stall
        time.sleep(before if self.count == at else 0)
        try:
            return self.nft.run(text)
        finally:
            time.sleep(after if self.count == at else 0)


def main() -> None:
    stalling = Stalling()
    gate = Gate(Ports((143, 25), (24,)), stalling.run)
    for line in sys.stdin:
        method, argument, stall = json.loads(line)
        stalling.count, stalling.stall = 0, tuple(stall or (0, 0.0, 0.0))
        told: Any
        try:
            if method == "open":
                told = gate.open_until(ALWAYS if argument is None else boottime() + argument)
            elif method == "open_until":
                told = gate.open_until(argument)
            elif method == "lay_open":
                told = gate.lay_open(boottime() + argument)
            elif method == "lay":
                relay: str | None = argument
                gate.lay(Ports((143,), (25, 24), relay) if relay else None)
                told = None
            else:
                told = getattr(gate, method)()
        except Refused as refused:
            told = f"refused: {refused}"
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
