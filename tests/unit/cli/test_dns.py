"""`mailmirror dns show|test` against an embedded name server: what it prints, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.dns import command
from orchestrator.cli.front import Front
from orchestrator.demo.nameserver import Zone, serving
from orchestrator.traffic.dns import Key

KEY = Key("mailmirror", "hmac-sha256", b"0123456789abcdef")
CLAUSE = 'key "mailmirror" { algorithm hmac-sha256; secret "MDEyMzQ1Njc4OWFiY2RlZg=="; };'
LINES = (
    "@ 60 SOA ns postmaster 1 60 20 3600 5",
    "@ 60 NS ns",
    "ns 60 A 127.0.0.1",
    "@ 3600 MX 10 mail1",
    "@ 3600 MX 20 mail2",
    "mail 60 A 192.0.2.11",
)
HOSTS = {"mail1": "primary", "mail2": "mirror"}
MARK = '_mailmirror.mail 60 TXT "v=mailmirror1 epoch=3 active=mail1.example.test"'
NOTE = '_mailmirror.mail 60 TXT "v=mailmirror1 ttl-was=mail:3600,@mx:3600{}"'

pytestmark = pytest.mark.issue("4.4 dns test, dns show")
Run = Callable[..., Result]


@contextmanager
def site(directory: Path, *lines: str, traffic: str = "") -> Iterator[Run]:
    """A pair whose names stand in an embedded zone; gives what runs the verbs."""
    key = directory / "tsig.key"
    key.write_text(CLAUSE)
    key.chmod(0o600)
    path = directory / "inventory.yaml"
    with serving(Zone("example.test", lines, KEY.ring, ["mail"], ["@"])) as server:
        at = f"server: 127.0.0.1, port: {server.port}, zone: example.test, names: [mail]"
        text = f"      mm_dns: {{{at}, tsig: {{file: {key}}}, mx: {{name: example.test}}, watch: [127.0.0.1]}}\n"
        text = (
            "mailmirror:\n  vars: {mm_stores: [/var/vmail]}\n  children:\n    org:\n      vars:\n"
            + (text if lines else "")
            + traffic
            + "      hosts:\n"
            + "".join(f"        {host}.example.test: {{mm_place: {place}}}\n" for host, place in HOSTS.items())
        )
        path.write_text(text.replace("\n      mm_", "\n        mm_"))
        yield lambda *words: CliRunner().invoke(command, list(words), obj=Front(str(path)), standalone_mode=False)


def commands(show: str) -> str:
    return f"      mm_exec: {{show: [sh, -c, '{show}'], point: ['true']}}\n"


def told(run: Run, verb: str) -> dict[str, Any]:
    [row] = json.loads(run(verb, "--format", "json").output)
    return dict(row)


def test_names_exchangers_epoch_and_how_long_they_are_remembered_are_shown(tmp_path: Path) -> None:
    with site(tmp_path, *LINES, MARK) as run:
        result = run("show")
        rows = [line.split() for line in result.output.splitlines()]
        assert rows[0] == ["org:", "example.test"]
        assert rows[2] == ["127.0.0.1", "1", "mail", "192.0.2.11", "60", "s", "3,", "mail1.example.test"]
        assert rows[3][:7] == ["127.0.0.1", "1", "MX", "10", "mail1.example.test,", "20", "mail2.example.test"]
        assert "a move wants 60 s, which is to be lowered ahead of it" in result.output
        assert "Resolvers, which may remember:" in result.output
        assert told(run, "show")["held"] == {
            "ttl": 3600, "since": None, "lowered": False, "wanted": 60, "counted_on": False}  # fmt: skip


LOW = tuple(line.replace("3600 MX", "60 MX") for line in LINES)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (LOW, "Resolvers keep answers for 60 s; since when isn't known."),
        (
            (*LOW, NOTE.format("")),
            "lowered; not every name server was seen to show it yet, so older answers may live on.",
        ),
        ((*LOW, NOTE.format(" since=1000000000")), "lowered; it counts since 2001-09-09 02:46:40 UTC."),
        ((*LOW, NOTE.format(" since=9000000000")), "lowered; it can be counted on from 2255-03-14 17:00:00 UTC."),
    ],
)
def test_since_when_a_time_to_live_counts_is_told_where_it_is_known(
    tmp_path: Path, lines: tuple[str, ...], said: str
) -> None:
    with site(tmp_path, *lines) as run:
        assert said in run("show").output


def test_the_key_is_tried_and_the_commands_are_asked(tmp_path: Path) -> None:
    show = commands('echo "{\\"place\\": \\"mirror\\", \\"epoch\\": 4}"')
    with site(tmp_path, *LINES, traffic=show) as run:
        tried, asked = run("test").output.splitlines()
        assert tried.startswith("org: the key mailmirror may change the names (tried; nothing was changed); ")
        assert tried.endswith("; 1 name server of example.test agree.")
        assert asked == "org: sh says: the mirror, epoch 4"
        assert told(run, "test")["exec"] == {"command": "sh", "place": "mirror", "epoch": 4, "trouble": ""}


@pytest.mark.issue("4.4 exec provider for hosted DNS and floating IPs")
def test_commands_alone_are_enough_and_one_that_cant_tell_ends_with_1(tmp_path: Path) -> None:
    with site(tmp_path, traffic=commands('echo "{\\"place\\": \\"mirror\\", \\"epoch\\": null}"')) as run:
        shown = run("show")
        assert (shown.output, shown.return_value) == ("org: sh says: the mirror, no epoch yet\n", 0)
    with site(tmp_path, traffic=commands("exit 3")) as run:
        shown = run("show")
        assert shown.output == "org: sh says: UNKNOWN: `sh` ended with 3: it said nothing\n"
        assert (shown.return_value, run("test").return_value) == (1, 1)
