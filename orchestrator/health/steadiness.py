"""Whether the controller's own time ran steadily enough to trust its windows. Pure.

A controller that was stopped, suspended or moved between machines wakes up and sees everyone late; one whose clock was
stepped mistakes the age of what it knows. In both cases it looks away for a while and then begins anew. (Redis Sentinel
calls this TILT.)

Invariant: time that can't be trusted is never taken for time in which a host was silent.
"""

from __future__ import annotations

from dataclasses import dataclass

LATE = 2.0
"""Seconds by which a tick may come after its time: more than a busy machine's scheduler takes."""
JUMP = 2.0
"""Seconds by which the wall clock may move against the monotonic one between two ticks."""
QUIET = 30.0
"""Seconds of steady time after the last jump before judging goes on."""


@dataclass(frozen=True)
class Steadiness:
    """`ticked`: (monotonic, wall) of the last tick. `tilted`: when the last jump was found, on the monotonic clock."""

    ticked: tuple[float, float] | None = None
    tilted: float | None = None

    def after(self, monotonic: float, wall: float, expected: float) -> Steadiness:
        """The next tick, which was due `expected` seconds after the last."""
        if self.ticked is None:
            return Steadiness((monotonic, wall), self.tilted)
        passed, shown = monotonic - self.ticked[0], wall - self.ticked[1]
        jumped = passed > expected + LATE or abs(shown - passed) > JUMP
        return Steadiness((monotonic, wall), monotonic if jumped else self.tilted)

    def steady(self, monotonic: float) -> bool:
        """Whether judging may go on; what was seen before a jump has to be forgotten then."""
        return self.tilted is None or monotonic - self.tilted >= QUIET
