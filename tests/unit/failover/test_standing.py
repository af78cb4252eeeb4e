"""Who is active when the active place may be lost: by the registers of those who would have to know, or nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.errors import HostUnreachable, Refused
from orchestrator.failover.standing import Standing, by_registers
from orchestrator.failover.world import Answered, World
from orchestrator.inventory.load import load
from orchestrator.inventory.model import Pair

TEXT = """
mailmirror:
  children:
    org:
      vars: {mm_stores: [/store], mm_services: {imap: dovecot}, mm_lease: {ttl: 8s}, ansible_user: root}
      hosts:
        mail1: {mm_place: primary}
        mail2: {mm_place: mirror}
        wit: {mm_place: witness}
"""


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    path = tmp_path / "inventory.yaml"
    path.write_text(TEXT)
    return load(path).pairs["org"]


class Told:
    """What each place's guard says (epoch, active; None: it is away), and the marker of each store."""

    def __init__(self, words: Mapping[str, tuple[int, str] | None], markers: Mapping[str, tuple[str, int]]) -> None:
        self.words, self.markers = words, markers

    def has(self, place: str) -> bool:
        return place in self.words

    def host(self, place: str) -> str:
        return place

    def stores(self, place: str) -> list[str]:
        return ["/store"]

    def ask(self, place: str, verb: str, head: Mapping[str, Any], within: float, blob: bytes = b"") -> Answered:
        word = self.words[place]
        if word is None:
            raise HostUnreachable(f"{place} is away")
        if verb == "guard":
            return Answered({"epoch": word[0], "active": word[1]}, b"")
        role, epoch = self.markers[place]
        return Answered({"marker": {"role": role, "epoch": epoch}}, b"")


def found(pair: Pair, words: Mapping[str, tuple[int, str] | None], **markers: tuple[str, int]) -> Standing:
    return by_registers(cast(World, Told(words, markers)), pair)


@pytest.mark.issue("5.3 who is active in a failover is told by the registers, and is never a guess")
def test_the_active_needs_not_answer(pair: Pair) -> None:
    words = {"primary": None, "mirror": (3, "primary"), "witness": (3, "primary")}
    assert found(pair, words, mirror=("passive", 3)) == Standing("primary", "mirror", 3)
    words = {"primary": (4, "mirror"), "mirror": None, "witness": (4, "mirror")}
    assert found(pair, words, primary=("passive", 4)) == Standing("mirror", "primary", 4)


@pytest.mark.parametrize(
    ("words", "marker", "why"),
    [
        ({"primary": None, "mirror": None, "witness": None}, ("passive", 3), "No guard says"),
        ({"primary": None, "mirror": (3, "primary"), "witness": None}, ("passive", 3), "witness.* doesn't answer"),
        ({"primary": None, "mirror": None, "witness": (3, "primary")}, ("passive", 3), "mirror.* doesn't answer"),
        ({"primary": (3, "primary"), "mirror": None, "witness": (3, "primary")}, ("passive", 3), "doesn't answer"),
        ({"primary": None, "mirror": (3, "primary"), "witness": (3, "mirror")}, ("passive", 3), "disagree"),
        ({"primary": (4, "mirror"), "mirror": (3, "primary"), "witness": (4, "mirror")}, ("active", 3), "in epoch 3"),
        ({"primary": None, "mirror": (2, "primary"), "witness": (3, "primary")}, ("passive", 2), "half done"),
        ({"primary": None, "mirror": (3, "primary"), "witness": (3, "primary")}, ("passive", 2), "in epoch 2"),
        ({"primary": None, "mirror": (3, "primary"), "witness": (3, "primary")}, ("active", 3), "in epoch 3"),
    ],
)
def test_without_those_who_would_have_to_know_nobody_is_named(
    pair: Pair, words: Mapping[str, tuple[int, str] | None], marker: tuple[str, int], why: str
) -> None:
    with pytest.raises(Refused) as refused:
        found(pair, words, mirror=marker, primary=marker)
    text = f"{refused.value} {refused.value.remedy}"
    assert re.search(why, text), text
