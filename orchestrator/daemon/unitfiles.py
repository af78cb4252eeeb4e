"""The units of the daemon and of the agent on its own host, as texts. Pure.

The daemon is an ordinary user with nothing but files and the network. What takes root on its own host (the mirror,
where `ansible_connection` is local) is done by the agent: a socket that the group may connect to, and for each
conversation a service bound to the pair's stores, as a forced command binds a key. Secrets that only root may read are
handed to the daemon as credentials.

Not set, and why: `PrivateUsers=` would show every caller of the control socket as nobody (SO_PEERCRED),
`ProcSubset=pid` hides which boot this is, and `Type=notify-reload` needs systemd 253. The agent's service keeps what
its work takes: the stores lie anywhere, files keep setgid bits, and fanotify takes CAP_SYS_ADMIN.

Sources: systemd.service(5), systemd.exec(5), systemd.socket(5).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

USER = "mailmirror"
"""The daemon's user, and the group whose members may ask the daemon and the agent's socket."""
DAEMON, SOCKET, AGENT = "mailmirror.service", "mailmirror-agent.socket", "mailmirror-agent@.service"
WATCHDOG = 30
"""Seconds without a word until systemd starts the daemon anew."""


@dataclass(frozen=True)
class Local:
    """What the agent on this host may do: in which stores, and whether with services too."""

    stores: tuple[str, ...]
    services: bool


@dataclass(frozen=True)
class Installation:
    """Where things lie: the command, the Python that runs it, the directory of the package, the inventory; the state
    directory as its name below /var/lib; credentials by name, each with its file; what is done on this very host.
    """

    command: str = "/usr/local/bin/mailmirror"
    python: str = "/usr/bin/python3"
    house: str = "/usr/local/lib/python3.11/dist-packages"
    inventory: str = "/etc/mailmirror/inventory.yaml"
    state: str = "mailmirror"
    credentials: Mapping[str, str] = field(default_factory=dict)
    local: Local | None = None


_HEAD = "# Laid down by `mailmirror service install`; a change is lost at the next one (use a drop-in).\n"
_DAEMON = """[Unit]
Description=mailmirror: keeps the mirrors of mail stores
Wants=network-online.target{socket}
After=network-online.target time-sync.target{socket}
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={command} -i {inventory} run
# An inventory that isn't valid fails the reload, and the daemon goes on with the old one.
ExecReload={command} -i {inventory} config check
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2s
WatchdogSec={watchdog}s
TimeoutStartSec=60s
TimeoutStopSec=20s
User={user}
Group={user}
UMask=0027
StateDirectory={state}
StateDirectoryMode=0750
RuntimeDirectory=mailmirror
CacheDirectory=mailmirror
Environment=XDG_CACHE_HOME=/var/cache/mailmirror
{credentials}NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
ProtectProc=invisible
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""
_SOCKET = """[Unit]
Description=mailmirror's agent on this host, for the daemon

[Socket]
ListenStream=/run/mailmirror-agent/agent.sock
SocketMode=0660
SocketGroup={user}
DirectoryMode=0755
Accept=yes
MaxConnections=64

[Install]
WantedBy=sockets.target
"""
_AGENT = """[Unit]
Description=mailmirror's agent on this host: one conversation
CollectMode=inactive-or-failed

[Service]
ExecStart={python} -I -S -c "{start}" {house} --group {user} --stores {stores} --allow {allow}
StandardInput=socket
StandardOutput=socket
StandardError=journal
TimeoutStopSec=10s
StateDirectory=mailmirror-agent
StateDirectoryMode=0700
CapabilityBoundingSet={capabilities}
NoNewPrivileges=yes
ProtectSystem=full
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectHostname=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies={families}
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service @file-system fanotify_init fanotify_mark open_by_handle_at name_to_handle_at
SystemCallFilter=~@clock @cpu-emulation @debug @module @mount @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
"""
_START = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from orchestrator.agent.main import main; sys.exit(main(sys.argv[1:]))"
)
_STORES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_SYS_ADMIN",
    "CAP_SYS_PTRACE",
)  # fmt: skip
"""Other people's files, fanotify, and whether a Dovecot that runs here can reach the stores."""
_SERVICES = ("CAP_KILL", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID")
"""Addresses that move, refused connections, and Postfix's own commands."""


def units(where: Installation) -> dict[str, str]:
    """The text of each unit, by its file's name; those of the agent only where it is reached on this very host."""
    found = {DAEMON: _daemon(where)}
    if where.local is not None:
        found[SOCKET] = _HEAD + _SOCKET.format(user=USER)
        found[AGENT] = _agent(where, where.local)
    return found


def _daemon(where: Installation) -> str:
    lines = "".join(f"LoadCredential={_word(f'{name}:{path}')}\n" for name, path in where.credentials.items())
    return _HEAD + _DAEMON.format(
        socket=f" {SOCKET}" if where.local else "",
        command=_word(where.command),
        inventory=_word(where.inventory),
        watchdog=WATCHDOG,
        user=USER,
        state=_word(where.state),
        credentials=lines,
    )


def _agent(where: Installation, local: Local) -> str:
    families = "AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET" if local.services else "AF_UNIX"
    return _HEAD + _AGENT.format(
        python=_word(where.python),
        start=_START,
        house=_word(where.house),
        user=USER,
        stores=_word(",".join(local.stores)),
        allow="replication,services" if local.services else "replication",
        capabilities=" ".join([*_STORES, *(_SERVICES if local.services else ())]),
        families=families,
    )


def _word(text: str) -> str:
    """One word of a unit file, whatever is in it."""
    safe = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{safe}"' if any(letter.isspace() or letter in "\"'\\;" for letter in safe) else safe


SAMPLE = Installation(local=Local(("/var/vmail",), services=True))
"""What the units in deploy/systemd are made of, for whoever packages mailmirror."""

if __name__ == "__main__":
    for name, text in units(SAMPLE).items():
        Path(sys.argv[1], name).write_text(text)
