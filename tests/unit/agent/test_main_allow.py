"""What an agent's command line lets it do, as it tells it in its greeting."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orchestrator.agent.wire import Decoder
from tests.support.image import CHECKOUT


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        ([], ["replication", "services"]),
        (["--stores", "/srv/a"], ["replication"]),
        (["--stores", "/srv/a", "--allow", "replication,services"], ["replication", "services"]),
        (["--allow", "replication"], ["replication"]),
    ],
)
def test_who_names_stores_and_says_no_more_gets_replication_only(words: list[str], allowed: list[str]) -> None:
    command = [sys.executable, "-m", "orchestrator.agent.main", *words]
    done = subprocess.run(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    [hello, *_] = Decoder().feed(done.stdout)
    assert hello.head["allow"] == allowed
