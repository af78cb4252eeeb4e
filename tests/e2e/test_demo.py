"""`mailmirror demo` as a newcomer runs it: its proofs hold, it takes less than two minutes, and nothing is left of it.

It runs as whoever runs the tests, and where that is root also as an ordinary user, in a root of its own. The demo gets
a temporary directory of its own, so that what it leaves can be seen: files there, and processes whose command line or
environment names it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import image, require

GUEST = 47_113
"""A user id that owns nothing on any machine; 65534 may own whatever a container can't map."""
PATIENCE = 240.0  # seconds; the promise of two minutes is for a machine that does nothing else
ACTS, PROOFS = 13, 32


@pytest.fixture
def place() -> Iterator[Path]:
    """A long path: a Unix socket's own may be of 107 bytes, and the product's stands below it all the same."""
    with tempfile.TemporaryDirectory(prefix="mm-", dir="/tmp") as directory:
        deep = Path(directory) / ("deep" * 30)
        deep.mkdir()
        yield deep


@contextmanager
def demo(directory: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`mailmirror demo`, in a session of its own, with `directory` as its temporary directory."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "orchestrator.cli", "demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(directory)},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def leftovers(directory: Path) -> list[str]:
    """Files below `directory`, and live processes that name it in their command line, environment or open files."""
    found = [str(path) for path in directory.iterdir()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if str(directory).encode() in said and int(process.name) != os.getpid():
                found.append(said.replace(b"\0", b" ")[:200].decode(errors="replace"))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found


def nothing_left(directory: Path, within: float = 10.0) -> bool:
    deadline = time.monotonic() + within
    while leftovers(directory):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def seconds_of_a_whole_story(out: str) -> int:
    """How long it took; fails unless every proof is there."""
    told = re.search(r"(\d+) proofs held, in (\d+) s", out)
    assert told and int(told[1]) == PROOFS == len(re.findall(r"^   ✓ ", out, re.MULTILINE)), out
    return int(told[2])


@pytest.mark.issue("2.7 make demo")
@pytest.mark.issue("2.7 cut the link and heal it")
@pytest.mark.issue("5.7 make demo goes on to the journeys: primary dies, rejoin, failback, all equal")
@pytest.mark.issue("4.5 make demo shows a lease running out and DNS flipping on its embedded site")
def test_the_demo_proves_what_it_shows_within_two_minutes_and_leaves_nothing(place: Path) -> None:
    with demo(place, "--seed", "7") as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    assert out.startswith("mailmirror demo: ") and "(seed 7)" in out
    assert seconds_of_a_whole_story(out) < 120, out
    acts = [int(found[1]) for line in out.splitlines() if (found := re.match(r"(\d+)  ", line))]
    assert acts == list(range(1, ACTS + 1)), out
    for journey in ("switchover", "failover", "failback"):
        steps = r"every step is done\n(     .* · .*\n)+   ✓ clients are"
        assert re.search(rf"`mailmirror {journey}` +[\d.]+ s   {steps}", out), out
    assert re.search(r"`mailmirror rejoin` +[\d.]+ s   every step is done", out), out
    assert re.search(r"dead link +[\d.]+ s", out) and re.search(r"healed; until the backlog was there +[\d.]+ s", out)
    assert "\x1b" not in out, "no colour where there is no terminal"
    assert nothing_left(place), leftovers(place)


@pytest.mark.issue("2.7 Ctrl-C cleans up")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("act", ["1  ", "2  ", "3  "])
def test_an_interrupted_demo_cleans_up(place: Path, number: signal.Signals, act: str) -> None:
    with demo(place) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if line.startswith(act):
                break
        process.send_signal(number)
        process.send_signal(signal.SIGINT)  # an impatient second one must not stop the cleaning up
        process.stdout.read()
        said = process.stderr.read()
        process.wait(PATIENCE)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert nothing_left(place), leftovers(place)


@pytest.mark.issue("2.7 make demo")
def test_a_demo_that_fails_says_what_failed_and_keeps_its_logs_when_asked(place: Path) -> None:
    with demo(place, "--keep") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("2  "):
                break
        (directory,) = place.glob("mailmirror-demo-*")
        inventory = directory / "controller" / "inventory.yaml"
        inventory.write_text(inventory.read_text().replace("mm_place: mirror", "mm_place: nowhere"))
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, out + err
    assert "the demo failed: `mailmirror init demo` ended with 78" in err and "nowhere" in err
    assert str(directory / "logs") in err
    logs = {f"mail1-{what}.log" for what in ("sshserver", "smtpfront", "guard")} | {"mailmirror.log"}
    assert {path.name for path in (directory / "logs").iterdir()} >= logs
    assert (directory / "mail1" / "vmail" / "example.org" / "anna" / "cur").is_dir()


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[image.Root]:
    """A root in which everybody can run this Python and a copy of the package, which stands in /house."""
    require.root()
    house = tmp_path / "house"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(image.CHECKOUT / "orchestrator", house / "orchestrator", ignore=ignored)
    binds = [(str(house), "/house"), *((place, place) for place in {sys.prefix, sys.base_prefix})]
    with image.Root(binds=binds, net=image.LOOPBACK) as root:
        # The way to the interpreter may lead through root's home: in here, it is opened.
        above = {str(parent) for place in (sys.prefix, sys.base_prefix) for parent in Path(place).parents}
        root.check(["chmod", "a+rx", *sorted(above)])
        root.check(["chmod", "-R", "a+rX", "/house"])
        yield root


def told(root: image.Root, uid: int) -> str:
    """What the demo tells this user; fails unless it ends well."""
    who = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    home = "/tmp/home"
    root.check(["install", "-d", "-o", str(uid), "-g", str(uid), home])
    environment = {"PATH": image.PATH, "HOME": home, "PYTHONPATH": "/house", "LC_ALL": "C.UTF-8"}
    line = [*who, sys.executable, "-B", "-u", "-m", "orchestrator.cli", "demo", "--seed", "7"]
    with root.run(
        line, env=environment, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    return str(out)


@pytest.mark.lab
@pytest.mark.issue("2.7 demo as an ordinary user")
def test_an_ordinary_user_is_told_the_same_story_and_it_leaves_nothing(guest: image.Root) -> None:
    assert seconds_of_a_whole_story(told(guest, GUEST)) < 120
    # Hundreds of thousands of files of the machine's, where no ordinary user can write: a minute on a slow disk.
    unwritable = [
        word for place in ("/usr", "/root", "/opt", image.CHECKOUT) for word in ("-path", str(place), "-prune", "-o")
    ]
    places = ["/", "/tmp", "/run", "/dev/shm"]
    theirs = guest.check(["find", *places, "-xdev", *unwritable, "-user", str(GUEST), "-print"]).decode().split()
    assert set(theirs) == {"/tmp/home"}
    assert guest.check(["find", "/tmp", "-maxdepth", "1", "-name", "mailmirror*"]) == b""


@pytest.mark.lab
@pytest.mark.issue("2.7 demo as root, beside an installation")
def test_root_s_demo_leaves_an_installed_agent_alone(guest: image.Root) -> None:
    guest.check(
        ["sh", "-c", "mkdir -p /var/lib/mailmirror-agent/code /var/lib/mailmirror && touch -d @1 /var/lib/mailmirror*"]
    )
    look = ["find", "/var/lib/mailmirror", "/var/lib/mailmirror-agent", "/run", "-printf", "%p %T@\\n"]
    before = guest.check(look)
    assert seconds_of_a_whole_story(told(guest, 0)) < 120
    assert guest.check(look) == before
