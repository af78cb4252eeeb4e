"""A real Chromium from Debian, in a root of its own, driven by playwright; as root only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.support import image, require

CONTRASTS = """() => {
  const part = (value) => { value /= 255; return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4; };
  const light = (color) => { const [r, g, b] = color.match(/[0-9.]+/g).map(Number);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b); };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll("h1,h2,h3,p,dt,dd,li,summary,span,strong,label,input,button,a")].map((each) => {
    const ink = light(getComputedStyle(each).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05); });
}"""
"""Of each text of a page against its paper, as WCAG 2.1 computes it."""


@contextmanager
def running(*words: str) -> Iterator[Browser]:
    """On the machine's own network, which it leaves only for where `words`, further options, lead it."""
    require.root()
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", *words]
    with image.Root(packages=("chromium",)) as root:
        process = root.run(
            ["/usr/bin/chromium", *options, "--user-data-dir=/tmp/profile"], stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            said = next(line for line in process.stderr if "DevTools listening on " in line)
            with sync_playwright() as playwright:
                yield playwright.chromium.connect_over_cdp(f"http://{said.partition('ws://')[2].partition('/')[0]}")
        finally:
            process.kill()
            process.wait()
