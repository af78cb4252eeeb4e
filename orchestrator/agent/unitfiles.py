"""The unit of the guard and the drop-ins of the boot gate, as texts. Pure.

The boot gate asks the living guard each time that a mail service is about to start, at boot and later, by whoever: a
file in /run that says "open" could be left over by a guard that has died or hangs. A service asks by `ExecCondition=`
and is skipped, without a failed state, unless the command ends with 0. Before systemd 243, which doesn't know that, and
for a socket, which can't have it, it is `ExecStartPre=`: what may not start is `failed` there. (A socket has to be
gated itself: it would start its service at a client's first byte, over and over.) Whatever goes wrong with the command
(no guard, no code, out of time) keeps the unit down: the gate fails shut.

Services come after the guard, which says that it is ready as soon as the gate is shut and its register is read, so no
boot waits for a grant; the guard starts them once there is one. It wants nothing but local file systems: what has to be
up before the network can't wait for what comes after it.

systemd keeps the guard's UDP socket while it is started anew, so that nobody else can take the port meanwhile.

Invariant: a unit's drop-in is the same whatever the pair; the unit's text follows from where the guard lies and its
`guard.json` alone. Sources: systemd.service(5), systemd.socket(5), systemd.unit(5), systemd.special(7).
"""

from __future__ import annotations

import os
from typing import Any, List, Mapping

from .homes import PLAIN, Home

PROGRAM, UNIT = PLAIN.program, PLAIN.unit
"""Of the guard of a mail host."""
GATE = PROGRAM + " gate"
"""The boot gate's command, followed by the unit's name: 0 lets the unit start, 1 to 254 keep it down."""
UNITS = "/etc/systemd/system"
WANTED_BY = "sysinit.target"
"""As nftables.service: whatever is booted, a rescue shell's network too, the gate is shut first."""
DROP_IN = "mailmirror-gate.conf"
WATCHDOG, STOPS = 10.0, 5.0
"""Seconds without a word from the guard, which gives one a second, until systemd starts it anew, and for which it may
be busy ending; a granter that ends first lets the active have a grant, for half a ttl.
"""
KNOWS_EXEC_CONDITION = 243

_GATED = f"""# mailmirror's boot gate: the guard says whether this may start. `mailmirror agent remove` takes it away.
[Unit]
Wants={UNIT}
After={UNIT}

[{{section}}]
{{word}}=+{GATE} %n
"""
_GUARD = """# Laid down by `mailmirror agent install`; a change is lost at the next update (use a drop-in).
[Unit]
Description=mailmirror's guard of {pair}: lease, epoch and boot gate
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
# What loads a ruleset empties the whole of it, once, before the gate is laid.
After=local-fs.target systemd-modules-load.service nftables.service firewalld.service ufw.service
RequiresMountsFor={state} {lib}
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={program} run
ExecStopPost={program} tidy
Restart=always
RestartSec=100ms
WatchdogSec={watchdog:g}s
TimeoutStartSec=20s
TimeoutStopSec={stops:g}s
OOMScoreAdjust=-900
UMask=0077
FileDescriptorStoreMax=1
RuntimeDirectory={run}
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=restart
StateDirectory={directory}
StateDirectoryMode=0700
CapabilityBoundingSet={capabilities}
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={writes}
ProtectHome={at_home}
PrivateTmp=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectHostname=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy={wanted_by}
"""
_NETWORK = ("CAP_NET_ADMIN", "CAP_NET_RAW")
_POSTFIX = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID")
"""`postconf -e` keeps the owner of main.cf, and `postfix reload` becomes the user postfix for its queue."""
_POSTFIX_WRITES = ("-/etc/postfix", "-/var/spool/postfix", "-/var/lib/postfix")
_DOVECOT, _DOVECOT_WRITES = "dovecot.service", ("-/etc/dovecot",)
"""What it advertises changes back by itself (`advertised`)."""


def drop_in(unit: str, version: int) -> str:
    """The drop-in of a service or a socket, for systemd of that version. ValueError for another kind of unit."""
    if unit.endswith(".socket"):
        return _GATED.format(section="Socket", word="ExecStartPre")
    if not unit.endswith(".service"):
        raise ValueError(f"{unit} is neither a service nor a socket")
    word = "ExecCondition" if version >= KNOWS_EXEC_CONDITION else "ExecStartPre"
    return _GATED.format(section="Service", word=word)


def drop_in_path(unit: str) -> str:
    """Where it lies: a template's own directory counts for each of its instances."""
    name, at, rest = unit.partition("@")
    return f"{UNITS}/{name}@.{rest.rpartition('.')[2]}.d/{DROP_IN}" if at else f"{UNITS}/{unit}.d/{DROP_IN}"


def guard_unit(settings: Mapping[str, Any], home: Home = PLAIN) -> str:
    """The guard's unit for a host with these settings (guard.json), for one that lies there."""
    stores: List[str] = list(settings.get("stores", ()))
    postfix = bool(settings.get("postfix"))
    dovecot = _DOVECOT_WRITES if _DOVECOT in settings.get("units", ()) else ()
    writes = [
        *(_POSTFIX_WRITES if postfix else ()),
        *dovecot,
        *(_quoted(f"-{store}") for store in stores),
        "-/run/systemd",
    ]
    at_home = any(store == top or store.startswith(top + "/") for store in stores for top in ("/home", "/root"))
    capabilities = (*_NETWORK, *(_POSTFIX if postfix or stores else ()))
    ttl = float(settings.get("ttl", 0))
    return _GUARD.format(
        watchdog=max(WATCHDOG, ttl),
        stops=STOPS + ttl / 2,
        capabilities=" ".join(capabilities),
        writes=" ".join(writes),
        at_home="no" if at_home else "yes",
        pair=settings["pair"],
        program=home.program + (f" --pair {home.named}" if home.named else ""),
        lib=os.path.dirname(home.program),
        state=home.state,
        directory=os.path.relpath(home.state, "/var/lib"),
        run=os.path.basename(home.run),
        wanted_by=WANTED_BY,
    )


def _quoted(path: str) -> str:
    return '"' + path.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"') + '"'


def program(python: str, home: Home) -> str:
    """The command `mailmirror-guard`. What it imports late comes from the version that it began with."""
    start = (
        f'import os, sys; sys.path.append(os.path.realpath("{home.code}/current")); '
        "from orchestrator.agent.guardtalk import main; sys.exit(main(sys.argv[1:]))"
    )
    return f"#!/bin/sh\nexec {python} -I -S -c '{start}' \"$@\"\n"
