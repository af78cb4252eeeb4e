"""What systemd starts on a host of the lab, and nothing else; its name, its addresses, its door for SSH.

Invariant: pure but for a look at which units the image would start. Boot ends with `lab.target`, which wants exactly
the services that the host was given; everything that early boot would pull in is masked, but for what `_KEPT` names.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab.files import File, Files, Link

_KEPT = {
    "systemd-journal-flush.service",
    "systemd-journald-dev-log.socket",
    "systemd-journald.service",
    "systemd-journald.socket",
    "systemd-tmpfiles-setup.service",
}
_EARLY = ("basic", "local-fs", "paths", "slices", "sockets", "sysinit", "timers")
_UNITS = ("etc/systemd/system", "lib/systemd/system", "usr/lib/systemd/system")
_GENERATORS = ("lib/systemd/system-generators", "usr/lib/systemd/system-generators")
_KEPT_GENERATORS = {"postfix-instance-generator"}

_JOURNAL = """[Journal]
Storage=persistent
SystemMaxUse=16M
SystemMaxFileSize=2M
RateLimitIntervalSec=0
"""
_PID_1 = """[Manager]
DefaultTimeoutStartSec=20s
DefaultTimeoutStopSec=5s
DefaultCPUAccounting=no
DefaultMemoryAccounting=no
DefaultTasksAccounting=no
"""
_TARGET = """[Unit]
Description=A host of the lab
Requires=basic.target
After=basic.target {services}
Wants={services}
AllowIsolate=yes
"""
_SSHD = """Include /etc/ssh/sshd_config.d/*.conf
Port 22
HostKey /etc/ssh/lab_host_key
AuthorizedKeysFile .ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
MaxStartups 100
MaxSessions 30
LogLevel VERBOSE
AcceptEnv LANG
Subsystem sftp internal-sftp
"""


def shared(root: Path) -> Files:
    """The files of every host, above an image that can be seen at `root`."""
    files: dict[str, str | File | Link] = {
        "/etc/systemd/journald.conf": _JOURNAL,
        "/etc/systemd/system.conf": _PID_1,
        "/etc/ssh/sshd_config": _SSHD,
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n",
        "/etc/fstab": "",
    }
    for name in sorted(_wanted_early(root) - _KEPT):
        files[f"/etc/systemd/system/{name}"] = Link("/dev/null")
    for name in sorted(_generators(root) - _KEPT_GENERATORS):
        files[f"/etc/systemd/system-generators/{name}"] = Link("/dev/null")
    return files


def _wanted_early(root: Path) -> set[str]:
    return {
        entry.name
        for units in _UNITS
        for target in _EARLY
        for entry in (root / units / f"{target}.target.wants").glob("*")
        if not entry.name.endswith(".target")
    }


def _generators(root: Path) -> set[str]:
    return {entry.name for place in _GENERATORS for entry in (root / place).glob("*")}


def own(name: str, domain: str, hosts: Mapping[str, str], nameserver: str, services: Sequence[str]) -> Files:
    """The files that make one host itself. `hosts` are the addresses of all of them, by name."""
    names = "".join(f"{address} {host}.{domain} {host}\n" for host, address in hosts.items())
    return {
        "/etc/hostname": f"{name}\n",
        "/etc/mailname": f"{name}.{domain}\n",
        "/etc/machine-id": f"{uuid.uuid4().hex}\n",
        "/etc/hosts": f"127.0.0.1 localhost\n{names}",
        "/etc/resolv.conf": f"search {domain}\nnameserver {nameserver}\noptions timeout:1 attempts:2\n",
        "/etc/systemd/system/lab.target": _TARGET.format(services=" ".join(services)),
    }
