"""What a read collects, what the caches keep, and when a process is named."""

from __future__ import annotations

import os
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.fanotify import Processes
from orchestrator.agent.handles import Recent
from orchestrator.agent.hint import Hint, Hints, Place, remote_kind
from orchestrator.agent.watch import Polling

NAMES = st.sampled_from([b"", b"a", b"b"])
HINTS = st.tuples(NAMES, NAMES, st.sampled_from(["appeared", "vanished"]), st.sampled_from([None, b"imap", b"rm"]))


@given(st.lists(HINTS))
def test_each_directory_name_and_what_is_told_once_and_only_a_certain_process(
    given_: list[tuple[bytes, bytes, str, bytes | None]],
) -> None:
    hints = Hints()
    for hint in given_:
        hints.add(*hint)
    told = hints.take()
    assert [hint[:3] for hint in told] == list(dict.fromkeys(hint[:3] for hint in given_))
    for one in told:
        processes = {each[3] for each in given_ if each[:3] == one[:3]}
        assert one.process == (processes.pop() if len(processes) == 1 else None)
    assert hints.take() == []


def test_when_the_root_has_left_nothing_else_counts() -> None:
    hints = Hints()
    hints.add(b"a", b"b", "vanished", b"rm")
    hints.gone()
    assert hints.take() == [Hint(b"", b"", "gone", None, True)]


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans())), st.integers(1, 4))
def test_what_was_used_last_is_kept_and_the_rest_is_bounded(steps: list[tuple[int, bool]], capacity: int) -> None:
    recent: Recent[int] = Recent(capacity)
    last: dict[bytes, int] = {}
    for number, (key, put) in enumerate(steps):
        name = b"%d" % key
        if put:
            recent.put(name, number)
            last.pop(name, None)
            last[name] = number
        else:
            assert recent.get(name) in (None, last.get(name))
        assert len(recent) <= 2 * capacity
    for name in list(last)[-capacity:] if all(put for _, put in steps) else []:
        assert recent.get(name) == last[name]


def test_a_process_is_named_while_its_pidfd_proves_it_and_for_a_second_after() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    pidfd = os.pidfd_open(child.pid)
    processes = Processes()
    python = os.path.basename(os.path.realpath(sys.executable)).encode()
    assert processes.name(child.pid, pidfd) == python
    processes.begin()
    child.communicate(b"\n")
    assert processes.name(child.pid, pidfd) is None, "its pid may be another's by now"
    processes = Processes()
    assert processes.name(child.pid, -1) is None
    os.close(pidfd)


def test_a_process_that_has_just_ended_is_remembered() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    pidfd = os.pidfd_open(child.pid)
    processes = Processes()
    named = processes.name(child.pid, pidfd)
    child.communicate(b"\n")
    processes.begin()
    assert named is not None
    assert processes.name(child.pid, -1) == named
    os.close(pidfd)


def test_a_zombie_is_named_by_its_comm() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    pidfd = os.pidfd_open(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    comm = Processes().name(child.pid, pidfd)
    child.wait()
    os.close(pidfd)
    assert comm is not None
    assert comm.startswith(b"python")


def test_a_pid_without_a_proof_is_nobody() -> None:
    assert Processes().name(0, -1) is None
    assert Processes().name(os.getpid(), -1) is None


def test_polling_tells_nothing_and_looks_every_two_seconds() -> None:
    watch = Polling("why not")
    watch.follow(b"a")
    watch.forget(b"a")
    watch.close()
    assert (watch.kind, watch.why, watch.interval, watch.fileno(), watch.read()) == ("poll", "why not", 2.0, None, [])


def test_a_local_file_system_is_not_a_remote_one() -> None:
    assert remote_kind("/proc") == ""


def test_a_place_has_left_once() -> None:
    place = Place("/proc")
    assert not place.left()
    assert place.left(certain=True)
    assert place.gone
    assert not place.left(certain=True)
