"""Whether bodies are compressed on their way, decided by what was measured. Pure.

On a fast link compressing costs more than it saves; on a slow one it is the other way round. The
link is what is slow when bodies come in below what a single core deflates while both ends wait:
the source to send (for credit, or blocked in writing), the passive place for something to come.
A busy host or a slow disk looks different: there one of the two is at work. When the recent
samples say so together, a trial with compression is made, and the better of the two rates stays.

Invariant: a decision follows from the samples alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SLOW_LINK = 24e6
"""Bytes a second: below it a core that deflates at this level keeps up with the link."""
LEVEL = 6
WAITED_SHARE = 0.35
SAMPLE_BYTES = 3 << 19
"""What has to come in before a rate means anything."""
AT_LEAST = 2
"""So many samples judge together: on a busy host a single one says anything."""
FADE = 0.5
"""What a sample weighs against the one after it."""
RETRY_SAMPLES = 64
"""After so many samples the other way is tried again: links change."""


@dataclass
class Pace:
    """The samples of one link, newest rates of plain bytes per second without and with compression."""

    level: int = 0
    plain: float = 0.0
    deflated: float = 0.0
    _since: int = field(default=0, repr=False)
    _recent: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0), repr=False)  # bytes, seconds, seconds waited

    def sample(self, plain_bytes: int, seconds: float, waited_seconds: float, level: int) -> int:
        """Take a sample and answer the level to use: bytes of bodies as they are on disk, the seconds
        that they took, how many of those the ends waited (the smaller of the two figures), and the
        level that these bodies were sent with, which may be an earlier one than now."""
        if plain_bytes < SAMPLE_BYTES or seconds <= 0 or bool(level) != bool(self.level):
            return self.level
        self._since += 1
        fresh = (plain_bytes, seconds, waited_seconds)
        recent = [FADE * was + now for was, now in zip(self._recent, fresh, strict=True)]
        self._recent = (recent[0], recent[1], recent[2])
        if self._since >= AT_LEAST:
            self._judge()
        return self.level

    def _judge(self) -> None:
        """Let the recent samples of the way in use, taken together, say which way to go on."""
        taken, seconds, waited = self._recent
        rate = taken / seconds
        if self.level:
            self.deflated = rate
            if self.deflated < self.plain:
                self._switch(0)
            return
        self.plain = rate
        slow = rate < SLOW_LINK and waited > WAITED_SHARE * seconds
        if slow and (not self.deflated or self._since >= RETRY_SAMPLES or self.deflated > rate):
            self._switch(LEVEL)

    def _switch(self, level: int) -> None:
        self.level = level
        self._since = 0
        self._recent = (0.0, 0.0, 0.0)
