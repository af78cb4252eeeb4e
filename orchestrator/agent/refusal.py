"""The rules, as text, by which an active place takes no new connections, and later no more of what clients send. Pure.

Only a SYN is refused: whoever has a connection keeps it, and a letter in its DATA gets its 250 (measured; a rule on `ct
state new` resets it). Each port is an element of its own with a timeout, so that the kernel ends the refusal whatever
becomes of who asked for it. What is `silenced` hears nothing any more: a client that hasn't sent the end of its letter
never gets it through, while a 250 that is due still leaves; only then its session may be ended.

Loopback isn't touched; a port that is redirected, or published from a container, is judged by the one that the client
asked for, as in `ruleset`. Sources: nft(8); RFC 9293 section 3.5 (a SYN without ACK opens a connection).
"""

from __future__ import annotations

from typing import Iterable

TABLE = "mailmirror_quiet"
REFUSED, SILENCED = "refused", "silenced"
_SYN = "tcp flags & (syn | ack) == syn"
_REDIRECTED = "meta l4proto tcp ct status dnat ct original proto-dst"
_LAID = f"""add table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  set {REFUSED} {{ type inet_service; flags timeout; }}
  set {SILENCED} {{ type inet_service; flags timeout; }}
  chain arrives {{
    type filter hook input priority filter + 240; policy accept;
    iif lo accept
    tcp dport @{SILENCED} drop
    tcp dport @{REFUSED} {_SYN} reject with tcp reset
    {_REDIRECTED} @{REFUSED} {_SYN} reject with tcp reset
  }}
  chain passes {{
    type filter hook forward priority filter + 240; policy accept;
    {_REDIRECTED} @{REFUSED} {_SYN} reject with tcp reset
  }}
}}
"""
GONE = f"add table inet {TABLE}\ndelete table inet {TABLE}\n"
"""Removes it, also when there is none."""


def laid(ports: Iterable[int], seconds: float) -> str:
    """The table anew, with these ports refused for so long."""
    return _LAID + timed(REFUSED, ports, seconds)


def timed(name: str, ports: Iterable[int], seconds: float) -> str:
    """Just these ports in one of its sets, for so long from the commit on."""
    flushed = f"flush set inet {TABLE} {name}\n"
    each = ", ".join(f"{port} timeout {int(seconds * 1000)}ms" for port in sorted(set(ports)))
    return flushed + (f"add element inet {TABLE} {name} {{ {each} }}\n" if each else "")
