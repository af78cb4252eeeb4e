"""Plain scalars mean to us what they mean to Ansible, or are refused."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.inventory.scalars import Trap, plain


@pytest.mark.parametrize(
    ("written", "value"),
    [("30s", "30s"), ("22", 22), ("-1", -1), ("0", 0), ("2.5", 2.5), ("true", True), ("False", False), ("~", None)],
)
def test_harmless_scalars_are_read(written: str, value: object) -> None:
    assert plain(written) == value


@pytest.mark.issue("2.2 YAML's traps are errors")
@pytest.mark.parametrize(
    "written",
    [
        "yes",
        "NO",
        "On",
        "off",
        "22:30",
        "1:30:00",
        "0750",
        "0o17",
        "0x1F",
        "0b1",
        "1_000",
        "1e3",
        "-.5",
        "0_1.5",
        "2026-11-24",
        ".inf",
    ],
)
def test_traps_are_refused_with_a_hint(written: str) -> None:
    found = plain(written)
    assert isinstance(found, Trap)
    assert written in found.what
    assert found.hint


@pytest.mark.issue("2.2 what is accepted means the same to Ansible")
@given(
    st.one_of(
        st.from_regex(r"[-+]?[0-9:._xobeE]{1,8}", fullmatch=True),
        st.from_regex(r"(?i:yes|no|on|off|true|false|null|~|y|n)", fullmatch=True),
        st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9:.Z]{1,9})?", fullmatch=True),
    )
)
def test_what_is_accepted_is_what_pyyaml_reads(written: str) -> None:
    loader = yaml.SafeLoader("")
    tag: str = loader.resolve(yaml.ScalarNode, written, (True, False))  # type: ignore[no-untyped-call]  # PyYAML's
    try:
        theirs = loader.construct_object(yaml.ScalarNode(tag, written))
    except (yaml.YAMLError, ValueError, IndexError):
        assume(False)  # no reader takes it
    ours = plain(written)
    assert isinstance(ours, Trap) or (ours == theirs and type(ours) is type(theirs)), (written, ours, theirs)
