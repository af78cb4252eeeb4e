"""What moves users demands of a proof, whoever made it (`fencing`, the guards, an operator). Pure.

Invariant: values only; whether a proof fits a move is judged where the move is planned.
"""

from __future__ import annotations

from typing import Protocol

RELEASED, SERVICES, DEVICE, LEASE, ATTESTED = "released", "services", "device", "lease", "attested"
FENCES = (SERVICES, DEVICE, LEASE, ATTESTED)
"""The four fences of the design, by what they rest on."""
KINDS = (RELEASED, *FENCES)
"""And the address read back as gone, from a host that may serve all the same."""
FRESH = 300.0
"""Seconds for which a proof counts."""


class Proof(Protocol):
    """That a host doesn't have the users any more, nor will by itself. `epoch` is the one that it makes room for, so
    the host's own was an earlier one. `kind` says how it is known, `when` the last time that it was read or said, in
    seconds since 1970.
    """

    @property
    def kind(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def when(self) -> float: ...
