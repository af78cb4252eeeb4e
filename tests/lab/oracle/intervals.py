"""Spans of time: when a place answered, when two did at once, when nobody did. Pure.

Invariant: an overlap that is reported was seen: both places gave positive answers around that instant, each within
`JOIN` before and after it, or before and after it on one connection. One answer alone is a span of no length.
Two places that take turns slower than `JOIN` don't overlap; no journey comes back as fast as that.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

JOIN = 1.0
SLACK = 5.0
TRIED = 2  # so many attempts in a gap show that the prober was awake


@dataclass(frozen=True, order=True)
class Span:
    start: float
    end: float


@dataclass(frozen=True)
class Answer:
    """A positive answer as G2 defines it: when, from which place, on which connection, to what."""

    t: float
    place: str
    link: str
    protocol: str
    text: str = ""


@dataclass(frozen=True)
class Both:
    """Two places that were writers at once; `said` is an answer of each in that span."""

    places: tuple[str, str]
    span: Span
    said: tuple[str, str]


def merged(spans: Iterable[Span]) -> list[Span]:
    """The union, in order; spans that touch become one."""
    result: list[Span] = []
    for span in sorted(spans):
        if result and span.start <= result[-1].end:
            result[-1] = Span(result[-1].start, max(result[-1].end, span.end))
        else:
            result.append(span)
    return result


def serving(answers: Iterable[Answer], join: float = JOIN) -> dict[str, list[Span]]:
    """When each place was a writer: from answer to answer on one connection, and from answer to answer on any when
    no more than `join` seconds lie between them.
    """
    times: dict[str, list[float]] = {}
    links: dict[tuple[str, str], list[float]] = {}
    for answer in answers:
        times.setdefault(answer.place, []).append(answer.t)
        links.setdefault((answer.place, answer.link), []).append(answer.t)
    spans: dict[str, list[Span]] = {place: list(_runs(sorted(found), join)) for place, found in times.items()}
    for (place, _), found in links.items():
        spans[place].append(Span(min(found), max(found)))
    return {place: merged(found) for place, found in spans.items()}


def _runs(times: Sequence[float], join: float) -> Iterator[Span]:
    start = end = times[0]
    for t in times[1:]:
        if t - end > join:
            yield Span(start, end)
            start = t
        end = t
    yield Span(start, end)


def overlaps(spans: Mapping[str, Sequence[Span]]) -> list[tuple[tuple[str, str], Span]]:
    """Each pair of places with each span in which both were writers, in order of time."""
    names = sorted(spans)
    found = [
        ((one, other), Span(max(a.start, b.start), min(a.end, b.end)))
        for place, one in enumerate(names)
        for other in names[place + 1 :]
        for a in spans[one]
        for b in spans[other]
        if a.start <= b.end and b.start <= a.end
    ]
    return sorted(found, key=lambda pair: pair[1])


def second_writers(answers: Sequence[Answer], join: float = JOIN) -> list[Both]:
    """Where G2 was broken."""
    found = []
    for places, span in overlaps(serving(answers, join)):
        said = [_nearest(answers, place, span) for place in places]
        found.append(Both(places, span, (said[0], said[1])))
    return found


def _nearest(answers: Iterable[Answer], place: str, span: Span) -> str:
    middle = (span.start + span.end) / 2
    answer = min((one for one in answers if one.place == place), key=lambda one: abs(one.t - middle))
    return f"{answer.protocol} {answer.text} at {answer.t:.3f} on {answer.link}"


@dataclass(frozen=True)
class Outage:
    """From the last success to the next; `whole` is False when it reaches the end (or the begin) of the watch, so that
    it was at least as long.
    """

    start: float
    end: float
    whole: bool = True

    @property
    def seconds(self) -> float:
        return self.end - self.start


def outages(successes: Iterable[float], begun: Iterable[float], watch: Span, period: float) -> list[Outage]:
    """Where the service was away: a gap of more than `SLACK` periods between successes in which attempts began. A gap
    in which none did is the prober's own (`blind`). Exact to one period at either end.
    """
    return [outage for outage, tried in _gaps(successes, begun, watch, period) if tried >= TRIED]


def longest(successes: Iterable[float], watch: Span) -> float:
    """The longest time without a success, in seconds, however short; outages are those that count as one."""
    edges = [watch.start, *sorted(t for t in successes if watch.start < t < watch.end), watch.end]
    return max(end - start for start, end in itertools.pairwise(edges))


def blind(successes: Iterable[float], begun: Iterable[float], watch: Span, period: float) -> list[Outage]:
    """Where nothing can be said: no success, but hardly an attempt either."""
    return [outage for outage, tried in _gaps(successes, begun, watch, period) if tried < TRIED]


def _gaps(
    successes: Iterable[float], begun: Iterable[float], watch: Span, period: float
) -> Iterator[tuple[Outage, int]]:
    """Each long gap with how many attempts began in it."""
    starts = sorted(begun)
    edges = [watch.start, *sorted(t for t in successes if watch.start < t < watch.end), watch.end]
    for place, (start, end) in enumerate(itertools.pairwise(edges)):
        if end - start > SLACK * period:
            tried = bisect.bisect_left(starts, end) - bisect.bisect_right(starts, start)
            yield Outage(start, end, whole=0 < place < len(edges) - 2), tried
