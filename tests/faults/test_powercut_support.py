"""The disks of tests.support.powercut lose what was not durable and keep what was: the faults are real."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import image, powercut, require

pytestmark = pytest.mark.lab


@pytest.fixture(autouse=True)
def capable() -> None:
    require.root()


def _write(path: Path, data: bytes, *, sync: bool) -> None:
    with open(path, "wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def test_a_cut_keeps_what_was_synced_and_loses_what_was_not(tmp_path: Path) -> None:
    with powercut.Disk(tmp_path / "disk") as disk:
        for turn in range(3):
            _write(disk.path / f"kept{turn}", b"durable", sync=True)
            _sync_directory(disk.path)
            _write(disk.path / f"lost{turn}", b"not durable", sync=False)
            disk.cut()
            assert sorted(entry.name for entry in disk.path.iterdir()) == [f"kept{n}" for n in range(turn + 1)]
            assert (disk.path / f"kept{turn}").read_bytes() == b"durable"


def test_a_rename_without_sync_of_the_data_leaves_an_empty_file(tmp_path: Path) -> None:
    """The very fault that a sink must not have: the name is durable, the data isn't."""
    with powercut.Disk(tmp_path / "disk", options="data=writeback,noauto_da_alloc") as disk:
        _write(disk.path / "tmp", b"x" * 100, sync=False)
        os.rename(disk.path / "tmp", disk.path / "final")
        _write(disk.path / "other", b"", sync=True)  # commits the journal, not the data
        disk.cut()
        assert (disk.path / "final").read_bytes() != b"x" * 100


def test_a_dead_disk_answers_with_errors_until_it_is_mounted_again(tmp_path: Path) -> None:
    with powercut.Disk(tmp_path / "disk") as disk:
        disk.die()
        with pytest.raises(OSError):
            _write(disk.path / "file", b"x", sync=True)
        disk.unmount()
        assert list(disk.path.iterdir()) == []
        disk.mount()
        _write(disk.path / "file", b"x", sync=True)


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_a_small_disk_fills_up(tmp_path: Path, kind: str) -> None:
    small = (
        powercut.Disk(tmp_path / "full", size=4 << 20)
        if kind == "disk"
        else powercut.Memory(tmp_path / "full", size=1 << 20)
    )
    with small, pytest.raises(OSError) as refused:
        _write(small.path / "big", bytes(8 << 20), sync=True)
    assert refused.value.errno == errno.ENOSPC


def test_nothing_is_left_after_failure(tmp_path: Path) -> None:
    before = Path("/proc/self/mounts").read_text(encoding="utf-8")
    with pytest.raises(ZeroDivisionError), powercut.Disk(tmp_path / "disk"):
        raise ZeroDivisionError
    assert Path("/proc/self/mounts").read_text(encoding="utf-8") == before


def test_sigkill_leaves_no_mount_and_no_loop_device(tmp_path: Path) -> None:
    """A process in a mount namespace of its own, as every test process is (tests/conftest.py)."""
    script = (
        "import sys, signal, pathlib\n"
        "from tests.support import kernel, powercut\n"
        "kernel.unshare(kernel.CLONE_NEWNS)\n"
        "disk = powercut.Disk(pathlib.Path(sys.argv[1])).__enter__()\n"
        "print(disk._device, flush=True)\n"
        "signal.pause()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "disk")], cwd=image.CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    device = process.stdout.readline().strip()
    assert Path("/sys/fs/ext4", device).exists()
    process.kill()
    process.wait()
    process.stdout.close()
    powercut.wait_until_gone(device, tmp_path)
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text(encoding="utf-8")
