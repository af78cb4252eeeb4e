"""Whether bodies are compressed on their way, decided by what was measured. Pure.

On a fast link compressing costs more than it saves; on a slow one it is the other way round. The
link is what is slow when bodies come in below what a single core deflates while both ends wait:
the source to write, or for something to do, the passive place for something to come. A busy host or
a slow disk looks different: there one of the two is at work. When the recent samples say so
together, a trial with compression is made, and the better of the two rates stays.

Invariant: a decision follows from the samples alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SLOW_LINK = 24e6
"""Bytes a second: below it a core that deflates at this level keeps up with the link."""
LEVEL = 6
IDLE_SHARE = 0.6
"""Of the time, that the passive place waits for something to come, where the link is what is slow."""
BLOCKED_SHARE = 0.12
"""Of the time, that the source can't send or has nothing to do: little is enough, since it scans meanwhile."""
SAMPLE_BYTES = 3 << 19
"""What has to come in before a rate means anything."""
AT_LEAST = 2
"""So many samples judge together: on a busy host a single one says anything."""
FADE = 0.5
"""What a sample weighs against the one after it."""
CLEARLY = 0.9
"""Compression ends where it gives less than this share of the rate without: it also spares the link."""
RETRY_SAMPLES = 64
"""After so many samples the other way is tried again: links change."""
NOTHING = (0.0, 0.0, 0.0, 0.0)


@dataclass
class Pace:
    """The samples of one link, newest rates of plain bytes per second without and with compression."""

    level: int = 0
    plain: float = 0.0
    deflated: float = 0.0
    _since: int = field(default=0, repr=False)
    _recent: tuple[float, ...] = field(default=NOTHING, repr=False)  # bytes, seconds, seconds blocked, seconds idle

    def sample(self, plain_bytes: int, seconds: float, blocked: float, idle: float, level: int) -> int:
        """Take a sample and answer the level to use: bytes of bodies as they are on disk, the seconds
        that they took, for how many of those the source was blocked or idle and the passive place idle, and the
        level that these bodies were sent with, which may be an earlier one than now."""
        if plain_bytes < SAMPLE_BYTES or seconds <= 0 or bool(level) != bool(self.level):
            return self.level
        self._since += 1
        if not self._since:  # the first after a switch waited for what was still under way as before
            return self.level
        fresh = (plain_bytes, seconds, blocked, idle)
        self._recent = tuple(FADE * was + now for was, now in zip(self._recent, fresh, strict=True))
        if self._since >= AT_LEAST:
            self._judge()
        return self.level

    def _judge(self) -> None:
        """Let the recent samples of the way in use, taken together, say which way to go on."""
        taken, seconds, blocked, idle = self._recent
        rate = taken / seconds
        if self.level:
            self.deflated = rate
            if self.deflated < CLEARLY * self.plain:
                self._switch(0)
            return
        self.plain = rate
        slow = rate < SLOW_LINK and blocked > BLOCKED_SHARE * seconds and idle > IDLE_SHARE * seconds
        if slow and (not self.deflated or self._since >= RETRY_SAMPLES or self.deflated > rate):
            self._switch(LEVEL)

    def _switch(self, level: int) -> None:
        self.level = level
        self._since = -1
        self._recent = NOTHING
