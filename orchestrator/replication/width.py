"""When a far passive place is sent bodies over more channels than one.

sshd takes 2 MiB ahead on each channel, so one channel moves 2 MiB per round trip: 20 MB/s over 100 ms. Opening more
takes four round trips and starts a small process for each on the host, which a pass that has little to send shouldn't
pay. So they are opened between two batches, once so much was sent that more is likely to come; measured, a first copy
loses a third of a second by not having had them from its start (docs/decisions/008-lanes.md has the figures).

Invariant: a host that opens fewer, or none, is told of once, and what replicates goes on.
"""

from __future__ import annotations

from orchestrator.remote.host import Conversation

LANES = 4
"""As many again bring a fifth more; sshd's MaxSessions is 10 by default, and others may want some of them."""
FAR = 0.01
"""Seconds of round trip from which on a window of 2 MiB, then 200 MB/s, may be the limit."""
WORTH = 4 << 20
"""Bytes sent in a conversation from which on more are expected."""


def widen(link: Conversation) -> str:
    """Open lanes if it pays by now; a sentence when the host opens fewer than are wanted. Raises LinkLost."""
    if link.widened or link.rtt < FAR or link.bytes_out < WORTH:
        return ""
    opened = link.widen(LANES)
    return f"Bodies go over {max(1, opened)} instead of {LANES} channels: {link.narrow}" if link.narrow else ""
