"""How a pair's hosts are, in words for who was woken by it: the verdict first, then what it rests on, then who looks.

It takes the `health` of a status as plain JSON and imports next to nothing, as `words` does.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Row = dict[str, Any]

MEANING = {
    "HEALTHY": "well",
    "DEGRADED": "serves, but needs a person",
    "SUSPECT": "may be failing; deletions wait meanwhile",
    "DOWN": "down",
    "UNKNOWN": "can't be told",
}
_FAILING = {
    "refused": "nothing listens there",
    "timeout": "no answer in time",
    "unreachable": "can't be reached",
    "broken": "the conversation broke off",
    "temporary": "it says that it can't just now",
    "rejected": "it answers, and says no",
    "untrusted": "its certificate isn't trusted",
}


def lines(health: Row, now: float) -> Iterator[tuple[str, str]]:
    """(sentence, what to do or what it rests on), in the order of their weight."""
    for place in sorted(health["places"], key=lambda place: not place["active"]):
        yield _verdict(place, now)
    for place in health["places"]:
        for sentence in _failures(place, now):
            yield sentence, ""
        for service in place["never"]:
            yield (
                f"{service} on {place['host']} wasn't seen well since the daemon began.",
                "If it is well: say its port in mm_ports, or in mm_probe what there is to look at.",
            )
    if not health["steady"]:
        yield "The controller's clock jumped, or it stood still: nothing is judged for 30 s.", ""
    cut = sorted(name for name, reached in health["references"].items() if not reached)
    if cut:
        yield f"The controller gets no answer from {', '.join(cut)}.", "Look at this host's own network first."
    for observer in health["observers"]:
        yield from _observer(observer, now)
    if health["lone"]:
        yield health["lone"], "Give one host mm_place: witness."
    if health["trouble"]:
        yield health["trouble"], ""


def decided(pair: Row) -> Iterator[tuple[str, str]]:
    """The state, why, and what isn't done by itself; nothing to do where all is well."""
    may = f"You may: {', '.join(pair['may'])}. `mailmirror explain {pair['pair']}` says more." if pair["may"] else ""
    more = pair.get("decision") or {}
    held = " ".join(more.get("held_back", ()))
    yield f"{pair['state']}: {pair['why']}" + (f" Not done unasked: {held}" if held else ""), may
    if more.get("paused_until"):
        yield f"Paused until {_moment(more['paused_until'])}.", f"To end it: mailmirror resume {pair['pair']}"
    if more.get("cooldown_until") and more["cooldown_until"] > time.time():
        yield (
            f"No failover follows unasked until {_moment(more['cooldown_until'])}, after the last one.",
            f"To end that: mailmirror ack {pair['pair']} cooldown",
        )


def _moment(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))


def _verdict(place: Row, now: float) -> tuple[str, str]:
    role = "active" if place["active"] else "passive"
    since = f", since {_clock(place['since'])} ({_span(now - place['since'])})" if place["since"] else ""
    word = MEANING.get(place["level"], place["level"])
    text = f"{place['host']} ({place['place']}, {role}) is {place['level']}, {word}{since}"
    if place["level"] != "HEALTHY" and place["analysis"]:
        text += f": {place['analysis']}"
    rests = [*place["evidence"], *([f"The remedy: {place['would'].removeprefix('would ')}."] if place["would"] else [])]
    return f"{text}.", "; ".join(rests)


def _failures(place: Row, now: float) -> Iterator[str]:
    """A sentence for each observer's look that failed last, in the server's own words."""
    for glance in place["glances"]:
        if glance["how"]:
            what = _FAILING.get(glance["how"], glance["how"])
            said = f" ({glance['why']})" if glance["why"] and glance["why"] != what else ""
            times = f"{glance['times']} times in a row, " if glance["times"] > 1 else ""
            ago = f"{times}{_span(now - glance['at'])} ago"
            yield f"{glance['service']} on {place['host']}, seen from {glance['observer']}: {what}{said}, {ago}."


def _observer(observer: Row, now: float) -> Iterator[tuple[str, str]]:
    name = observer["name"] if observer["name"] == observer["host"] else f"{observer['name']} ({observer['host']})"
    if not observer["connected"]:
        what = "It doesn't look" if observer["looks"] else "It can't be reached"
        why = f": {observer['trouble']}" if observer["trouble"] else ""
        yield (
            f"{name}: {what} since {_clock(observer['since'])} ({_span(now - observer['since'])}){why}",
            observer["remedy"],
        )
    elif observer["trouble"]:
        yield f"{name}: {observer['trouble']}", observer["remedy"]


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(when))


def _span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} days"
