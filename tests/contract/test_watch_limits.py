"""Where a watch ends: lost events, the kernel's limits, rights, the root itself, and what isn't to be told."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.agent.fanotify import Fanotify
from orchestrator.agent.handles import Paths
from orchestrator.agent.hint import Place, handle_of
from orchestrator.agent.watch import choose
from tests.contract import watched
from tests.contract.watched import DEADLINE, JOE, Site, file_system, opened
from tests.support import kernel, require


@pytest.fixture(params=["inotify", pytest.param("fanotify-limited-tmpfs", marks=pytest.mark.lab)])
def small_queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with watched.site(request.param, tmp_path) as found:
        yield found


def _queue_limit(site: Site) -> int:
    return int(Path(f"/proc/sys/fs/{site.watch.kind}/max_queued_events").read_text())


@pytest.mark.issue("2.5 fanotify and inotify tell an overflow")
def test_lost_events_are_told_as_an_overflow(small_queue: Site) -> None:
    small_queue.act("many", JOE + b"/cur", str(_queue_limit(small_queue) + 100).encode())
    small_queue.act("rename", JOE + b"/.Sent", JOE + b"/.Lost")
    found = small_queue.until((b"", b"", "overflow"))
    assert len([hint for hint in found if hint.what == "overflow"]) == 1
    small_queue.follow_all()
    small_queue.drain()
    small_queue.act("write", JOE + b"/.Lost/cur/1")
    found = small_queue.until((JOE + b"/.Lost/cur", b"1", "appeared"))
    assert {hint.directory for hint in found} == {JOE + b"/.Lost/cur"}


@pytest.mark.issue("2.5 fanotify and inotify tell an overflow")
def test_after_lost_events_no_old_path_is_told(small_queue: Site) -> None:
    small_queue.act("many", JOE + b"/cur", str(_queue_limit(small_queue) + 100).encode())
    small_queue.act("rename", JOE + b"/.Sent", JOE + b"/.Lost")
    small_queue.drain()
    small_queue.act("write", JOE + b"/.Lost/cur/1")
    assert {hint.directory for hint in small_queue.drain()} <= {JOE + b"/.Lost/cur"}


@pytest.mark.lab
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_fanotify_tells_a_flood_without_a_limit(kind: str) -> None:
    require.root()
    with file_system(kind) as base, opened("fanotify", base) as site:
        site.act("many", JOE + b"/cur", b"20000")
        assert {hint.name for hint in site.drain()} == {b"m%d" % number for number in range(20000)}


@pytest.mark.lab
def test_a_directory_beyond_the_kernels_limit_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    require.root()
    told = _in_user_namespace(_FULL, tmp_path)
    assert told.splitlines() == ["full: fs.inotify.max_user_watches", "b'd0' b'seen' appeared"]


def _in_user_namespace(code: str, root: Path) -> str:
    """In a namespace of its own a limit can be set without touching anybody else's."""
    require.command("unshare")
    ran = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", code, os.fspath(root)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


_FULL = """
import os, sys
from orchestrator.agent.inotify import Inotify, WatchFull
from orchestrator.agent.hint import Place
open("/proc/sys/user/max_inotify_watches", "w").write("8")
root = sys.argv[1]
for number in range(20):
    os.mkdir(os.path.join(root, "d%d" % number))
watch = Inotify(Place(root))
try:
    for number in range(20):
        watch.follow(b"d%d" % number)
except WatchFull as full:
    print("full:", "fs.inotify.max_user_watches" if "fs.inotify.max_user_watches" in str(full) else full)
os.mkdir(os.path.join(root, "d0", "seen"))
for hint in watch.read():
    print(hint.directory, hint.name, hint.what)
"""


@pytest.mark.issue("2.5 polling watch chosen and reported")
def test_the_best_kind_is_chosen_and_the_reason_told(tmp_path: Path) -> None:
    chosen = {want: choose(os.fspath(tmp_path), want) for want in ("inotify", "poll")}
    assert {want: (watch.kind, watch.why) for want, watch in chosen.items()} == {
        "inotify": ("inotify", "inotify was asked for"),
        "poll": ("poll", "poll was asked for"),
    }
    for watch in chosen.values():
        watch.close()


@pytest.mark.lab
@pytest.mark.issue("2.5 watch chosen and reported: fanotify, inotify")
def test_root_gets_fanotify_and_nobody_inotify(tmp_path: Path) -> None:
    require.root()
    with file_system("tmpfs") as base:
        watch = choose(os.fspath(base))
        assert (watch.kind, watch.why) == ("fanotify", "")
        watch.close()
    ran = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY], capture_output=True, text=True, env={"PYTHONPATH": os.getcwd()}, check=True
    )
    assert ran.stdout.strip() == "inotify: fanotify needs root (CAP_SYS_ADMIN)"


_AS_NOBODY = """
import os
from orchestrator.agent.watch import choose
os.setuid(65534)
watch = choose("/tmp")
print(f"{watch.kind}: {watch.why}")
"""


def test_a_file_as_a_root_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in ("file", "missing"):
        with pytest.raises(NotADirectoryError, match="store's root"):
            choose(os.fspath(tmp_path / path))
    with pytest.raises(ValueError, match="auto, fanotify"):
        choose(os.fspath(tmp_path), "kqueue")


