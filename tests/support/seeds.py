"""The seed of a test that rolls dice.

Everywhere a new one with each run, so that runs look further; in CI always the same, so that what CI says of a change
depends on the change. TEST_SEED=N repeats a run.
"""

from __future__ import annotations

import os
import random
import zlib


def drawn(test: str) -> int:
    """The seed of the test of this name, printed: pytest shows it where the test fails."""
    given = os.environ.get("TEST_SEED")
    if given is not None:
        seed = int(given)
    elif os.environ.get("CI") == "true":
        seed = zlib.crc32(test.encode())
    else:
        seed = random.SystemRandom().randrange(1 << 32)
    print(f"{test}: TEST_SEED={seed}")
    return seed
