"""Where guards lie on a host, who may come beside them, and what is left when one goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent import homes, laid, laying
from orchestrator.agent.homes import PLAIN, Home
from orchestrator.agent.serve import Fault


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host without a guard."""
    for name in ("ETC", "LIB", "STATE", "RUN"):
        monkeypatch.setattr(homes, name, str(tmp_path / name))
    monkeypatch.setattr(laid, "COMMAND", str(tmp_path / "sbin" / "mailmirror-guard"))
    return tmp_path


def settings(pair: str, place: str = "witness", port: int = 7521) -> dict[str, Any]:
    return {"pair": pair, "place": place, "port": port}


def lay(told: dict[str, Any]) -> Home:
    """As an installation does, without systemd."""
    home = laying._home(told)
    laid.intend(home, told["pair"], [home.settings, home.program, laid.COMMAND])
    laid.write(home.settings, json.dumps(told), 0o600)
    laid.write(home.program, "", 0o755)
    laid.link(laid.COMMAND, home.program)
    laid.write(home.state + "/register.json", told["pair"], 0o600)
    return home


def remove(pair: str) -> None:
    home = laid.found(pair)
    assert home is not None
    laid.take_away(home, next(iter(laid.others(pair).values()), None))
    laid.forget(home)


def everything(host: Path) -> set[str]:
    return {str(path.relative_to(host)) for path in host.rglob("*")}


def test_the_first_guard_lies_in_the_plain_places_and_further_ones_by_the_name_of_their_pair() -> None:
    assert lay(settings("org")) == PLAIN
    assert lay(settings("net", port=7522)) == Home("net")
    assert lay(settings("org")) == PLAIN and lay(settings("net", port=7522)) == Home("net"), "each stays where it is"
    assert (laid.found("org"), laid.found("net"), laid.found("com")) == (PLAIN, Home("net"), None)


@pytest.mark.issue("4.2 a witness of several pairs: removal of one leaves the other")
@pytest.mark.parametrize("order", [("org", "net", "com"), ("com", "net", "org"), ("net", "org", "com")])
def test_each_removal_leaves_the_others_whole_and_the_last_leaves_nothing(
    host: Path, order: tuple[str, str, str]
) -> None:
    at = {pair: lay(settings(pair, port=port)) for port, pair in enumerate(("org", "net", "com"))}
    for number, pair in enumerate(order):
        remove(pair)
        left = order[number + 1 :]
        for other in left:
            assert Path(at[other].state, "register.json").read_text() == other
            assert Path(at[other].settings).exists() and Path(at[other].program).exists()
        assert Path(laid.COMMAND).exists() == bool(left)
    assert everything(host) == set()


def test_what_an_earlier_version_laid_is_its_pairs_and_keeps_its_register(host: Path) -> None:
    """Its ledger names no pair."""
    lay(settings("org"))
    ledger = Path(homes.STATE, laid.LEDGER)
    ledger.write_text(json.dumps({key: kept for key, kept in json.loads(ledger.read_text()).items() if key != "pair"}))
    assert laid.others("net") == {"org": PLAIN}
    assert lay(settings("net", port=7522)) == Home("net")
    assert laying._home(settings("org")) == PLAIN
    assert Path(homes.STATE, "register.json").read_text() == "org"
    assert laid.ledger(lay(settings("org")))["pair"] == "org"


def test_an_installation_that_was_cut_off_in_its_first_word_is_found_and_taken_away(host: Path) -> None:
    Path(homes.STATE).mkdir(parents=True, exist_ok=True)
    Path(homes.STATE, laid.LEDGER + ".mailmirror-new").write_text("{")
    assert laid.found("org") == PLAIN
    remove("org")
    assert everything(host) == set()


def test_a_removal_that_was_cut_off_leaves_no_register_to_another_pair() -> None:
    lay(settings("org"))
    laid.take_away(PLAIN, None)
    assert lay(settings("net")) == Home("net")
    assert laid.found("org") == PLAIN
    remove("org")
    assert laid.found("org") is None and laid.found("net") == Home("net")


@pytest.mark.issue("4.2 a witness of several pairs: a mail host has one guard, a port one pair")
@pytest.mark.parametrize(
    ("there", "asked", "code"),
    [
        (settings("org", "primary"), settings("net", "mirror", 7522), "another-pair"),
        (settings("org", "primary"), settings("net", "witness", 7522), "another-pair"),
        (settings("org", "witness"), settings("net", "primary", 7522), "another-pair"),
        (settings("org", "witness"), settings("net", "witness"), "port-taken"),
    ],
)
def test_what_cant_be_beside_another_guard_is_refused_with_a_remedy(
    there: dict[str, Any], asked: dict[str, Any], code: str
) -> None:
    lay(there)
    with pytest.raises(Fault, match="the pair org") as raised:
        laying._home(asked)
    assert raised.value.code == code and raised.value.remedy
    assert laid.found("net") is None


def test_a_further_guard_of_a_witness_is_in_the_way_of_the_same_pairs_mail_host() -> None:
    lay(settings("org"))
    lay(settings("net", port=7522))
    remove("org")
    with pytest.raises(Fault, match="net has its witness's guard there"):
        laying._home(settings("net", "primary"))
