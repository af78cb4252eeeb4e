"""A snapshot is whole or not there."""

from __future__ import annotations

from pathlib import Path

from orchestrator.records import snapshot


def test_the_last_one_written_is_read(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    for link in ("connecting", "live"):
        snapshot.write(directory, "org", {"pair": "org", "link": link})
    assert snapshot.read(directory, "org") == {"pair": "org", "link": "live"}
    assert [path.name for path in directory.iterdir()] == ["org.status.json"]


def test_what_isn_t_a_snapshot_of_this_pair_is_none(tmp_path: Path) -> None:
    assert snapshot.read(tmp_path, "org") is None
    for text in ("", "[1]", "{}", '{"pair": "net"}', '{"pair": "org"', "\udcff".encode(errors="surrogateescape").hex()):
        snapshot.path_of(tmp_path, "org").write_text(text)
        assert snapshot.read(tmp_path, "org") is None
    snapshot.path_of(tmp_path, "org").write_bytes(b"\xff\xfe")
    assert snapshot.read(tmp_path, "org") is None
