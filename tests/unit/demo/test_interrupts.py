"""An interrupt comes once, and waits while something is born."""

from __future__ import annotations

import os
import signal

import pytest

from orchestrator.demo import interrupts


def test_a_signal_becomes_one_keyboard_interrupt_and_a_second_one_is_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interrupts.once():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_interrupt_waits_for_the_end_of_what_mustnt_be_torn_apart() -> None:
    done = []
    with interrupts.once(), pytest.raises(KeyboardInterrupt), interrupts.held():
        with interrupts.held():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]


def test_once_the_cleaning_up_has_begun_none_is_raised() -> None:
    with interrupts.once():
        interrupts.ignore()
        os.kill(os.getpid(), signal.SIGINT)
