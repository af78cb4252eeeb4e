"""The guard laid down on a host of a pair, and taken away: over the pinned SSH, or as a child process on this machine.

The agent's code goes along and does the work there (`agent/laying`); it takes root on the host.

Invariant: nothing is sent before each place's fixed address is known, as an address: a guard that had to ask a name
server at boot would wait for what its own mail host may have to serve.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import zlib
from typing import Any

from orchestrator.errors import AgentFault, ConfigError, NotPermitted, Refused
from orchestrator.inventory import Host, Pair
from orchestrator.inventory.model import MIRROR, PRIMARY
from orchestrator.remote import bootstrap
from orchestrator.remote.guarded import guard_settings, has_guard
from orchestrator.remote.install import have_done

WITHIN = 120.0
"""Seconds for the code's way, and for services that have to be stopped."""
_REFUSALS = frozenset(("active", "another-key", "another-pair", "overridden", "port-taken"))


def look(pair: Pair, host: Host, within: float = WITHIN) -> dict[str, Any]:
    """{installed, version, role, held, settings} of the pair's guard there; see `agent/laying`. Raises as `install`."""
    return _errand(host, "look", {"pair": pair.name}, within)


def install(pair: Pair, host: Host, key: bytes, within: float = WITHIN) -> dict[str, Any]:
    """Lay the guard down, or bring it up to this version and this inventory. Idempotent.

    Returns {version, changed, restarted, told}. Raises what `ssh.connect` does, ConfigError, NotPermitted, Refused,
    AgentFault.
    """
    python = "/usr/bin/python3" if host.python == "python3" else host.python
    settings = guard_settings(pair, host, fixed_addresses(pair))
    job: dict[str, Any] = {"settings": settings, "key": key.hex(), "sha": bootstrap.archive().sha, "python": python}
    job["may_begin"] = _may_begin(pair, host, within)
    return _errand(host, "install", job, within)


def _may_begin(pair: Pair, host: Host, within: float) -> bool:
    """Whether a first guard on this host may take its store's word that it is active: the other mail host isn't.

    Raises what `look` does: who can't be asked may be the active one.
    """
    if host.place not in (PRIMARY, MIRROR) or look(pair, host, within)["installed"]:
        return True
    other = pair.mirror if host.place == PRIMARY else pair.primary
    return bool(look(pair, other, within)["role"] != "active")


def remove(
    pair: Pair, host: Host, even_active: bool = False, markers: bool = False, within: float = WITHIN
) -> dict[str, Any]:
    """Take the pair's guard away, and all that it did to the host. Idempotent. Returns {removed, stopped, told}.

    Raises as `install`; the active host is Refused without `even_active`.
    """
    job = {"pair": pair.name, "even_active": even_active, "markers": markers}
    return _errand(host, "remove", job, within)


def fixed_addresses(pair: Pair) -> dict[str, str]:
    """Each guarded place's own address, and those of both mail hosts. Raises ConfigError for one that has none."""
    hosts = [host for host in pair.hosts.values() if has_guard(pair, host) or host in (pair.primary, pair.mirror)]
    return {host.place: _address(host) for host in hosts}


def _address(host: Host) -> str:
    try:
        found = str(socket.getaddrinfo(host.address, None, type=socket.SOCK_DGRAM)[0][4][0])
    except OSError as error:
        raise ConfigError(f"{host.name}: {host.address} has no address: {error}.", remedy=_NAME_IT) from error
    if ipaddress.ip_address(found.partition("%")[0]).is_loopback:
        raise ConfigError(f"{host.name}: {host.address} is {found} here, which no other host reaches.", remedy=_NAME_IT)
    return found


_NAME_IT = "Name the host's fixed address by ansible_host, for this machine too."


def _errand(host: Host, errand: str, job: dict[str, Any], within: float) -> dict[str, Any]:
    files = json.loads(zlib.decompress(bootstrap.archive().data))
    line = json.dumps({"errand": errand, "job": job, "files": files}).encode() + b"\n"
    said = have_done(host, "errand.py", line, within)
    if "fault" not in said:
        return said
    code, message, remedy = said["fault"]
    if code == "not-root":
        raise NotPermitted(f"{host.name}: {message}.", remedy=remedy)
    if code in _REFUSALS:
        raise Refused(f"{host.name}: {message}.", remedy=remedy)
    raise AgentFault(f"{host.name}: {message}", code=code, remedy=remedy)
