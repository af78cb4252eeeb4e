"""Two real Postfixes, one of which gives its queue to the other: what is kept, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.waiting import until
from tests.support import require
from tests.support.spools import GIVES, SPOOL, TAKES, Refused, Spools

pytestmark = [pytest.mark.lab, pytest.mark.issue("5.2 queue moved as held files by explicit list")]
OURS: dict[str, Any] = {"operation": "one", "epoch": 1}
STAT = "find {}/hold {}/deferred -type f -printf '%f %s %m %U %G %T@\\n' | sort"


@pytest.fixture(scope="module")
def built() -> Iterator[Spools]:
    require.root()
    with Spools() as spools:
        spools.keep()
        yield spools


@pytest.fixture
def spools(built: Spools) -> Iterator[Spools]:
    built.back()
    yield built
    built.sh(
        "for each in /etc/postfix /etc/postfix-out; do postfix -c $each status && postfix -c $each stop; done; true"
    )


def states(spools: Spools) -> dict[str, str]:
    return {row[1]: row[7] for row in spools.ask(TAKES, "laid", after=0)["laid"]}


def stats(spools: Spools, instance: str) -> str:
    return spools.sh(STAT.format(SPOOL[instance], SPOOL[instance]))


def queues(spools: Spools, instance: str) -> dict[str, str]:
    return {row[0]: row[1] for row in spools.ask(instance, "list", after="")["letters"]}


def arrivals(spools: Spools, instance: str) -> dict[str, Any]:
    return {row[0]: row[2] for row in spools.ask(instance, "list", after="")["letters"]}


@pytest.mark.issue("5.2 queue ids and times kept; released only on command")
def test_ids_times_modes_and_contents_are_kept_and_nothing_leaves_before_the_release(spools: Spools) -> None:
    letters = spools.send(2)
    before, arrived = stats(spools, GIVES), arrivals(spools, GIVES)
    contents = spools.contents(GIVES, "deferred")
    spools.run("move")
    assert stats(spools, TAKES) == before and arrivals(spools, TAKES) == arrived
    assert spools.contents(TAKES, "hold") == contents
    told = spools.sh("postqueue -c /etc/postfix-out -j")
    assert told.count('"queue_name": "hold"') == 2 and all(each in told for each in letters)
    assert spools.contents(TAKES, "deferred", "incoming", "active") == []
    assert states(spools) == dict.fromkeys(letters, "laid")
    spools.run("release", "drop")
    assert stats(spools, TAKES) == before, "let go, as it came"
    assert queues(spools, TAKES) == dict.fromkeys(letters, "deferred") and queues(spools, GIVES) == {}


@pytest.mark.issue("5.2 queue: the site's own held mail never touched")
def test_what_the_site_itself_holds_stays_at_either_end(spools: Spools) -> None:
    own, other = spools.send(2)
    [there] = spools.send(1, instance=TAKES)
    spools.sh(f"postsuper -h {own}; postsuper -c /etc/postfix-out -h {there}")
    assert spools.ask(GIVES, "hold", ids=[own, other], **OURS)["site"] == [own]
    with pytest.raises(Refused, match="isn't on hold by us"):
        spools.ask(GIVES, "read", want=[[own, 0]])
    assert spools.ask(GIVES, "drop", confirmed={own: "0" * 64}, **OURS)["missing"] == [own]
    assert spools.ask(GIVES, "unhold", ids=[own], **OURS)["missing"] == [own]
    spools.run("move", "release", "drop")
    assert queues(spools, GIVES) == {own: "hold"}
    assert queues(spools, TAKES) == {there: "hold", other: "deferred"}


@pytest.mark.issue("5.2 queue: never twice, against the receiver's durable ledger")
def test_what_was_released_once_is_never_laid_again(spools: Spools) -> None:
    [letter] = spools.send(1)
    spools.run("move", "release")
    spools.sh(f"postsuper -c /etc/postfix-out -d {letter}")  # delivered
    for operation, epoch in (("one", 1), ("two", 2)):
        spools.run("move", "release", operation=operation, epoch=epoch)
        assert queues(spools, TAKES) == {}
    spools.run("drop", operation="two", epoch=2)
    assert queues(spools, GIVES) == {}


def test_what_an_operator_let_go_by_hand_is_not_laid_again(spools: Spools) -> None:
    [letter] = spools.send(1)
    spools.run("move")
    spools.sh("postsuper -c /etc/postfix-out -H ALL; postsuper -c /etc/postfix-out -d ALL deferred")
    spools.run("move", "lift")
    assert states(spools) == {letter: "released"}
    spools.run("unhold")
    assert queues(spools, GIVES) == {letter: "hold"}, "the other host has sent it: it isn't sent from here too"


def test_nothing_is_put_on_hold_while_postfix_runs(spools: Spools) -> None:
    letters = spools.send(2)
    spools.ask(GIVES, "hold", ids=letters[:1], **OURS)
    spools.sh("postfix start")
    with pytest.raises(Refused) as refused:
        spools.ask(GIVES, "hold", ids=letters, **OURS)
    assert refused.value.code == "running"
    assert queues(spools, GIVES) == {letters[0]: "hold", letters[1]: "deferred"}
    assert spools.ask(GIVES, "hold", ids=letters[:1], **OURS)["held"] == letters[:1], "what is on hold may stay so"


@pytest.mark.issue("5.2 queue: collision of a short id")
def test_a_short_id_that_is_taken_is_laid_under_another(spools: Spools) -> None:
    [letter] = spools.send(1, long=False)
    spools.sh(f"install -o postfix -g postfix -m 700 /dev/null {SPOOL[TAKES]}/deferred/{letter[0]}/{letter} -D")
    spools.sh(f"chown postfix {SPOOL[TAKES]}/deferred/{letter[0]}")
    contents = spools.contents(GIVES, "deferred")
    spools.run("move")
    [(_, name, _, _, _, local, inode, *_)] = spools.ask(TAKES, "laid", after=0)["laid"]
    assert (name, local) == (letter, f"{letter[:5]}{inode:X}") and local != letter
    assert queues(spools, TAKES) == {letter: "deferred", local: "hold"}
    spools.sh("postsuper -c /etc/postfix-out -s")
    assert spools.contents(TAKES, "hold") == contents
    spools.run("move", "release", "drop")
    assert contents[0] in spools.contents(TAKES, "deferred") and queues(spools, GIVES) == {}


def test_short_ids_that_postsuper_renamed_are_found_again(spools: Spools) -> None:
    letters = spools.send(2, long=False)
    contents = spools.contents(GIVES, "deferred")
    spools.run("move")
    assert sorted(queues(spools, TAKES)) == letters
    spools.sh("postsuper -c /etc/postfix-out -s; true")  # as at a start
    assert not set(queues(spools, TAKES)) & set(letters), "other inodes, other names"
    spools.run("move")
    assert spools.contents(TAKES, "hold") == contents
    spools.run("release", "drop")
    assert spools.contents(TAKES, "deferred") == contents and queues(spools, GIVES) == {}


@pytest.mark.parametrize("long", [True, False], ids=["long", "short"])
def test_a_hashed_queue_gets_its_letters_where_postfix_looks(spools: Spools, long: bool) -> None:
    spools.sh("postconf -c /etc/postfix-out -e 'hash_queue_names = deferred, hold, bounce' hash_queue_depth=2")
    try:
        letters = spools.send(2, long=long)
        log = f"{SPOOL[GIVES]}/bounce/{letters[0]}"
        spools.sh(f"echo told > {log}; chown postfix:postfix {log}; chmod 600 {log}")
        spools.run("move")
        places = "find /var/spool/postfix-out/hold /var/spool/postfix-out/bounce -type f | sort"
        before = spools.sh(places)
        if long:  # else postsuper renames them
            spools.sh("postsuper -c /etc/postfix-out -s")
            assert spools.sh(places) == before
        assert all(len(line.split("/")) == 8 for line in before.splitlines()) and before.count("\n") == 3
        spools.run("release", "drop")
        assert queues(spools, TAKES) == dict.fromkeys(letters, "deferred")
        assert spools.sh(f"cat $(find /var/spool/postfix-out/bounce -name {letters[0]})") == "told\n"
    finally:
        spools.sh("postconf -c /etc/postfix-out -X hash_queue_names hash_queue_depth")


def test_a_large_letter_comes_in_pieces_and_goes_on_where_it_stopped(spools: Spools) -> None:
    spools.sh("postconf -e message_size_limit=20000000; head -c 6000000 /dev/zero | tr '\\0' x | fold > /tmp/large")
    spools.sh("postfix start; sendmail -f a@b.test u@example.test < /tmp/large")
    until(lambda: spools.ids(GIVES, "deferred"), what="it is deferred")
    spools.sh("postfix stop")
    [(letter, *_)] = spools.ask(GIVES, "list", after="")["letters"]
    spools.ask(GIVES, "hold", ids=[letter], **OURS)
    first = spools.ask(GIVES, "read", want=[[letter, 0]])
    laying = {"source": "primary", "pieces": first["pieces"], **OURS}
    assert spools.ask(TAKES, "lay", first["blob"], **laying)["laid"] == []
    rest = spools.ask(GIVES, "read", want=[[letter, len(first["blob"]) + 1]])
    assert spools.ask(TAKES, "lay", rest["blob"], **{**laying, "pieces": rest["pieces"]})["again"] == [letter]
    second = spools.ask(GIVES, "read", want=[[letter, len(first["blob"])]])
    assert spools.ask(TAKES, "lay", second["blob"], **{**laying, "pieces": second["pieces"]})["again"] == []
    spools.run("move", "release", "drop")
    assert queues(spools, TAKES) == {letter: "deferred"}


def test_a_letter_that_came_back_goes_again_and_a_remainder_is_dropped_first(spools: Spools) -> None:
    """There, back and there again, as a switchover, a failback and a switchover take it."""
    [letter] = spools.send(1)
    spools.run("move", "release")
    ran = spools.run("move", gives=TAKES, operation="two", epoch=2)
    assert ran.became == [[], [], [letter]], "the giving host still has its copy: it would stand there twice"
    assert queues(spools, GIVES) == {letter: "hold"}
    spools.run("drop", operation="one", epoch=2)
    spools.run("move", "release", "drop", gives=TAKES, operation="two", epoch=2)
    assert (queues(spools, GIVES), queues(spools, TAKES)) == ({letter: "deferred"}, {})
    spools.run("move", "release", "drop", operation="three", epoch=3)
    assert (queues(spools, GIVES), queues(spools, TAKES)) == ({}, {letter: "deferred"})


def test_an_older_epoch_is_refused(spools: Spools) -> None:
    [letter] = spools.send(1)
    spools.ask(GIVES, "hold", ids=[], operation="one", epoch=7)
    for do, words in (("hold", {"ids": [letter]}), ("drop", {"confirmed": {}}), ("unhold", {"ids": []})):
        with pytest.raises(Refused, match="epoch 6 is over") as refused:
            spools.ask(GIVES, do, operation="zero", epoch=6, **words)
        assert refused.value.code == "stale"
    assert queues(spools, GIVES) == {letter: "deferred"}


def test_a_copy_that_differs_is_not_taken_out(spools: Spools) -> None:
    [letter] = spools.send(1)
    spools.run("move", "release")
    assert spools.ask(GIVES, "drop", confirmed={letter: "0" * 64}, **OURS)["differs"] == [letter]
    assert queues(spools, GIVES) == {letter: "hold"}


def test_a_ledger_that_is_damaged_is_an_error_and_not_an_empty_one(spools: Spools) -> None:
    spools.send(1)
    spools.run("move", "release")
    spools.sh(f"echo nonsense > {SPOOL[TAKES]}/.mailmirror/queue.sqlite; rm {SPOOL[TAKES]}/.mailmirror/*-journal")
    with pytest.raises(Refused, match="can't be used") as refused:
        spools.run("move", operation="two", epoch=2)
    assert refused.value.code == "ledger"


LETTER = b"T\x11123456789 654321M\x00"
WHOLE = {
    "id": "4jZ34Y5zPxz2w",
    "arrived": 123456789654321,
    "offset": 0,
    "length": len(LETTER),
    "size": len(LETTER),
    "mtime_ns": 10**18,
    "digest": hashlib.sha256(LETTER).hexdigest(),
    "logs": {},
}


NONSENSE: list[dict[str, Any]] = [
    {"id": "../../etc/cron.d/x"},
    {"id": "ALL"},
    {"id": ".mailmirror"},
    {"id": "4jZ34Y5zPxz2w\n"},
    {"id": 7},
    {"offset": -1},
    {"size": 1 << 50},
    {"length": 1},
    {"arrived": 1 << 63},
    {"digest": None},
    {"logs": {"../x": ""}},
    {"logs": {"bounce": "?"}},
]


def test_what_no_honest_host_says_is_refused_and_a_letter_that_is_not_what_it_says_is_not_laid(spools: Spools) -> None:
    cases = [("bad-request", wrong) for wrong in NONSENSE]
    cases += [("damaged", {"digest": "0" * 64}), ("damaged", {"arrived": 1})]
    for code, wrong in cases:
        with pytest.raises(Refused) as refused:
            spools.ask(TAKES, "lay", LETTER, source="primary", pieces=[{**WHOLE, **wrong}], **OURS)
        assert refused.value.code == code, wrong
    assert spools.sh(f"ls -A {SPOOL[TAKES]}/hold") == ""


def test_a_planted_link_is_not_followed(spools: Spools) -> None:
    """Postfix's own user may write in its queue, root's agent must not be led out of it."""
    hold, name = f"{SPOOL[TAKES]}/hold", f".mailmirror-{WHOLE['id']}-{WHOLE['arrived']}"
    spools.sh(f"echo precious > /root/precious; ln -s /root/precious {hold}/{name}")
    half = {**WHOLE, "length": 8}
    half.pop("digest")
    assert spools.ask(TAKES, "lay", LETTER[:8], source="primary", pieces=[half], **OURS)["again"] == []
    spools.sh(f"rm {hold}/{name}; ln -s /root/precious {hold}/{name}")
    rest = {**WHOLE, "offset": 8, "length": len(LETTER) - 8}
    told = spools.ask(TAKES, "lay", LETTER[8:], source="primary", pieces=[rest], **OURS)
    assert told["again"] == [WHOLE["id"]]
    assert spools.sh("cat /root/precious") == "precious\n"


def test_an_instance_that_is_not_there_is_refused(spools: Spools) -> None:
    with pytest.raises(Refused) as refused:
        spools.ask("/etc/passwd", "list", after="")
    assert refused.value.code == "no-instance"
