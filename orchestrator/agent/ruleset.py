"""The gate's rules as text. Pure.

Ports of `served` answer, in and out, only while the set `open` has an element; so do the host's own deliveries to
`deliveries`, but for those to `relay`, the fixed address of the active, to which a passive Postfix hands on. Shut, what
comes in is reset, and nothing but a reset leaves: neither a late answer nor a new one. There is no exception for
connections that stand. Loopback isn't touched, and all that isn't TCP passes, the guards' datagrams among it.

The tables come late in each hook (priority 250): a packet that another firewall holds in a queue (NFQUEUE, nft(8)) goes
on with the next priority when it is let go, and must still be judged then. Nobody's "accept" takes a packet past them:
that ends only its own base chain. A port that is redirected on this host, or published from a container, is judged by
the port that the client asked for; not judged is what containers themselves send to others.

Invariant: `laid` empties the sets; `opened` fails whole when its ticket has run out.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

OPEN, TICKET = "open", "ticket"
_OWNER = "{ flags owner; }"
_TABLE = """add table inet {table} {flags}
delete table inet {table}
table inet {table} {{
  {flag_line}
  set {open} {{ type inet_proto; flags timeout; {element} }}
  set {ticket} {{ type inet_proto; flags timeout; }}
  chain arrives {{
    type filter hook input priority filter + 250; policy accept;
    iif lo accept
    tcp dport {{ {served} }} meta l4proto != @{open} reject with tcp reset
    {asked} ct direction original meta l4proto != @{open} reject with tcp reset
  }}
  chain leaves {{
    type filter hook output priority filter + 250; policy accept;
    oif lo accept
    tcp sport {{ {served} }} meta l4proto != @{open} tcp flags & rst != rst drop
    {asked} ct direction reply meta l4proto != @{open} tcp flags & rst != rst drop
{relay}    tcp dport {{ {deliveries} }} meta l4proto != @{open} tcp flags & rst != rst reject with tcp reset
  }}
  chain passes {{
    type filter hook forward priority filter + 250; policy accept;
    {asked} meta l4proto != @{open} reject with tcp reset
  }}
}}
"""


class Ports(NamedTuple):
    """TCP ports, and the address that deliveries may go to while the gate is shut."""

    served: Tuple[int, ...]
    deliveries: Tuple[int, ...] = (25, 24)
    relay: Optional[str] = None


def laid(table: str, ports: Ports, *, owned: bool, opened: bool, milliseconds: Optional[int] = None) -> str:
    """The table anew, shut or open for so long or without an end, in place of one that stands."""
    relay = ""
    if ports.relay:
        family = "ip6" if ":" in ports.relay else "ip"
        relay = f"    {family} daddr {ports.relay} tcp dport {{ {_list(ports.deliveries)} }} accept\n"
    return _TABLE.format(
        table=table, open=OPEN, ticket=TICKET, served=_list(ports.served), deliveries=_list(ports.deliveries),
        asked=f"meta l4proto tcp ct status dnat ct original proto-dst {{ {_list(ports.served)} }}",
        relay=relay, flags=_OWNER if owned else "", flag_line="flags owner;" if owned else "",
        element=f"elements = {{ tcp{_timeout(milliseconds)} }};" if opened else "",
    )  # fmt: skip


def ground(table: str) -> str:
    """An owned table and its set of tickets, where there is none yet; what stands stays as it is."""
    kind = "{ type inet_proto; flags timeout; }"
    return f"add table inet {table} {_OWNER}\nadd set inet {table} {TICKET} {kind}\n"


def ticket(table: str, milliseconds: int) -> str:
    """A ticket that the next change has to find."""
    return f"flush set inet {table} {TICKET}\nadd element inet {table} {TICKET} {{ tcp timeout {milliseconds}ms }}\n"


def opened(table: str, milliseconds: Optional[int]) -> str:
    """Open for so long from the commit on, or without an end; and only if the ticket is still there."""
    element = f"add element inet {table} {OPEN} {{ tcp{_timeout(milliseconds)} }}\n"
    return f"{spent(table)}flush set inet {table} {OPEN}\n{element}"


def spent(table: str) -> str:
    """Takes the ticket; a transaction that has this fails whole when it has run out."""
    return f"delete element inet {table} {TICKET} {{ tcp }}\n"


def shut(table: str) -> str:
    return f"flush set inet {table} {OPEN}\nflush set inet {table} {TICKET}\n"


def gone(table: str, *, owned: bool) -> str:
    """Removes the table, also when there is none."""
    return f"add table inet {table} {_OWNER if owned else ''}\ndelete table inet {table}\n"


def _timeout(milliseconds: Optional[int]) -> str:
    return "" if milliseconds is None else f" timeout {milliseconds}ms"


def _list(ports: Tuple[int, ...]) -> str:
    return ", ".join(str(port) for port in sorted(set(ports)))
