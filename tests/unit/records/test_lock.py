"""A pair's lock says who holds it, and ends with its holder."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator.errors import OperatorError
from orchestrator.records.lock import Held, Holder, Lock, read_holder, state_dir
from tests.support import require

GROUP = 4_000_001
AS_A_MEMBER = f"""import os, sys
from pathlib import Path
from orchestrator.errors import MailmirrorError
from orchestrator.records.lock import Lock
os.setgroups([]); os.setgid({GROUP}); os.setuid({GROUP})
try:
    Lock(Path(sys.argv[1]), "org", "sync").__enter__()
except MailmirrorError as error:
    print(type(error).__name__, error)
"""


def test_a_second_taker_is_told_who_and_since_when(tmp_path: Path) -> None:
    with Lock(tmp_path, "org", "sync"), pytest.raises(Held) as refused, Lock(tmp_path, "org", "run"):
        pass
    assert refused.value.holder is not None
    assert (refused.value.holder.pid, refused.value.holder.what) == (os.getpid(), "sync")
    assert f"process {os.getpid()} (`sync`, since " in str(refused.value)
    assert refused.value.exit_code == 75


@pytest.mark.lab
def test_who_may_only_read_the_lock_learns_that_it_is_held_and_takes_none() -> None:
    """So a member of the daemon's group asks the daemon, which holds it, and isn't turned away for the file's mode."""
    require.root()

    def told() -> str:
        words = [sys.executable, "-c", AS_A_MEMBER, directory]
        return subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True).stdout

    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, 0, GROUP)
        os.chmod(directory, 0o750)
        with Lock(Path(directory), "org", "run"):
            os.chown(Path(directory, "org.lock"), 0, GROUP)
            assert told().startswith("Held ") and f"process {os.getpid()}" in told()
        assert told().startswith("NotPermitted ")


def test_pairs_have_locks_of_their_own(tmp_path: Path) -> None:
    with Lock(tmp_path, "org", "sync"), Lock(tmp_path, "net", "sync"):
        pass
    with Lock(tmp_path, "org", "again"):
        assert read_holder(tmp_path / "org.lock") is not None
    assert read_holder(tmp_path / "org.lock") is None


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from orchestrator.records.lock import Lock\n"
        "with Lock(Path(sys.argv[1]), 'org', 'run'):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Held, match=f"process {holder.pid}"), Lock(tmp_path, "org", "sync"):
            pass
        holder.kill()
        holder.wait()
    with Lock(tmp_path, "org", "sync"):
        pass


def test_a_lock_s_file_that_can_t_be_read_names_nobody(tmp_path: Path) -> None:
    for text in ("", "{}", "[1]", '{"pid": "x", "since": 1, "what": "run"}'):
        (tmp_path / "org.lock").write_text(text)
        assert read_holder(tmp_path / "org.lock") is None
    assert "another process" in str(Held("org", None))
    assert "process 7 (`run`, since 19" in Holder(7, 0.0, "run").sentence().replace("since 20", "since 19")


def test_a_link_in_the_lock_s_place_isn_t_followed(tmp_path: Path) -> None:
    (tmp_path / "org.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"), Lock(tmp_path, "org", "sync"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_state_directory_that_can_t_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="can't be made"):
        state_dir(tmp_path / "file" / "below")
    assert state_dir(tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o750
