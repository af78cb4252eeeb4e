"""The plot that the README shows: an SVG written by hand, a panel per workload, a bar per peer.

Invariant: each panel has its own scale, from zero, and every bar carries its figure; no bar without a good row.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

from bench.report import WORKS
from bench.results import Results

COLOURS = {"mailmirror": "#1b6ca8", "rsync": "#8a8f98", "rsync-zlib": "#8a8f98", "rsync-fsync": "#5d636e"}
OTHER = "#b9bec7"
WIDTH, LABEL, ROW, HEAD, GAP, COLUMNS = 440, 96, 18, 30, 16, 2
FONT = 'font-family="Helvetica, Arial, sans-serif"'


def panels(results: Results) -> str:
    """Return the whole drawing."""
    drawn: list[str] = []
    heights = [GAP] * COLUMNS
    for work, title in WORKS.items():
        bars = _bars(results, work)
        if not bars:
            continue
        column = heights.index(min(heights))
        drawn.append(_panel(title, bars, GAP + column * (WIDTH + GAP), heights[column]))
        heights[column] += HEAD + ROW * len(bars) + GAP
    width, height = COLUMNS * (WIDTH + GAP) + GAP, max(heights) + 14
    note = "Wall seconds, median, shorter is better; each panel has its own scale."
    size = f'width="{width}" height="{height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width} {height}" {FONT}>\n'
        f'<rect {size} fill="#ffffff"/>\n'
        + "".join(drawn)
        + f'<text x="{GAP}" y="{height - 8}" font-size="11" fill="#5d636e">{note}</text>\n</svg>\n'
    )


def _bars(results: Results, work: str) -> list[tuple[str, float]]:
    peers = dict.fromkeys(row.peer for row in results.rows if row.work == work)
    walls = [(peer, results.median_wall(work, peer)) for peer in peers]
    return [(peer, wall) for peer, wall in walls if wall is not None]


def _panel(title: str, bars: list[tuple[str, float]], x: int, y: int) -> str:
    longest = max(wall for _, wall in bars) or 1.0
    room = WIDTH - LABEL - 60
    parts = [f'<text x="{x}" y="{y + 16}" font-size="13" font-weight="bold" fill="#1f2329">{escape(title)}</text>\n']
    for place, (peer, wall) in enumerate(bars):
        top = y + HEAD - 4 + place * ROW
        length = max(1.0, wall / longest * room)
        colour = COLOURS.get(peer, OTHER)
        write = f'<text y="{top + 11}" font-size="11" fill="#1f2329"'
        parts.append(
            f'{write} x="{x + LABEL - 8}" text-anchor="end">{escape(peer)}</text>\n'
            f'<rect x="{x + LABEL}" y="{top}" width="{length:.1f}" height="{ROW - 5}" rx="2" fill="{colour}"/>\n'
            f'{write} x="{x + LABEL + length + 5:.1f}">{wall:.2f} s</text>\n'
        )
    return "".join(parts)
