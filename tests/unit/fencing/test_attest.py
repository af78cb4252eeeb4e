"""An operator's statement: who, of which host, for which epoch, in words; it counts as it stands in the record."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import OperatorError, UsageError
from orchestrator.fencing import attest, proof
from orchestrator.inventory.model import Host, Pair, Store
from orchestrator.records import database, history
from orchestrator.records.journal import Journal

WORDS = "its power cable is in my hand"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    places = {"mail1": "primary", "mail2": "mirror", "wit": "witness"}
    hosts = {name: Host(name, place, f"192.0.2.{at}") for at, (name, place) in enumerate(places.items(), 1)}
    return Pair("org", hosts, (Store("/var/vmail"),), state_dir=tmp_path / "state")


def stated(pair: Pair, host: str = "mail1", epoch: int = 3, words: str = WORDS) -> proof.Attested:
    return attest.state(pair, host, epoch, 3, words, uid=os.getuid(), pid=os.getpid())


@pytest.mark.issue("4.3 attest: an operator's recorded statement, who when words host epoch")
def test_a_statement_is_recorded_and_counts_as_it_is_read_back(pair: Pair) -> None:
    made = stated(pair, words=f"  {WORDS}\nand the room is locked ")
    [line] = history.told(pair.state_dir, "org", attest.VERB)
    assert (line["host"], line["epoch"], line["uid"]) == ("mail1", 3, os.getuid())
    assert line["reason"] == made.words == f"{WORDS}\nand the room is locked"
    assert attest.latest(pair.state_dir, "org", "mail1", 3) == made
    assert f"uid {os.getuid()}" in made.by
    case = proof.Case("mail1", 3, "mail2", now=5.0, clock="c", wall=made.said_at + 30)
    assert proof.why_not(made, case) == ""


def test_the_newest_statement_of_that_host_and_epoch_is_meant(pair: Pair) -> None:
    stated(pair)
    stated(pair, "mail2", words="another host altogether")
    newest = stated(pair, words="and the fuse is out")
    assert attest.latest(pair.state_dir, "org", "mail1", 3) == newest
    assert attest.latest(pair.state_dir, "org", "mail1", 2) is None
    assert attest.latest(pair.state_dir, "net", "mail1", 3) is None


@pytest.mark.parametrize(
    ("host", "epoch", "words", "said"),
    [
        ("mail3", 3, WORDS, "no mail host"),
        ("wit", 3, WORDS, "no mail host"),
        ("mail1", 2, WORDS, "for epoch 2"),
        ("mail1", 4, WORDS, "for epoch 4"),
        ("mail1", 3, "yes      ", "at least 10"),
        ("mail1", 3, "it is off \x1b[2J", "can't be printed"),
        ("mail1", 3, "x" * 2001, "at most 2000"),
    ],
)
def test_what_can_not_be_meant_is_refused_and_leaves_no_record(
    pair: Pair, host: str, epoch: int, words: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        stated(pair, host, epoch, words)
    assert history.told(pair.state_dir, "org", attest.VERB) == []


def test_where_it_can_not_be_recorded_nothing_was_stated(pair: Pair) -> None:
    database.path_of(pair.state_dir).mkdir(parents=True)
    with pytest.raises(OperatorError, match="can't be written"):
        stated(pair)


def test_a_line_that_somebody_spoilt_states_nothing(pair: Pair) -> None:
    stated(pair)
    with Journal(pair.state_dir) as journal:
        [event] = journal.events("org")
        journal.event("org", event.verb, {**event.what, "uid": "root"})
    assert attest.latest(pair.state_dir, "org", "mail1", 3) is None
