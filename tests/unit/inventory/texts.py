"""Inventories to start from, and how to read them."""

from __future__ import annotations

import textwrap
from pathlib import Path

from orchestrator.inventory.load import Reading, read_bytes

SAMPLE = Path(__file__).parents[3] / "inventory.yaml"
NAME = Path("inventory.yaml")

SMALL = """\
mailmirror:
  children:
    pair:
      vars:
        mm_stores: [/var/vmail]
      hosts:
        one.example.org: {mm_place: primary}
        two.example.org: {mm_place: mirror}
"""


def read(text: str) -> Reading:
    """The inventory that a text is."""
    return read_bytes(textwrap.dedent(text).encode("utf-8"), NAME)


def with_vars(*lines: str) -> str:
    """SMALL with more lines in the pair's vars; the first of them is line 6."""
    return SMALL.replace("      hosts:\n", "".join(f"        {line}\n" for line in lines) + "      hosts:\n")


def with_host(settings: str) -> str:
    """SMALL with more settings at its mirror, which stands in line 8."""
    return SMALL.replace("mm_place: mirror", f"mm_place: mirror, {settings}")
