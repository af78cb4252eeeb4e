"""The image layer: real mail software in a root of its own, and a machine that doesn't notice."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import image, require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("image")]


@pytest.fixture(autouse=True)
def machine_unchanged() -> Iterator[None]:
    """The machine's packages, users and mounts are after each test what they were before."""
    require.root()
    image.layer()
    before = _machine()
    yield
    assert _machine() == before


def _machine() -> tuple[str, ...]:
    names = ("/var/lib/dpkg/status", "/etc/passwd", "/etc/group", "/proc/self/mounts")
    return tuple(Path(name).read_text(encoding="utf-8") for name in names)


@pytest.mark.issue("2.1 packages only in a cached image layer")
def test_real_mail_software_runs_inside() -> None:
    asked = "dovecot --version && sshd -V 2>&1 && rsync --version && unison -version && id -u vmail sshd dovecot"
    with image.run(["sh", "-c", asked], stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert out.startswith("2.") and "OpenSSH_" in out and "unison version" in out
    assert not Path("/etc/dovecot").exists() or "dovecot" in Path("/etc/passwd").read_text(encoding="utf-8")


def test_the_layer_is_built_once() -> None:
    first = image.layer().stat()
    second = image.layer().stat()
    assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)


def test_what_a_root_writes_is_gone_with_it() -> None:
    with image.Root() as root:
        root.check(["sh", "-c", "echo changed > /etc/hostname; echo there > /written"])
        assert root.path("/written").read_text() == "there\n"
        assert root.check(["cat", "/etc/hostname"]) == b"changed\n"
    with image.Root() as root:
        assert not root.path("/written").exists()
    assert not Path("/written").exists()


def test_a_bound_directory_is_shared_both_ways(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("from outside")
    with image.Root(binds=[(tmp_path, "/srv/shared")]) as root:
        assert root.check(["cat", "/srv/shared/out"]) == b"from outside"
        root.check(["sh", "-c", "echo inside > /srv/shared/in"])
    assert (tmp_path / "in").read_text() == "inside\n"


def test_signals_go_in_and_exit_codes_come_out() -> None:
    script = "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"
    with image.run(["sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.wait(10) == 7
    with image.run(["sh", "-c", "kill -KILL $$"]) as process:
        assert process.wait(10) == 128 + signal.SIGKILL


def test_a_command_that_is_not_there_says_so() -> None:
    with image.run(["no-such-command"], stderr=subprocess.PIPE) as process:
        _, complaint = process.communicate(timeout=30)
    assert process.returncode == 127
    assert complaint == b"stage: cannot run no-such-command: No such file or directory\n"


def test_a_network_of_its_own_has_only_loopback() -> None:
    with image.Root(net=image.LOOPBACK) as root:
        links = root.check(["ip", "-brief", "link"]).decode().splitlines()
        assert [line.split()[0] for line in links] == ["lo"]


def test_sigkill_of_the_caller_leaves_nothing(tmp_path: Path) -> None:
    """The caller is a process of its own; what runs in its roots holds a pipe open, whose end shows that all ended."""
    reading, writing = os.pipe()
    script = (
        "import sys, signal\n"
        "from tests.support import image\n"
        "fds = [int(sys.argv[1])]\n"
        "root = image.Root(binds=[(sys.argv[2], '/srv')]).__enter__()\n"
        "inner = root.run(['sh', '-c', 'setsid sleep 600 & echo up; exec sleep 600'], pass_fds=fds)\n"
        "other = image.run(['sh', '-c', 'echo up; exec sleep 600'], pass_fds=fds)\n"
        "signal.pause()\n"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", script, str(writing), str(tmp_path)],
        cwd=image.CHECKOUT,
        pass_fds=[writing],
        stdout=subprocess.PIPE,
    )
    os.close(writing)
    assert caller.stdout is not None
    assert caller.stdout.readline() + caller.stdout.readline() == b"up\nup\n"
    caller.kill()
    caller.wait()
    caller.stdout.close()
    ended = select.select([reading], [], [], 10)[0]
    assert ended and os.read(reading, 1) == b"", "processes of the dead caller's roots are still alive"
    os.close(reading)
    attached = Path("/sys/block").glob("loop*/loop/backing_file")
    assert [file for file in attached if str(tmp_path) in file.read_text()] == []


def test_two_processes_may_ask_for_the_layer_at_once(tmp_path: Path) -> None:
    """With a cache that is empty both would build; the lock lets the second wait and find it finished."""
    script = "from tests.support import image; print(image.layer(['hostname']))"
    environment = os.environ | {"MAILMIRROR_IMAGE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(image.CHECKOUT)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    results = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], results
    assert results[0][0] == results[1][0]
    assert sum(b"ready after" in complaint for _, complaint in results) == 1


def test_when_a_root_is_closed_all_of_it_is_gone() -> None:
    """Not only told to go: a test may cut the power of a disk that it used in the next line."""
    with (
        image.Root() as root,
        root.run(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"], stdout=subprocess.PIPE) as run,
    ):
        assert run.stdout is not None and run.stdout.readline() == b"up\n"
        space = Path(f"/proc/{root.pid}/ns/pid").readlink()
        root.close()
        assert space not in [_namespace(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        assert run.wait(10) == 128 + signal.SIGKILL


def _namespace(process: Path) -> Path | None:
    try:
        return (process / "ns/pid").readlink()
    except OSError:
        return None  # it ended while we looked
