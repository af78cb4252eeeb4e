"""A verdict for people, and for machines: a table of a screen, and JSON that holds all of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.lab.oracle.verdict import VIOLATIONS, Away, Verdict

SHOWN = 5


def lines(verdict: Verdict) -> list[str]:
    """The table, at most `SHOWN` examples of each kind."""
    counts = verdict.counts
    out = ["messages"]
    out += [f"  {counts[name]:8d}  {name}" for name in ("acknowledged", "as promised", "present once", "undecided")]
    lost = counts["reply lost"]
    stood = ", ".join(f"{counts[f'reply lost, there {number}']} there {number}×" for number in range(3))
    out.append(f"  {lost:8d}  whose reply was lost ({stood})")
    out.append(
        f"  {counts['read']:8d}  read at the end, {counts['not ours']} of them not ours; {counts['caches']} caches"
    )
    out.append("violations")
    kinds = Counter(finding.kind for finding in verdict.findings)
    for kind, meaning in VIOLATIONS.items():
        out.append(f"  {kinds[kind]:8d}  {kind}: {meaning}")
        for finding in verdict.of(kind)[:SHOWN]:
            about = " ".join(word for word in (finding.account, finding.about, finding.detail) if word)
            out.append(f"            {about}: {finding.text}")
    if verdict.serving:
        out.append(f"writers, by {counts['answers on the wire']} positive answers on the wire")
        for place, spans in sorted(verdict.serving.items()):
            out.append(f"  {place}: " + ", ".join(f"{span.start:.3f} to {span.end:.3f}" for span in spans[:SHOWN]))
    if verdict.away:
        out.append("away (s)      any gap   longest    total  times  attempts prober slept")
        out += [_row(protocol, away) for protocol, away in sorted(verdict.away.items())]
    out.append("SOUND" if verdict.sound else f"VIOLATED: {len(verdict.findings)} findings")
    return out


def _row(protocol: str, away: Away) -> str:
    numbers = f"{away.gap:9.2f} {away.longest:9.2f} {away.total:8.2f} {len(away.outages):6d}"
    return f"  {protocol:12s} {numbers} {away.attempts:9d} {away.blind:12.2f}"


def as_json(verdict: Verdict) -> dict[str, Any]:
    """`sound`, `counts`, `findings` (kind, account, about, text, detail), `away` by protocol in seconds, `serving` by
    place as [from, to] on the journal's clock.
    """
    return {
        "sound": verdict.sound,
        "counts": dict(verdict.counts),
        "findings": [vars(finding) for finding in verdict.findings],
        "away": {
            protocol: {
                "gap": round(away.gap, 3),
                "longest": round(away.longest, 3),
                "total": round(away.total, 3),
                "attempts": away.attempts,
                "successes": away.successes,
                "blind": round(away.blind, 3),
                "outages": [[gap.start, gap.end, gap.whole] for gap in away.outages],
            }
            for protocol, away in verdict.away.items()
        },
        "serving": {place: [[span.start, span.end] for span in spans] for place, spans in verdict.serving.items()},
    }
