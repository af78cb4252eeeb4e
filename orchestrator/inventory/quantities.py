"""Durations, rates, roots and addresses as people write them: text in, value or `Wrong` out. Pure.

Invariant: a unit is always said (a bare 30 could be seconds or minutes), and nothing is rounded.
"""

from __future__ import annotations

import ipaddress
import re

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d|w)")
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([kKMGT]?)(i?)(?:(B|b|bit)(?:/s|ps)?)?")
_DECIMAL = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.-]*(@[A-Za-z0-9:_.-]*)?\.(service|socket)")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
LONGEST = 10 * 365 * 86400.0


class Wrong(ValueError):
    """A value that can't be meant; `hint` says what to write."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


def duration(written: object) -> float:
    """`30s`, `15m`, `2h`, `7d`, `1w`, `250ms` in seconds. Raises Wrong; at most ten years."""
    if isinstance(written, int | float) and not isinstance(written, bool):
        raise Wrong(f"{written} has no unit", f"write {written}s for seconds, or m, h, d for minutes, hours, days")
    match = _DURATION.fullmatch(written) if isinstance(written, str) else None
    if match is None:
        raise Wrong(f"{shown(written)} is not a duration", "write a number and its unit: 30s, 15m, 2h or 7d")
    seconds = float(match[1]) * SECONDS[match[2]]
    if seconds > LONGEST:
        raise Wrong(f"{written} is more than ten years", "write a shorter duration")
    return seconds


def rate(written: object) -> int:
    """`10M`, `10MB/s`, `512KiB/s`, `80Mbit/s` in bytes a second (k, M, G are powers of 1000). Raises Wrong."""
    if isinstance(written, int | float) and not isinstance(written, bool):
        raise Wrong(f"{written} has no unit", f"write {written}k or {written}M for bytes a second, or {written}Mbit/s")
    match = _RATE.fullmatch(written) if isinstance(written, str) else None
    if match is None or not match[0]:
        raise Wrong(f"{shown(written)} is not a rate", "write 10M or 10MB/s (bytes), or 80Mbit/s (bits)")
    number, prefix, binary, unit = match.groups()
    if unit == "b":
        raise Wrong(f"{written} could mean bits or bytes", f"write {number}{prefix}B/s or {number}{prefix}bit/s")
    if not prefix and not unit:
        raise Wrong(f"{written} has no unit", f"write {number}k or {number}M for bytes a second, or {number}Mbit/s")
    scale = (1024 if binary else 1000) ** _DECIMAL[prefix]
    amount = int(float(number) * scale / (8 if unit == "bit" else 1))
    if amount < 1000:
        raise Wrong(f"{written} is less than 1000 bytes a second", "write a larger rate, or leave the limit out")
    return amount


def root(written: str) -> str:
    """A store's root as it must stand: absolute, normalised, not `/` itself. Raises Wrong."""
    if not written.startswith("/"):
        raise Wrong(f"{shown(written)} is not an absolute path", "write the whole path, from /")
    parts = [part for part in written.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Wrong(f"{shown(written)} leads upwards with ..", "write the path that is meant")
    if not parts:
        raise Wrong("/ can't be a store: everything would be inside it", "name the directory that holds the mail")
    normal = "/" + "/".join(parts)
    if written != normal:
        raise Wrong(f"{shown(written)} is not the plain form of the path", f"write {normal}")
    return written


def accounts(written: str) -> str:
    """A glob of accounts below a root. Raises Wrong."""
    parts = written.split("/")
    if written.startswith("/") or not written or any(part in ("", ".", "..") for part in parts):
        raise Wrong(f"{shown(written)} is not a glob below the root", 'write it relative to the root, as "*/Maildir"')
    return written


def path(written: str) -> str:
    """A path on the controller: absolute, or below the running user's home as `~/`. Raises Wrong."""
    if not written.startswith(("/", "~/")):
        raise Wrong(f"{shown(written)} is a relative path", "write the whole path, from / or from ~/")
    return written


def address(written: str) -> str:
    """A host name or an IP address, as it was written. Raises Wrong."""
    try:
        ipaddress.ip_address(written)
    except ValueError:
        labels = written.rstrip(".").split(".")
        numeric = labels[-1].isdigit()
        if numeric or len(written) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
            hint = "write it without the port; ansible_port says that" if ":" in written else ""
            raise Wrong(f"{shown(written)} is neither an IP address nor a host name", hint) from None
    return written


def interface_address(written: str) -> str:
    """An address with the length of its prefix, as `ip address add` takes it. Raises Wrong."""
    if "/" not in written:
        raise Wrong(f"{shown(written)} lacks the length of its prefix", f"write {written}/24, or what your network has")
    try:
        read = ipaddress.ip_interface(written)
    except ValueError:
        raise Wrong(f"{shown(written)} is not an address with a prefix", "write it as 192.0.2.10/24") from None
    if not written.rpartition("/")[2].isdigit():
        raise Wrong(f"{shown(written)} has a mask, not the length of a prefix", f"write {read.with_prefixlen}")
    if read.ip.is_multicast or read.ip.is_loopback or read.ip.is_unspecified or read.ip.is_link_local:
        raise Wrong(f"{shown(written)} can't move from host to host", "name an address that clients can reach")
    net = read.network
    ends = (net.network_address, net.broadcast_address) if read.version == 4 else (net.network_address,)
    if net.num_addresses > 2 and read.ip in ends:
        raise Wrong(f"{shown(written)} is the network's own address", f"name one of the hosts' addresses in {net}")
    return written


def unit(written: str) -> str:
    """A systemd service or socket, as systemctl names it: `dovecot.service`, `postfix@-.service`. Raises Wrong."""
    if not _UNIT.fullmatch(written):
        raise Wrong(f"{shown(written)} is no service or socket", "write it whole, as systemctl does: rspamd.service")
    return written


def endpoint(written: str) -> str:
    """HOST:PORT of a socket to listen on. Raises Wrong."""
    host, colon, port = written.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise Wrong(f"{shown(written)} is not HOST:PORT", "write it as 127.0.0.1:9464")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise Wrong(f"{shown(written)} is not HOST:PORT", f"write an IPv6 address in brackets: [{host}]:{port}")
    address(host.strip("[]"))
    return written


_URL = re.compile(r"https?://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?")


def url(written: str) -> str:
    """http or https, a host, at most a port; without a slash at its end. Raises Wrong."""
    if not _URL.fullmatch(written):
        raise Wrong(f"{shown(written)} is no address of a page", "write it as https://mailmirror.example.net")
    return written.rstrip("/")


_AGENT = re.compile(r"(?:/[^\s/]+)*/?fence_[a-z0-9_]+")
_PARAMETER = re.compile(r"[a-z][a-z0-9_-]*")
_OURS = {
    "action": "mailmirror says it: on, off or status",
    "verbose": "it would log what the device is sent, the password too",
    "verbose_level": "it would log what the device is sent, the password too",
    "debug": "it would write what the device is sent into a file, the password too",
    "debug_file": "it would write what the device is sent into a file, the password too",
}


def fence_agent(written: str) -> str:
    """The name or the absolute path of a fence agent. Raises Wrong."""
    if not _AGENT.fullmatch(written):
        raise Wrong(f"{shown(written)} is not a fence agent", "write its name, as fence_redfish, or its whole path")
    return written


def fence_parameter(written: str) -> str:
    """The name of an option that a fence agent reads, as its `-o metadata` has it. Raises Wrong."""
    if written in _OURS:
        raise Wrong(f"{written} can't stand here", f"remove it: {_OURS[written]}")
    if not _PARAMETER.fullmatch(written):
        raise Wrong(f"{shown(written)} is no option of a fence agent", "write it as ip, username, plug, ...")
    return written


def word(written: str) -> str:
    """The name of a variable or of a credential. Raises Wrong."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", written):
        raise Wrong(f"{shown(written)} has the wrong form", "use letters, digits, dots, dashes and underscores")
    return written


def one_line(written: str) -> str:
    """A text of one line: a second one would be another option. Raises Wrong."""
    if not written.isprintable():
        raise Wrong(f"{shown(written)} holds a line break, or what can't be printed", "write it in one line")
    return written


def mailbox(written: str) -> str:
    """A mail address, as the envelope has it. Raises Wrong."""
    local, at, domain = written.rpartition("@")
    if not at or not local or not domain or any(char.isspace() or char in "<>" for char in written):
        raise Wrong(f"{shown(written)} is not a mail address", "write it as canary@example.org")
    return written


def reference(written: str) -> str:
    """ADDRESS:PORT of something that answers when the way to it is open. Raises Wrong."""
    host = endpoint(written).rpartition(":")[0].strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        hint = "write the address itself, as 192.0.2.1:53: a name would need a name server to be reached first"
        raise Wrong(f"{shown(host)} is a name", hint) from None
    return written


def shown(value: object) -> str:
    """A value as a message shows it: what was written, cut where it is long."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, tuple | list):
        return "a list"
    text = str(value)
    return (text if len(text) <= 40 else text[:37] + "...") or '""'