@pytest.mark.lab
def test_a_watched_file_system_can_be_unmounted_and_that_is_told() -> None:
    require.root()
    with file_system("ext4") as base:
        watch = choose(os.fspath(base))
        assert watch.kind == "fanotify"
        watch.follow(b"")
        watch.read()
        kernel.mount("cover", base, "tmpfs")
        try:
            end = time.monotonic() + DEADLINE
            while not [hint for hint in watch.read() if hint.what == "gone"]:
                assert time.monotonic() < end
        finally:
            kernel.unmount(base)
            watch.close()


@pytest.mark.lab
def test_what_the_watching_process_does_itself_is_left_out_and_its_renames_are_known() -> None:
    require.root()
    with file_system("tmpfs") as base, opened("fanotify", base) as site:
        (site.root / "ex.org/joe/.Sent").rename(site.root / "ex.org/joe/.Mine")
        (site.root / "ex.org/joe/.Mine/cur/x").touch()
        assert site.drain() == []
        site.act("write", JOE + b"/.Mine/cur/1")
        found = site.until((JOE + b"/.Mine/cur", b"1", "appeared"))
        assert {hint.directory for hint in found} == {JOE + b"/.Mine/cur"}


@pytest.mark.lab
def test_a_directory_never_seen_before_is_found_by_its_handle() -> None:
    require.root()
    with file_system("ext4") as base, opened("fanotify", base) as site:
        watch = Fanotify(Place(os.fspath(site.root)))
        site.act("write", JOE + b"/.Sent/cur/1")
        assert (JOE + b"/.Sent/cur", b"1", "appeared") in {hint[:3] for hint in watch.read()}
        watch.close()


@pytest.mark.lab
def test_no_descriptor_is_left_open_by_a_thousand_events() -> None:
    require.root()
    with file_system("tmpfs") as base, opened("fanotify", base) as site:
        before = len(os.listdir("/proc/self/fd"))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + 40, hard))
        try:
            site.act("many", JOE + b"/cur", b"1000")
            assert len({hint.name for hint in site.drain()}) == 1000
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.lab
def test_where_fanotify_is_refused_the_next_kind_is_taken_and_the_reason_told(tmp_path: Path) -> None:
    require.root()
    for name in ("lower", "upper", "work", "store"):
        (tmp_path / name).mkdir()
    layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    kernel.mount("store", tmp_path / "store", "overlay", data=layers)
    try:
        watch = choose(os.fspath(tmp_path / "store"))
        watch.close()
    finally:
        kernel.unmount(tmp_path / "store")
    assert watch.kind == "inotify"
    assert "fanotify can't watch" in watch.why or "file handle" in watch.why


@pytest.mark.lab
@pytest.mark.issue("2.5 polling watch chosen and reported")
def test_without_any_instance_left_it_polls_and_says_so(tmp_path: Path) -> None:
    require.root()
    code = (
        "import sys; from orchestrator.agent.watch import choose;"
        "open('/proc/sys/user/max_inotify_instances', 'w').write('0');"
        "w = choose(sys.argv[1], 'inotify'); print(w.kind, w.fileno(), w.read(), w.interval, w.why)"
    )
    told = _in_user_namespace(code, tmp_path)
    assert told.startswith("poll None [] 2.0 inotify was asked for; inotify: no instance left")
    assert "fs.inotify.max_user_instances" in told


@pytest.mark.lab
def test_below_a_bind_mount_nothing_from_outside_of_it_is_told() -> None:
    """A directory outside of the bind mount has a path that looks as if it were below the root."""
    require.root()
    with file_system("ext4") as base:
        bound = base.parent / "bound"
        bound.mkdir()
        (base / "data").mkdir()
        kernel.mount(os.fspath(base / "data"), bound, flags=kernel.MS_BIND)
        try:
            with opened("fanotify", bound) as site:
                alike = base / os.fspath(site.root / "ex.org/joe/cur").lstrip("/")
                alike.mkdir(parents=True)
                subprocess.run(["touch", os.fspath(alike / "outside"), os.fspath(base / "data/beside")], check=True)
                assert site.drain() == []
                subprocess.run(["touch", os.fspath(base / "data/store/ex.org/joe/cur/inside")], check=True)
                site.until((JOE + b"/cur", b"inside", "appeared"))
        finally:
            kernel.unmount(bound, kernel.MNT_DETACH)


@pytest.mark.lab
def test_paths_are_right_whatever_was_forgotten() -> None:
    require.root()
    with file_system("tmpfs") as base:
        paths = Paths(Place(os.fspath(base)), capacity=2)
        keys = {}
        for number in range(10):
            (base / f"d{number}" / "cur").mkdir(parents=True)
            fd = os.open(base / f"d{number}" / "cur", os.O_RDONLY)
            keys[b"d%d/cur" % number] = handle_of(fd)
            os.close(fd)
        for _ in range(2):
            assert {path: paths.locate(key) for path, key in keys.items()} == {path: path for path in keys}
        (base / "d0").rename(base / "e0")
        paths.left(b"", b"d0")
        assert paths.locate(keys[b"d0/cur"]) == b"e0/cur"
        (base / "e0" / "cur").rmdir()
        assert paths.locate(keys[b"d1/cur"]) == b"d1/cur"


@pytest.mark.lab
def test_an_account_that_is_called_tmp_is_told_and_a_maildirs_tmp_is_not() -> None:
    require.root()
    with file_system("tmpfs") as base, opened("fanotify", base) as site:
        site.folder(b"ex.org/tmp")
        site.drain()
        site.act("write", b"ex.org/tmp/subscriptions")
        site.act("write", b"ex.org/tmp/tmp/1")
        found = site.until((b"ex.org/tmp", b"subscriptions", "appeared"))
        assert {hint.directory for hint in found} == {b"ex.org/tmp"}
