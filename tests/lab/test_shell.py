"""`make lab`, as an operator would use it: lines typed at the prompt, and Ctrl-D."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.lab import machine
from tests.lab.waiting import until
from tests.support import require
from tests.support.image import CHECKOUT, PATH

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]

_LINES = """hosts
send u01 hello
mailmirror config check
on mirror hostname
cut primary mirror
heal
power_cut primary
send u01
boot primary
boot nowhere
nonsense
freeze mirror
thaw mirror
service primary status dovecot
mend
"""


@pytest.mark.issue("3.2 make lab boots a site, runs mailmirror on it, and gives the operator a shell")
def test_the_shell_does_what_is_typed_and_tears_all_down() -> None:
    require.hosts()
    environment = {"PYTHONPATH": str(CHECKOUT), "PATH": PATH, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/root"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.lab"],
        cwd=CHECKOUT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as shell:
        said, _ = shell.communicate(_LINES, timeout=120)
    assert shell.returncode == 0, said
    for expected in (
        "The site stands.",
        "<mirror mail2 10.20.0.12 up>",
        "mail1.example.test: taken",
        "no problems",
        "mail2\n",
        "mail2.example.test: taken",
        "ValueError: no host 'nowhere'; there are nameserver, primary",
        "Unknown syntax: nonsense",
        "Active: active (running)",
        "tearing down ...",
    ):
        assert expected in said, f"{expected!r} isn't in\n{said}"
    assert "Traceback" not in said
    until(lambda: not machine.processes(shell.pid) and not machine.groups(shell.pid), what="all is torn down")
