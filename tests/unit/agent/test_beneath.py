"""Below a root, and nowhere else: links, `..`, FIFOs and devices are refused, and the cache keeps its bound."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.agent import beneath
from orchestrator.agent.beneath import NotRegular, Outside, Root, Unsupported

BAD_NAMES = [b"", b".", b"..", b"a/b", b"/etc/passwd", b"../x", b"a\0b"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A root with an account, and beside it what must never be touched."""
    (tmp_path / "store/user/cur").mkdir(parents=True)
    (tmp_path / "store/user/cur/m1").write_bytes(b"mail")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"secret")
    return tmp_path / "store"


@pytest.fixture
def root(store: Path) -> Iterator[Root]:
    with Root(str(store)) as opened:
        yield opened


def test_a_directory_is_opened_once_and_then_looked_up(root: Root, store: Path) -> None:
    first = root.open_dir(b"user/cur")
    assert root.open_dir(b"user/cur") == first
    assert os.fstat(first).st_ino == (store / "user/cur").stat().st_ino
    assert root.open_dir(b"") == root.fd
    assert os.get_inheritable(first) is False


def test_the_root_tells_its_file_system(root: Root, store: Path) -> None:
    found = store.stat()
    assert (root.device, root.inode) == (found.st_dev, found.st_ino)
    assert root.fsid == os.statvfs(store).f_fsid


def test_what_is_missing_or_no_directory_is_said_as_such(root: Root) -> None:
    with pytest.raises(FileNotFoundError):
        root.open_dir(b"nobody/cur")
    with pytest.raises(NotADirectoryError):
        root.open_dir(b"user/cur/m1")


@pytest.mark.issue(
    "2.4 beneath its root every path is opened without following links: a hostile peer can't write outside"
)
@pytest.mark.parametrize("target", ["../outside", "/etc", "user", "."])
def test_a_link_on_the_way_is_outside(root: Root, store: Path, target: str) -> None:
    (store / "link").symlink_to(target)
    (store / "user/inner").symlink_to("../" + target)
    for path in (b"link", b"link/cur", b"user/inner"):
        with pytest.raises(Outside):
            root.open_dir(path)
        with pytest.raises(Outside):
            root.make_dirs(path + b"/made")


@pytest.mark.issue("2.P hostile names")
@pytest.mark.parametrize("path", [b"..", b"user/../..", b"/etc", b"user//cur", b"user/.", b"a\0b", b"d/" * 70 + b"d"])
def test_a_path_that_climbs_is_outside(root: Root, path: bytes) -> None:
    with pytest.raises(Outside):
        root.open_dir(path)
    with pytest.raises(Outside):
        root.make_dirs(path)


def test_the_roots_own_path_may_be_a_link_the_operator_chose(store: Path, tmp_path: Path) -> None:
    (tmp_path / "mail").symlink_to(store)
    with Root(str(tmp_path / "mail")) as opened:
        assert opened.inode == store.stat().st_ino


def test_a_file_is_opened_for_reading_and_its_access_time_left_alone(root: Root, store: Path) -> None:
    os.utime(store / "user/cur/m1", ns=(1_000, 2_000))
    fd, found = beneath.open_with_stat(root.open_dir(b"user/cur"), b"m1")
    with os.fdopen(fd, "rb") as file:
        assert file.read() == b"mail"
    assert found.st_size == 4
    assert (store / "user/cur/m1").stat().st_atime_ns == 1_000


@pytest.mark.issue("2.P hostile links, FIFOs, devices")
def test_a_link_in_place_of_a_file_is_outside(root: Root, store: Path) -> None:
    (store / "user/cur/m2").symlink_to("../../../outside/secret")
    with pytest.raises(Outside):
        beneath.open_file(root.open_dir(b"user/cur"), b"m2")


