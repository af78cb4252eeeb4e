"""The register as a file: whole or damaged, never empty, and kept on a disk that is full."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.agent import register
from orchestrator.agent.lease import Kept
from orchestrator.agent.register import FILE, SIZE, Register
from tests.support import kernel, require

FULL = Register(
    3, "mirror", 17, 3, Kept(3, True, False, 8.0), "boot", frozenset({"witness"}), "a word", True, "why", 4,
    {"primary": 9}, {"store": (3, 5)}, {"op": "advance in epoch 3"},
)  # fmt: skip


@pytest.mark.issue("4.2 durable epoch register")
def test_what_is_kept_is_what_is_loaded(tmp_path: Path) -> None:
    assert register.load(str(tmp_path)) is None
    for kept in (Register(0, ""), FULL, Register(4, "primary")):
        register.keep(str(tmp_path), kept)
        assert register.load(str(tmp_path)) == kept
    assert {path.stat().st_size for path in tmp_path.iterdir()} == {SIZE}


@pytest.mark.issue("4.2 durable epoch register: damaged is an error, never an empty one")
@pytest.mark.parametrize("at", [0, 40, 300, SIZE - 1])
def test_a_damaged_register_is_told_with_a_remedy(tmp_path: Path, at: int) -> None:
    register.keep(str(tmp_path), FULL)
    raw = bytearray((tmp_path / FILE).read_bytes())
    raw[at] ^= 1
    (tmp_path / FILE).write_bytes(raw)
    with pytest.raises(register.Damaged, match="move"):
        register.load(str(tmp_path))
    (tmp_path / FILE).write_bytes(b"")
    with pytest.raises(register.Damaged):
        register.load(str(tmp_path))


def test_a_register_that_remembers_all_it_may_fits(tmp_path: Path) -> None:
    kept = FULL
    for number in range(3 * register.REMEMBERED):
        kept = kept.with_done(f"{number:032x}", "advance in epoch 1000000")
    assert len(kept.done) == register.REMEMBERED
    register.keep(str(tmp_path), kept)
    assert register.load(str(tmp_path)) == kept


@pytest.mark.issue("4.2 durable epoch register: also on a full disk")
def test_a_full_disk_does_not_keep_it_from_being_written(tmp_path: Path) -> None:
    require.root()
    kernel.mount("none", tmp_path, "tmpfs", data="size=256k")
    try:
        for number in range(2):
            register.keep(str(tmp_path), Register(number, "primary"))
        with pytest.raises(OSError, match="No space"), open(tmp_path / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        for number in range(2, 6):
            register.keep(str(tmp_path), Register(number, "primary"))
            assert register.load(str(tmp_path)) == Register(number, "primary")
    finally:
        kernel.unmount(tmp_path)


def test_what_others_told_of_themselves_is_no_promise() -> None:
    assert register.same_promises(FULL, Register(**{**FULL.__dict__, "generation": 99, "seen": {}, "stores": {}}))
    assert not register.same_promises(FULL, Register(**{**FULL.__dict__, "without_end": frozenset()}))
