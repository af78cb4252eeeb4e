"""Nothing stays on the machine: no file, mount, namespace, group or process; not even when the owner is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import machine
from tests.lab.machine import Trace
from tests.lab.site import Site
from tests.lab.waiting import until
from tests.support import require
from tests.support.image import CHECKOUT, PATH

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]

_OWNER = """
from tests.lab import roots
from tests.lab.site import Site
import sys
roots.privately()
with Site(("primary", "nameserver"), users=1) as site:
    site.boot()
    site.primary.start(["sleep", "1000"])
    site.primary.freeze()
    print("booted", site.switch.path, flush=True)
    sys.stdin.read()
    site.primary.thaw()
"""


def _owner() -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": str(CHECKOUT), "PATH": PATH, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-c", _OWNER],  # a suite in the background ignores it
        env=environment,
        text=True,
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


@pytest.mark.issue("3.1 everything is removed afterwards, also after a crash or Ctrl-C")
@pytest.mark.parametrize("end", ["leave", signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_owner_ends(end: str | signal.Signals) -> None:
    require.hosts()
    with _owner() as owner:
        assert owner.stdout is not None and owner.stdin is not None
        word, _ = owner.stdout.readline().split()
        assert word == "booted"
        mounts = os.open(f"/proc/{owner.pid}/ns/mnt", os.O_RDONLY)  # else its number may be another's by and by
        devices = machine.loop_devices(owner.pid)
        assert len(devices) > 4
        assert len(machine.processes(owner.pid)) > 4
        if isinstance(end, signal.Signals):
            owner.send_signal(end)
        else:
            owner.stdin.close()
        owner.wait(20)
    until(lambda: not machine.processes(owner.pid), what="all its processes have ended")
    until(lambda: not machine.groups(owner.pid), what="its control groups are gone")
    try:
        number = os.fstat(mounts).st_ino
        until(lambda: number not in machine.mount_namespaces(), what="nobody lives among its mounts")
    finally:
        os.close(mounts)
    until(lambda: not machine.in_use(devices), what="its loop devices are free")


@pytest.mark.issue("3.1 everything is removed afterwards, also when a host's own keeper is killed")
def test_a_host_dies_with_its_cradle(fragile_site: Site) -> None:
    host = fragile_site.witness
    [cradle] = [pid for pid in machine.processes(os.getpid()) if f'"name": "{host.name}"' in machine.command(pid)]
    os.kill(cradle, signal.SIGKILL)
    until(lambda: not host.is_up, what="its init has died")
    assert host.boot() < 60


@pytest.mark.issue("3.1 the machine's own root stays clean")
def test_the_machines_own_root_is_unchanged(site: Site, machine_before: Trace) -> None:
    site.primary.run("touch /etc/only-in-the-lab /usr/bin/only-in-the-lab /var/lib/only-in-the-lab")
    now = Trace.taken()
    assert now.root == machine_before.root
    assert now.mounts == machine_before.mounts
    assert not Path("/usr/sbin/postfix").exists() or ("/usr/sbin/postfix", 0) in machine_before.root


@pytest.mark.issue("3.7 skipped with one line where the machine can't; with CI=true a failure")
@pytest.mark.parametrize(("ci", "outcome"), [("", "1 skipped"), ("true", "1 error")])
def test_a_machine_that_cannot_run_the_lab_says_so(tmp_path: Path, ci: str, outcome: str) -> None:
    """As root without CAP_SYS_ADMIN, as in a plain container."""
    require.hosts()
    words = ["-q", "-p", "no:cacheprovider", "-rs", f"--basetemp={tmp_path}/x"]
    test = f"{CHECKOUT}/tests/lab/test_mail.py::test_a_site_describes_itself"
    pytest_run = [sys.executable, "-m", "pytest", *words, test]
    environment = {"PATH": PATH, "PYTHONDONTWRITEBYTECODE": "1", "CI": ci}
    run = subprocess.run(
        ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all", *pytest_run],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert outcome in run.stdout, run.stdout + run.stderr
    assert "needs " in run.stdout
