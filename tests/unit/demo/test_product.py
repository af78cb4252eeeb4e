"""The product as the demo runs it: what it printed is logged, and an unexpected end is told in its own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.demo.product import CommandFailed, Mailmirror
from orchestrator.errors import MailmirrorError


def test_a_command_that_fails_is_reported_with_its_exit_code_and_words(tmp_path: Path) -> None:
    product = Mailmirror(tmp_path / "none.yaml", tmp_path)
    with pytest.raises(CommandFailed) as failed:
        product.ask("dance")
    assert failed.value.code != 0 and "dance" in str(failed.value)
    assert "$ mailmirror dance" in (tmp_path / "mailmirror.log").read_text()
    assert isinstance(failed.value, MailmirrorError)


def test_a_run_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    following = Mailmirror(tmp_path / "none.yaml", tmp_path).follow()
    following.process.wait(20)
    with pytest.raises(CommandFailed, match="ended by itself"):
        following.check()
    assert following.stop() != 0
