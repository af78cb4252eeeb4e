"""mailmirror on the lab's hosts: what a site's operator would have installed, and no more.

The controller stands on the mirror: this checkout and the Python environment of its generation, both read-only, an
inventory, a key, the primary's pinned host key, and a unit that isn't started by itself. The other hosts have only
their Debian python3: the agent is shipped to them.

Invariant: pure.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Sequence

import yaml

from tests.lab import clock, plan
from tests.lab.files import File, Files
from tests.lab.generation import Generation
from tests.support.image import CHECKOUT

UNIT = "mailmirror.service"
PAIR = "example_test"
_HOME = "/opt/mailmirror"
_SSH = "/etc/mailmirror"
_LIBRARIES = "/opt/mailmirror-libraries"

PYTHON = "/usr/local/bin/lab-python"
"""A Python in which the checkout's modules are found, on the controller's host and the client's."""

_PYTHON = f"""#!/bin/sh
export PYTHONPATH={_HOME}:{{libraries}} PYTHONDONTWRITEBYTECODE=1
exec {{python}} "$@"
"""
_COMMAND = f"""#!/bin/sh
exec {PYTHON} -m orchestrator "$@"
"""
_SERVICE = f"""[Unit]
Description=mailmirror
After=network.target

[Service]
EnvironmentFile=-{clock.ENVIRONMENT}
ExecStart=/usr/local/bin/mailmirror run
Restart=on-failure
RestartSec=1s
"""
# Debian's own unit starts it with this file; not by itself, since it costs an idle site more than all other services.
_PROMETHEUS = f"""global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files: [{_HOME}/deploy/prometheus/recording.yml, {_HOME}/deploy/prometheus/alerts.yml]
scrape_configs:
  - job_name: mailmirror
    static_configs:
      - targets: ["127.0.0.1:{plan.METRICS}"]
"""


def binds(generation: Generation) -> list[tuple[str, str, bool]]:
    """What a host with `python` sees of this machine: (outside, inside, writable)."""
    return [(os.fspath(CHECKOUT), _HOME, False), *generation.binds()]


def python(generation: Generation) -> Files:
    """The files of every host on which the checkout's modules run."""
    return {PYTHON: File(_PYTHON.format(libraries=generation.libraries, python=generation.python), 0o755)}


def for_everybody(generation: Generation) -> tuple[list[tuple[str, str, bool]], Files]:
    """Binds and files as above, of a Python that an ordinary user in a sandbox can run too: the host's own, where the
    tests' lies in somebody's home.
    """
    if not os.path.realpath(generation.python).startswith(("/root/", "/home/")):
        return [], {}
    libraries = sysconfig.get_path("purelib")
    script = _PYTHON.format(libraries=_LIBRARIES, python="/usr/bin/python3")
    return [(libraries, _LIBRARIES, False)], {PYTHON: File(script, 0o755)}


def controller(private_key: str, known_hosts: str, places: Sequence[str]) -> Files:
    """The files of the host that the controller runs on, beside those of `python`."""
    return {
        "/usr/local/bin/mailmirror": File(_COMMAND, 0o755),
        f"/etc/systemd/system/{UNIT}": _SERVICE,
        "/etc/prometheus/prometheus.yml": _PROMETHEUS,
        f"{_SSH}/id_ed25519": File(private_key, 0o600),
        f"{_SSH}/known_hosts": known_hosts,
        f"{_SSH}/inventory.yaml": yaml.safe_dump(inventory(places), sort_keys=False),
    }


def inventory(places: Sequence[str]) -> dict[str, object]:
    """The site as its operator would write it down."""
    hosts = {
        plan.SEATS[place].full_name: {
            "mm_place": place,
            **({"ansible_connection": "local"} if place == "mirror" else {"ansible_host": plan.SEATS[place].address}),
        }
        for place in ("primary", "mirror", "witness", "archive")
        if place in places
    }
    variables = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": f"{_SSH}/id_ed25519",
        "mm_known_hosts": f"{_SSH}/known_hosts",
        "mm_state_dir": "/var/lib/mailmirror",
        "mm_listen": f"127.0.0.1:{plan.METRICS}",
        "mm_stores": [plan.STORE],
        "mm_services": {"smtp": "postfix", "imap": "dovecot"},
    }
    return {"mailmirror": {"vars": variables, "children": {PAIR: {"hosts": hosts}}}}