@pytest.mark.issue("2.P hostile links, FIFOs, devices")
def test_a_fifo_or_socket_is_refused_without_waiting(root: Root, store: Path) -> None:
    os.mkfifo(store / "user/cur/fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(store / "user/cur/socket"))
    fd = root.open_dir(b"user/cur")
    before = len(os.listdir("/proc/self/fd"))
    for name in (b"fifo", b"socket"):
        with pytest.raises(NotRegular):
            beneath.open_file(fd, name)
    with pytest.raises(NotRegular):
        beneath.open_file(root.open_dir(b"user"), b"cur")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.issue("2.P hostile links, FIFOs, devices")
@pytest.mark.skipif(os.geteuid() != 0, reason="making a device needs root")
def test_a_device_is_refused(root: Root, store: Path) -> None:
    try:
        os.mknod(store / "user/cur/null", 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError as error:
        pytest.skip(f"no device can be made here: {error}")
    with pytest.raises((NotRegular, PermissionError)):
        beneath.open_file(root.open_dir(b"user/cur"), b"null")


@pytest.mark.issue("2.P hostile names")
@pytest.mark.parametrize("name", BAD_NAMES)
def test_every_call_refuses_a_name_that_is_not_plain(root: Root, name: bytes) -> None:
    fd = root.open_dir(b"user/cur")
    calls: list[Callable[[], object]] = [
        lambda: beneath.open_file(fd, name),
        lambda: beneath.create(fd, name),
        lambda: beneath.rename(fd, name, fd, b"x"),
        lambda: beneath.rename(fd, b"m1", fd, name),
        lambda: beneath.link(fd, name, fd, b"x"),
        lambda: beneath.link(fd, b"m1", fd, name),
        lambda: beneath.unlink(fd, name),
        lambda: beneath.rmdir(fd, name),
        lambda: beneath.stat(fd, name),
    ]
    for call in calls:
        with pytest.raises(Outside):
            call()
    assert beneath.entries(fd) == [b"m1"]


def test_missing_directories_are_made_with_the_mode_whatever_the_umask(root: Root, store: Path) -> None:
    before = os.umask(0o077)
    try:
        made = root.make_dirs(b"user/.A.B/cur", 0o2770)
    finally:
        os.umask(before)
    assert made == [b"user/.A.B", b"user/.A.B/cur"]
    assert [(store / os.fsdecode(path)).stat().st_mode & 0o7777 for path in made] == [0o2770, 0o2770]
    assert root.make_dirs(b"user/.A.B/cur") == []


def test_a_file_is_created_once_and_never_through_a_link(root: Root, store: Path, tmp_path: Path) -> None:
    fd = root.open_dir(b"user/cur")
    os.close(beneath.create(fd, b"m2", 0o640))
    (store / "user/cur/m3").symlink_to(tmp_path / "outside/new")
    for name in (b"m2", b"m3"):
        with pytest.raises(FileExistsError):
            beneath.create(fd, name)
    assert not (tmp_path / "outside/new").exists()


def test_entries_move_link_and_vanish_between_directories(root: Root, store: Path) -> None:
    root.make_dirs(b"user/new")
    cur, new = root.open_dir(b"user/cur"), root.open_dir(b"user/new")
    beneath.link(cur, b"m1", new, b"twin")
    assert beneath.stat(new, b"twin").st_nlink == 2
    with pytest.raises(FileExistsError):
        beneath.link(cur, b"m1", new, b"twin")
    beneath.unlink(cur, b"m1")
    beneath.rename(new, b"twin", cur, b"m1:2,S")
    assert (beneath.entries(new), beneath.entries(cur)) == ([], [b"m1:2,S"])
    beneath.fsync_dir(cur)
    beneath.rmdir(root.open_dir(b"user"), b"new")
    assert not (store / "user/new").exists()


def test_a_link_itself_is_stated_linked_and_removed_never_its_target(root: Root, store: Path, tmp_path: Path) -> None:
    (store / "user/cur/l").symlink_to(tmp_path / "outside/secret")
    fd = root.open_dir(b"user/cur")
    assert beneath.stat(fd, b"l").st_ino != (tmp_path / "outside/secret").stat().st_ino
    beneath.link(fd, b"l", fd, b"l2")
    beneath.unlink(fd, b"l")
    assert os.readlink(store / "user/cur/l2") == str(tmp_path / "outside/secret")
    assert (tmp_path / "outside/secret").read_bytes() == b"secret"


@pytest.mark.issue("2.5 names with any bytes")
def test_names_of_any_bytes_come_back_as_they_are(root: Root, store: Path) -> None:
    given = {b"\xff\xfe", b"a\nb", "grün".encode(), b" ", b"x" * 255}
    for name in given:
        (Path(os.fsdecode(bytes(os.fsencode(store)) + b"/user/cur/" + name))).write_bytes(b"")
    assert set(beneath.entries(root.open_dir(b"user/cur"))) == given | {b"m1"}


def test_the_cache_keeps_its_bound_and_closes_what_was_not_used(store: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with Root(str(store), capacity=8) as root:
        for number in range(50):
            root.make_dirs(b"user/f%d/cur" % number)
            root.open_dir(b"user/cur")
        assert len(os.listdir("/proc/self/fd")) <= before + 9
        assert os.fstat(root.open_dir(b"user/cur")).st_ino == (store / "user/cur").stat().st_ino
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_cache_of_two_still_reaches_deep_directories(store: Path) -> None:
    deep = b"/".join([b"d"] * 60)
    with Root(str(store), capacity=2) as root:
        assert len(root.make_dirs(deep)) == 60
        assert root.open_dir(deep)
    with pytest.raises(ValueError, match="room for two"):
        Root(str(store), capacity=1)


def test_what_was_renamed_is_forgotten_with_all_below_it(root: Root, store: Path) -> None:
    root.make_dirs(b"user/.A/cur")
    root.make_dirs(b"user/.AB")
    old, kept = root.open_dir(b"user/.A/cur"), root.open_dir(b"user/.AB")
    (store / "user/.A").rename(store / "user/.B")
    root.forget(b"user/.A")
    with pytest.raises(OSError) as error:
        os.fstat(old)
    assert error.value.errno == errno.EBADF
    assert root.open_dir(b"user/.AB") == kept
    with pytest.raises(FileNotFoundError):
        root.open_dir(b"user/.A/cur")


def test_a_held_descriptor_outlives_the_root(store: Path) -> None:
    with Root(str(store)) as root:
        mine = root.held(b"user/cur")
    root.close()
    assert beneath.entries(mine) == [b"m1"]
    os.close(mine)


@pytest.mark.issue(
    "2.4 beneath its root every path is opened without following links: a hostile peer can't write outside"
)
def test_a_directory_that_is_swapped_for_a_link_all_the_time_never_leads_outside(store: Path, tmp_path: Path) -> None:
    """A thread swaps `user` and a link to a directory outside; every open finds the real one, or refuses."""
    (tmp_path / "outside/cur").mkdir()
    (store / "bait").symlink_to(tmp_path / "outside")
    honest, stop = (store / "user/cur").stat().st_ino, threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for old, new in (("user", "kept"), ("bait", "user"), ("user", "bait"), ("kept", "user")):
                os.rename(store / old, store / new)

    thread = threading.Thread(target=swap)
    thread.start()
    seen = {"inside": 0, "refused": 0, "gone": 0}
    try:
        with Root(str(store)) as root:
            for _ in range(20_000):
                try:
                    assert os.fstat(root.open_dir(b"user/cur")).st_ino == honest
                    seen["inside"] += 1
                except Outside:
                    seen["refused"] += 1
                except (FileNotFoundError, NotADirectoryError):
                    seen["gone"] += 1
                root.forget(b"")
    finally:
        stop.set()
        thread.join()
    assert seen["inside"] and seen["refused"] + seen["gone"]


def test_syncfs_makes_a_file_system_durable_or_says_that_it_cannot(root: Root) -> None:
    try:
        beneath.syncfs(root.fd)
    except Unsupported:
        assert os.uname().sysname != "Linux"
    with pytest.raises(OSError) as error:
        beneath.syncfs(-1)
    assert error.value.errno == errno.EBADF


@pytest.mark.parametrize(
    ("release", "tells"), [("5.8.0", True), ("5.7.19-generic", False), ("6.18", True), ("4.19.0", False), ("10", True)]
)
def test_syncfs_reports_errors_from_linux_5_8_on(monkeypatch: pytest.MonkeyPatch, release: str, tells: bool) -> None:
    name = os.uname_result(("Linux", "host", release, "", ""))
    monkeypatch.setattr(os, "uname", lambda: name)
    assert beneath.syncfs_reports_errors() is tells
