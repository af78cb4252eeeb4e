"""What a Postfix's main.cf must say so that it only queues: takes letters, delivers none, and sends them nowhere but to
the active place. Pure: values in, values out.

The list of parameters is closed (`NAMES`), and none of it is in master.cf:

- `virtual_transport local_transport relay_transport default_transport`: every class of address goes one way. With a
  known active that is SMTP to its fixed address, in brackets, so that no MX is looked up; with none it is a socket in
  Postfix's private directory that nobody makes, so that each letter is put off. Postfix's own `retry` service wouldn't
  do: smtpd refuses a recipient whose transport that is (measured, 3.7). Nor would `defer_transports` alone: `postqueue
  -f` overrides it (postconf(5): "unless someone issues sendmail -q"), and whoever types that has the mirror written.
- `relayhost` says the same again, and `transport_maps sender_dependent_default_transport_maps
  sender_dependent_relayhost_maps smtp_fallback_relay` are empty: each of them would send a letter another way.
- `defer_transports` names the final transports of before, for a route that main.cf doesn't decide (FILTER in a map).
- `soft_bounce = yes`: what the active refuses stays in the queue and is told to the sender by nobody; a passive place's
  own list of users may be behind, so that it never refuses for good either.

Invariant: `judge` finds nothing to say against exactly those values that `wanted` gives. What a filter
(`content_filter`, a milter) does with a letter isn't looked at. Sources: postconf(5), transport(5).
"""

from __future__ import annotations

import re
from typing import Dict, List, Mapping, NamedTuple, Optional

ROUTED = ("virtual_transport", "local_transport", "relay_transport", "default_transport")
EMPTIED = (
    "transport_maps",
    "sender_dependent_default_transport_maps",
    "sender_dependent_relayhost_maps",
    "smtp_fallback_relay",
)
SOFT = "soft_bounce"
NAMES = (*ROUTED, "relayhost", *EMPTIED, "defer_transports", SOFT)
"""The last one outlives the others for a while, on a place that has just become active."""
READ = ("mailbox_transport", "fallback_transport", "content_filter")
"""Read beside them, never written."""
NEEDED = ("lmtp/unix", "smtp/unix")
"""Services of master.cf that the values above name; every Postfix comes with both."""
FINAL = ("lmtp", "local", "virtual")
PASSES_ON = ("smtp", "relay", "retry", "error", "discard")
NOWHERE = "lmtp:unix:private/mailmirror-no-active-known"
_ADDRESS = re.compile(r"[0-9A-Za-z.:-]{1,253}")
_TO = re.compile(r"smtp:\[([0-9A-Za-z.:-]{1,253})\]:25")


class Judged(NamedTuple):
    """`against`: what keeps this main.cf from being queue-only, nothing when it is; `to`: where it relays."""

    against: List[str]
    to: Optional[str]


def route(active: Optional[str]) -> str:
    """The transport that takes everything. ValueError for what can't be an address."""
    if active is None:
        return NOWHERE
    if not _ADDRESS.fullmatch(active) or active.startswith("-"):
        raise ValueError(f"{active!r:.100} is no address to relay to")
    return f"smtp:[{active}]:25"


def wanted(before: Mapping[str, str], active: Optional[str]) -> Dict[str, str]:
    """The values for a Postfix whose own, of `NAMES` and `READ`, are `before`. Raises as `route`."""
    way = route(active)
    return {
        **dict.fromkeys(ROUTED, way),
        **dict.fromkeys(EMPTIED, ""),
        "relayhost": "" if active is None else f"[{active}]:25",
        "defer_transports": " ".join(_final(before)),
        SOFT: "yes",
    }


def _final(before: Mapping[str, str]) -> List[str]:
    """The transports that deliver here, the deferred ones of before first."""
    named = re.split(r"[,\s]+", before.get("defer_transports", "").strip())
    named += FINAL
    named += [_transport(before.get(name, "")) for name in (*ROUTED, *READ[:2])]
    taken = _transport(before.get("content_filter", ""))  # a letter on its way to a filter isn't delivered by it
    passed = [name for name in dict.fromkeys(named) if name and name not in PASSES_ON and name != taken]
    return [name for name in passed if "$" not in name]


def _transport(value: str) -> str:
    return value.partition(":")[0].strip()


def judge(values: Mapping[str, str], overrides: Mapping[str, str]) -> Judged:
    """`values` are those in effect, of `NAMES`; `overrides` what master.cf says, by SERVICE/TYPE/NAME."""
    ways = {values.get(name, "") for name in ROUTED}
    way = ways.pop() if len(ways) == 1 else ""
    found = _TO.fullmatch(way)
    to = found.group(1) if found else None
    against = [] if to or way == NOWHERE else [f"{name} = {values.get(name, '')}" for name in ROUTED]
    expected = wanted(values, to)
    against += [
        f"{name} = {values.get(name, '')}" for name in NAMES[4:] if name in values and not _same(name, values, expected)
    ]
    return Judged([*against, *clashes(overrides)], to)


def _same(name: str, values: Mapping[str, str], expected: Mapping[str, str]) -> bool:
    if name == "defer_transports":
        return set(FINAL) - {_transport(values.get("content_filter", ""))} <= set(re.split(r"[,\s]+", values[name]))
    return values[name] == expected[name]


def clashes(overrides: Mapping[str, str]) -> List[str]:
    """What master.cf says otherwise for one of its services."""
    return [f"master.cf: {key} = {value}" for key, value in overrides.items() if key.rpartition("/")[2] in NAMES]
