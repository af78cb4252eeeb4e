"""What every kind of watch promises, on real file systems: for fanotify ext4 in a loop file and tmpfs."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.agent.hint import Hint
from tests.contract import watched
from tests.contract.watched import DEADLINE, JOE, KINDS, Site, names_process


@pytest.fixture(params=[pytest.param(kind, marks=[pytest.mark.lab] if "fan" in kind else []) for kind in KINDS])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with watched.site(request.param, tmp_path) as found:
        yield found


@pytest.mark.issue("2.5 fanotify and inotify tell what a mail server does")
def test_a_delivery_is_told_in_new_and_not_in_tmp(site: Site) -> None:
    site.act("write", JOE + b"/tmp/1.M1.host")
    site.act("rename", JOE + b"/tmp/1.M1.host", JOE + b"/new/1.M1.host")
    found = site.until((JOE + b"/new", b"1.M1.host", "appeared"))
    assert {hint.directory for hint in found} == {JOE + b"/new"}


def test_a_delivery_by_link_is_told(site: Site) -> None:
    site.act("write", JOE + b"/tmp/1.M1.host")
    site.act("link", JOE + b"/tmp/1.M1.host", JOE + b"/new/1.M1.host")
    site.act("unlink", JOE + b"/tmp/1.M1.host")
    found = site.until((JOE + b"/new", b"1.M1.host", "appeared"))
    assert {hint.directory for hint in found} == {JOE + b"/new"}


@pytest.mark.issue("2.5 fanotify and inotify tell what a mail server does")
def test_a_flag_is_told_with_both_names(site: Site) -> None:
    site.act("write", JOE + b"/cur/1.M1.host:2,")
    site.until((JOE + b"/cur", b"1.M1.host:2,", "appeared"))
    site.act("rename", JOE + b"/cur/1.M1.host:2,", JOE + b"/cur/1.M1.host:2,S")
    site.until((JOE + b"/cur", b"1.M1.host:2,", "vanished"), (JOE + b"/cur", b"1.M1.host:2,S", "appeared"))


@pytest.mark.issue("2.5 fanotify and inotify tell what a mail server does")
def test_a_move_between_folders_is_told_in_both(site: Site) -> None:
    site.act("write", JOE + b"/cur/1.M1.host:2,S")
    site.drain()
    site.act("rename", JOE + b"/cur/1.M1.host:2,S", JOE + b"/.Sent/cur/1.M1.host:2,S")
    site.until((JOE + b"/cur", b"1.M1.host:2,S", "vanished"), (JOE + b"/.Sent/cur", b"1.M1.host:2,S", "appeared"))


@pytest.mark.issue("2.5 fanotify tells the process")
def test_a_deletion_is_told_with_the_process_that_made_it(site: Site) -> None:
    site.act("write", JOE + b"/cur/1.M1.host:2,ST")
    site.drain()
    site.act("unlink", JOE + b"/cur/1.M1.host:2,ST")
    found = site.until((JOE + b"/cur", b"1.M1.host:2,ST", "vanished"))
    vanished = [hint for hint in found if hint.what == "vanished"]
    python = os.path.basename(os.path.realpath(sys.executable)).encode()
    assert [hint.process for hint in vanished] == [python if names_process(site.watch) else None]


def test_a_uidlist_that_grows_is_told(site: Site) -> None:
    site.act("write", JOE + b"/dovecot-uidlist")
    site.until((JOE, b"dovecot-uidlist", "appeared"))
    site.drain()
    site.act("append", JOE + b"/dovecot-uidlist")
    site.until((JOE, b"dovecot-uidlist", "changed"))


def test_a_uidlist_that_is_replaced_is_told(site: Site) -> None:
    site.act("write", JOE + b"/dovecot-uidlist.tmp")
    site.drain()
    site.act("rename", JOE + b"/dovecot-uidlist.tmp", JOE + b"/dovecot-uidlist")
    site.until((JOE, b"dovecot-uidlist", "appeared"))


def test_a_new_folder_is_told_and_followed(site: Site) -> None:
    site.folder(JOE + b"/.Drafts")
    assert site.until((JOE, b".Drafts", "appeared"))[-1].is_directory
    site.follow_all(JOE + b"/.Drafts")
    site.act("write", JOE + b"/.Drafts/cur/1.M1.host:2,D")
    site.until((JOE + b"/.Drafts/cur", b"1.M1.host:2,D", "appeared"))


@pytest.mark.issue("2.5 fanotify and inotify tell a renamed folder")
def test_a_renamed_folder_is_told_and_its_contents_have_new_paths(site: Site) -> None:
    site.act("write", JOE + b"/.Sent/cur/1.M1.host:2,S")
    site.drain()
    site.act("rename", JOE + b"/.Sent", JOE + b"/.Gesendet")
    found = site.until((JOE, b".Sent", "vanished"), (JOE, b".Gesendet", "appeared"))
    assert all(hint.is_directory for hint in found if hint.what != "changed")
    site.follow_all(JOE + b"/.Gesendet")
    site.drain()
    site.act("rename", JOE + b"/.Gesendet/cur/1.M1.host:2,S", JOE + b"/.Gesendet/cur/1.M1.host:2,RS")
    found = site.until((JOE + b"/.Gesendet/cur", b"1.M1.host:2,RS", "appeared"))
    assert {hint.directory for hint in found} == {JOE + b"/.Gesendet/cur"}


def test_a_folder_that_takes_a_renamed_ones_name_is_told_apart(site: Site) -> None:
    site.act("rename", JOE + b"/.Sent", JOE + b"/.Old")
    site.folder(JOE + b"/.Sent")
    site.until((JOE, b".Old", "appeared"), (JOE, b".Sent", "appeared"))
    site.follow_all()
    site.drain()
    site.act("write", JOE + b"/.Old/cur/old")
    assert {hint.directory for hint in site.until((JOE + b"/.Old/cur", b"old", "appeared"))} == {JOE + b"/.Old/cur"}
    site.act("write", JOE + b"/.Sent/cur/new")
    assert {hint.directory for hint in site.until((JOE + b"/.Sent/cur", b"new", "appeared"))} == {JOE + b"/.Sent/cur"}


def test_a_folder_that_was_renamed_and_back_is_still_followed(site: Site) -> None:
    site.act("rename", JOE + b"/.Sent", JOE + b"/.Away")
    site.act("rename", JOE + b"/.Away", JOE + b"/.Sent")
    site.until((JOE, b".Away", "vanished"))
    site.act("write", JOE + b"/.Sent/cur/1")
    found = site.until((JOE + b"/.Sent/cur", b"1", "appeared"))
    assert {hint.directory for hint in found} == {JOE + b"/.Sent/cur"}


def test_a_directory_that_was_made_anew_is_still_followed(site: Site) -> None:
    site.act("rmtree", JOE + b"/.Sent/cur")
    site.act("mkdir", JOE + b"/.Sent/cur")
    site.until((JOE + b"/.Sent", b"cur", "appeared"))
    site.act("write", JOE + b"/.Sent/cur/1")
    site.until((JOE + b"/.Sent/cur", b"1", "appeared"))


def test_a_removed_folder_is_told_message_by_message(site: Site) -> None:
    site.act("write", JOE + b"/.Sent/cur/1.M1.host:2,S")
    site.drain()
    site.act("rmtree", JOE + b"/.Sent")
    found = site.until((JOE + b"/.Sent/cur", b"1.M1.host:2,S", "vanished"), (JOE, b".Sent", "vanished"))
    if names_process(site.watch):
        assert all(hint.process for hint in found if hint.what == "vanished")


def test_folders_that_leave_the_root_fall_silent_and_come_back(site: Site) -> None:
    site.act("rename", JOE, b"../outside")
    site.until((b"ex.org", b"joe", "vanished"))
    site.act("write", b"../outside/cur/1.M1.host:2,")
    assert site.drain() == []
    site.act("rename", b"../outside", JOE)
    site.until((b"ex.org", b"joe", "appeared"))
    site.follow_all(JOE)
    site.act("write", JOE + b"/cur/2.M2.host:2,")
    site.until((JOE + b"/cur", b"2.M2.host:2,", "appeared"))


@pytest.mark.issue("2.P hostile names")
@pytest.mark.parametrize(
    "name", [b"new\nline", b"\xff\xfe\x01", b"n" * 255, b" (deleted)", b"\xc3\xa4", b"'\"\\", b"..."]
)
def test_any_bytes_are_a_name(site: Site, name: bytes) -> None:
    site.act("mkdir", JOE + b"/" + name)
    site.until((JOE, name, "appeared"))
    site.watch.follow(JOE + b"/" + name)
    site.act("write", JOE + b"/" + name + b"/" + name)
    site.until((JOE + b"/" + name, name, "appeared"))


def test_what_happens_beside_the_root_is_not_told(site: Site) -> None:
    site.act("mkdir", b"../store2")
    site.act("write", b"../store2/cur")
    site.act("write", b"../beside")
    site.act("rename", b"../beside", b"../store2/beside")
    assert site.drain() == []


@pytest.mark.issue("2.P hostile links")
def test_a_link_is_never_followed(site: Site) -> None:
    site.act("mkdir", b"../secret")
    os.symlink("../../secret", site.root / "ex.org" / "link")
    site.watch.follow(b"ex.org/link")
    site.drain()
    site.act("write", b"../secret/file")
    assert site.drain() == []


def test_the_same_change_is_told_once_a_read(site: Site) -> None:
    site.act("write", JOE + b"/dovecot-uidlist")
    for _ in range(50):
        site.act("append", JOE + b"/dovecot-uidlist")
    found = site.watch.read()
    assert len(found) == len({hint[:3] for hint in found})
    assert (JOE, b"dovecot-uidlist", "changed") in {hint[:3] for hint in found}


def test_a_removed_root_is_told_once(site: Site) -> None:
    shutil.rmtree(site.root)
    site.root.mkdir()
    end = time.monotonic() + DEADLINE
    told: list[Hint] = []
    while not any(hint.what == "gone" for hint in told):
        assert time.monotonic() < end
        told += site.watch.read()
    assert [hint for hint in site.watch.read() if hint.what == "gone"] == []


def test_a_closed_watch_is_silent_and_may_be_closed_again(site: Site) -> None:
    site.act("write", JOE + b"/cur/1")
    site.watch.close()
    site.watch.close()
    assert site.watch.fileno() is None
    assert [hint for hint in site.watch.read() if hint.what != "gone"] == []
