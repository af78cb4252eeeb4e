"""What root makes in the daemon's state directory belongs to the daemon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.records import database, history, lines, snapshot
from orchestrator.records.lock import Lock
from tests.support import require

DAEMON = (4321, 4322)


@pytest.mark.issue("6.1 root's own orders leave nothing that the service can't open")
def test_each_file_that_root_makes_is_the_directorys_owners(tmp_path: Path) -> None:
    require.root()
    os.chown(tmp_path, *DAEMON)
    with Lock(tmp_path, "org", "sync"):
        history.append(tmp_path, "org", "release", "why", uid=0, pid=1)
        snapshot.write(tmp_path, "org", {"pair": "org"})
        lines.append(tmp_path, tmp_path / "org.fences.jsonl", "{}")
    made = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in tmp_path.iterdir()}
    assert {"org.lock", database.NAME, "org.status.json", "org.fences.jsonl"} <= set(made)
    assert set(made.values()) == {DAEMON}, made
