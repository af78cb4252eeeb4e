"""What a file name in a Maildir says: base and flags, what travels, what is walked, what may be a path."""

from __future__ import annotations

import pytest

from orchestrator.agent import names


@pytest.mark.parametrize(
    ("name", "base", "info"),
    [
        (b"1700.M1P2.host,S=12:2,FS", b"1700.M1P2.host,S=12", b":2,FS"),
        (b"1700.M1P2.host", b"1700.M1P2.host", b""),
        (b"a:2,S:x", b"a", b":2,S:x"),
        (b"a:", b"a", b":"),
        (b"\xff\n\xe4:2,", b"\xff\n\xe4", b":2,"),
        (b":2,S", b"", b":2,S"),
    ],
)
def test_a_name_is_cut_at_its_first_colon(name: bytes, base: bytes, info: bytes) -> None:
    assert names.split(name) == (base, info)
    assert base + info == name


@pytest.mark.issue("2.5 names with any bytes")
@pytest.mark.parametrize("name", [b"a", b"\xff\xfe", b"line\nbreak", b"sp ace:2,S", b"x" * 255, b"a..b", b"-rf"])
def test_any_bytes_make_a_message(name: bytes) -> None:
    assert names.is_message(name)


@pytest.mark.parametrize("name", [b"", b".", b"..", b".hidden", b":2,S", b"x" * 256, b"a/b", b"a\0b"])
def test_what_a_maildir_ignores_or_a_directory_cannot_hold_is_no_message(name: bytes) -> None:
    assert not names.is_message(name)


@pytest.mark.parametrize(
    ("base", "size"),
    [
        (b"1700.host,S=1234", 1234),
        (b"1700.host,S=1234,W=1300", 1234),
        (b"1700.host,W=1300,S=0", 0),
        (b"1700.host", None),
        (b"1700.host,S=12x", None),
        (b"1700.host,S=", None),
        (b"S=12", None),
    ],
)
def test_the_announced_size_is_read(base: bytes, size: int | None) -> None:
    assert names.size_in(base) == size


@pytest.mark.parametrize(
    ("info", "flags"),
    [
        (b":2,FS", b"FS"),
        (b":2,", b""),
        (b"", b""),
        (b":1,experimental", b""),
        (b":2,FS,other", b"FS"),
        (b":2,abS", b"abS"),
    ],
)
def test_flags_are_what_stands_between_the_commas(info: bytes, flags: bytes) -> None:
    assert names.flags(info) == flags


TRAVELLERS = [
    *(
        b"dovecot-uidlist",
        b"dovecot-keywords",
        b"dovecot-uidvalidity",
        b"dovecot-uidvalidity.6553f1a0",
        b"subscriptions",
    ),
    *(
        b"dovecot-acl",
        b"dovecot-attributes",
        b".dovecot.sieve",
        b"vacation.sieve",
        b".dovecot.lda-dupes",
        b"maildirfolder",
    ),
    *(b"courierimapuiddb", b"courierimapkeywords", b":list", b"courierimapsubscribed", b"courierimapacl"),
    *(b"courierpop3dsizelist", b"shared-maildirs", b"dovecot.mailbox.log", b"something-nobody-thought-of", b"\xff\xfe"),
    *(b"core-team.sieve", b"lock", b"template.sieve"),
]
STAYERS = [
    *(b"maildirsize", b"dovecot.index", b"dovecot.index.log", b"dovecot.index.log.2", b"dovecot.index.cache"),
    *(
        b"dovecot.list.index",
        b"dovecot.list.index.log",
        b"dovecot.index.pvt",
        b"dovecot.map.index",
        b"dovecot-acl-list",
    ),
    *(b"dovecot-uidlist.lock", b"dovecot-uidlist.tmp", b"subscriptions.lock", b".dovecot.svbin", b"a.svbin"),
    *(b".temp.host.12.ab", b"temp.host.12", b"core", b"core.1234", b".mailmirror", b".nfs0000000012ab34cd", b"x\n.tmp"),
]


@pytest.mark.issue("2.5 sidecars travel, locks and caches stay")
@pytest.mark.parametrize("name", TRAVELLERS)
def test_sidecars_travel(name: bytes) -> None:
    assert names.travels(name)


@pytest.mark.issue("2.5 sidecars travel, locks and caches stay")
@pytest.mark.parametrize("name", STAYERS)
def test_locks_temporary_files_and_caches_stay(name: bytes) -> None:
    assert not names.travels(name)


@pytest.mark.parametrize(
    "name", [b".Archive", b".a.b", b"Archive", b"sieve", b"courierimapkeywords", b"mailboxes", b"newer"]
)
def test_folders_and_directories_of_sidecars_are_walked(name: bytes) -> None:
    assert names.enters(name)


@pytest.mark.parametrize(
    "name",
    [
        *(b"cur", b"new", b"tmp", b".mailmirror", b"..DOVECOT-TRASHED", b"..DOVECOT-TRASHED.1", b"DOVECOT-TRASHED"),
        *(b"dbox-Mails", b"mdbox", b"xapian-indexes", b".dovecot.lda-dupes.locks"),
    ],
)
def test_messages_trash_state_and_other_formats_are_not_walked(name: bytes) -> None:
    assert not names.enters(name)


@pytest.mark.issue("2.5 order of sidecars")
def test_keywords_come_before_uidlists_and_these_before_all_others() -> None:
    given = [b"subscriptions", b"dovecot-uidlist", b"dovecot-acl", b"dovecot-keywords", b"courierimapuiddb", b":list"]
    ranked = sorted(given, key=names.sidecar_rank)
    assert set(ranked[:2]) == {b"dovecot-keywords", b":list"}
    assert set(ranked[2:4]) == {b"dovecot-uidlist", b"courierimapuiddb"}
    assert [name for name in given if names.is_uidlist(name)] == [b"dovecot-uidlist", b"courierimapuiddb"]


@pytest.mark.issue("2.P hostile names")
@pytest.mark.parametrize(
    "path",
    [
        *(b"", b"/etc", b"..", b"../x", b"a/../b", b"a//b", b"./a", b"a/.", b"a/", b"a\0b", b"x" * 256),
        *(b"/".join([b"d"] * 65), b"/".join([b"e" * 250] * 17)),
    ],
)
def test_a_path_that_could_leave_the_root_is_a_bad_name(path: bytes) -> None:
    with pytest.raises(names.BadName):
        names.check_path(path)


@pytest.mark.parametrize("path", [b"a", b"...", b"a/b/c", b"\xff\n/ ", b"/".join([b"d"] * 64), b"x" * 255])
def test_a_path_of_plain_names_is_good(path: bytes) -> None:
    names.check_path(path)


@pytest.mark.parametrize("part", [b"", b".", b"..", b"a/b", b"a\0", b"x" * 256])
def test_a_component_is_one_plain_name(part: bytes) -> None:
    with pytest.raises(names.BadName) as error:
        names.check_component(part)
    assert "\n" not in str(error.value)
