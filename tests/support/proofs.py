"""A proof that a host can't be active, for tests of what demands one. A value of its own: no fence stands behind it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from orchestrator.traffic.switch import Target


@dataclass(frozen=True)
class Fenced:
    """`host` can't be active, which makes room for `epoch`; known since now."""

    host: str
    epoch: int
    kind: str = "attested"
    when: float = field(default_factory=time.time)

    @classmethod
    def before(cls, target: Target) -> Fenced:
        """Of the other one of mail1 and mail2."""
        name, dot, domain = target.host.partition(".")
        return cls(("mail1" if name == "mail2" else "mail2") + dot + domain, target.epoch)
