"""Pairs that several contract suites start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import pairs


@pytest.fixture
def memory() -> Iterator[Path]:
    with pairs.in_memory() as place:
        yield place


@pytest.fixture
def laid(memory: Path) -> Iterator[pairs.Laid]:
    """An initialised pair of one store, its agents in this process."""
    made = pairs.Laid(memory, pairs.MEMORY)
    made.session.initialise()
    yield made
    made.end()
