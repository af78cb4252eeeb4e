"""The generated store is what Dovecot would leave, is the same each time, and is as varied as real mail."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import bodies, tree
from bench.tree import Shape
from tests.unit.bench.conftest import SMALL, Made, files, uidlist

pytestmark = pytest.mark.issue("2.8 make bench: the tree")


def test_the_same_seed_gives_the_same_store(made: Made, tmp_path: Path) -> None:
    again = tree.generate(tmp_path / "again", SMALL, 11)
    assert files(tmp_path / "again") == files(made.root)
    assert again == made.tree


def test_another_seed_gives_another_store(made: Made, tmp_path: Path) -> None:
    tree.generate(tmp_path / "other", SMALL, 12)
    assert files(tmp_path / "other").keys() != files(made.root).keys()


def test_every_message_stands_where_the_plan_says_with_its_size_in_its_name(made: Made) -> None:
    assert made.tree.count() == SMALL.messages
    for folder in made.tree.folders():
        for message in folder.messages.values():
            path = made.root / folder.path / message.where / f"{message.base}{message.info}"
            named = re.search(r",S=(\d+),W=(\d+)$", message.base)
            assert named
            body = path.read_bytes()
            assert (len(body), len(body) + body.count(b"\n")) == (int(named[1]), int(named[2]))
            assert path.stat().st_mtime_ns // 1_000_000_000 == int(message.base.split(".")[0])


def test_every_uidlist_names_its_folder_s_messages_and_keywords_cover_the_letters(made: Made) -> None:
    for folder in made.tree.folders():
        place = made.root / folder.path
        following, rows = uidlist(place / "dovecot-uidlist")
        assert {base for _, base in rows} == folder.messages.keys()
        assert following == folder.next_uid
        known = len((place / "dovecot-keywords").read_text().splitlines())
        letters = {letter for message in folder.messages.values() for letter in message.info[3:] if letter.islower()}
        assert all(ord(letter) - ord("a") < known for letter in letters)


def test_the_full_shape_has_the_folders_and_messages_that_the_goals_speak_of() -> None:
    shape = Shape()
    totals = tree.apportion(shape.messages, [share for _, share in shape.folders])
    assert totals[[name for name, _ in shape.folders].index(".Archive")] == 13_000
    assert len(tree.skeleton(shape, 1).folders()) == 280
    lengths = tree.sizes(shape, 1)
    assert 0.95e9 < sum(lengths) < 1.0e9
    assert sorted(lengths)[len(lengths) // 2] < 8000 < max(lengths)


def test_bodies_compress_like_mail_and_share_nothing_long() -> None:
    sizes = tree.sizes(Shape(messages=300), 5)
    made = [bodies.message(5, serial, size) for serial, size in enumerate(sizes)]
    assert [len(body) for body in made] == sizes
    whole = b"".join(made)
    assert 1.3 < len(whole) / len(zlib.compress(whole)) < 2.2
    parts = [body[i : i + 200] for body in made for i in range(0, len(body) - 200, 200)]
    assert len(set(parts)) == len(parts)


def test_a_reopened_store_goes_on_where_its_uidlists_end(made: Made) -> None:
    again = tree.reopened(made.root, SMALL, 11)
    assert [(f.path, f.validity, f.next_uid) for f in again.folders()] == [
        (f.path, f.validity, f.next_uid) for f in made.tree.folders()
    ]


@given(st.integers(0, 5000), st.lists(st.floats(0.01, 10), min_size=1, max_size=50))
def test_apportioning_loses_and_invents_nothing(total: int, weights: list[float]) -> None:
    parts = tree.apportion(total, weights)
    assert sum(parts) == total
    assert all(part >= int(total * weight / sum(weights)) for part, weight in zip(parts, weights, strict=True))
