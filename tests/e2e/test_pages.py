"""The status page in a real Chromium: on a phone and on a desk, by keyboard, in both colour schemes, with and without
JavaScript. `SCREENSHOTS=1` draws the pictures of the docs anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from orchestrator.replication.report import PairStatus, PassiveStatus
from orchestrator.web.pages import Past, Trouble
from orchestrator.web.serving import Serving
from tests.support import browser, image
from tests.unit.web.test_pages import Stage, row

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("browser")]
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 800}
ENOUGH = 4.5
"""The contrast that WCAG 2.1 (1.4.3) asks of text."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.running() as found:
        yield found


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.now = 1_796_130_000.0
    stage.wrong = [
        Trouble(
            True, "mail1.example.org is down: nobody gets an answer from it.", "`mailmirror explain org` says why."
        ),
        Trouble(False, "A failover isn't ready: the clock of the witness is off.", "`mailmirror doctor org`."),
    ]
    stage.loss = "3 messages, 2.0 s at the last contact, and whatever was accepted after it"
    stage.evidence = [
        "Epoch 7, the primary is active.",
        "mail1.example.org (primary) is DOWN: nobody gets an answer from it.",
        "mail2.example.org: its guard knows epoch 7, doesn't serve, is armed.",
        "The lease is armed and both granters answer: it can be left to run out.",
    ]
    passive = {**row()["passives"][0], "equal_as_of": stage.now - 3_000}
    stage.rows = [row(why="It is down, and no proof is there that it can't serve.", passives=[passive])]
    stage.history = [
        Past(stage.now - 400_000, "drill by ann: done (each quarter)", "drill", "done"),
        Past(stage.now - 90_000, "switchover by ben: done (disks)", "switchover", "done"),
        Past(stage.now - 40, "SUSPECT to DOWN: Two observers agree, one of them not the controller's."),
    ]
    for number in range(60):
        lag = 0.2 + (number % 7) * 0.1 + (8.0 if 30 < number < 36 else 0.0)
        stage.trail.look(
            [PairStatus("org", passives=[PassiveStatus("mail2", "mirror", lag_seconds=lag)])], 10.0 * number
        )
    return stage


@pytest.fixture
def serving(stage: Stage) -> Iterator[Serving]:
    serving = stage.serving()
    yield serving
    serving.close()


def opened(chromium: Browser, serving: Serving, path: str = "", **options: Any) -> tuple[Page, list[str]]:
    """The page, and what the browser complained of."""
    page = chromium.new_context(**options).new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"http://127.0.0.1:{serving.port}/{path}")
    return page, complaints


@pytest.mark.issue("6.4 Chromium: phone and desktop width, contrast, light and dark, strict CSP")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_it_fits_can_be_read_and_the_browser_has_nothing_to_say(
    chromium: Browser, serving: Serving, size: dict[str, int], scheme: str
) -> None:
    page, complaints = opened(chromium, serving, viewport=size, color_scheme=scheme)
    expect(page.get_by_role("heading", level=1)).to_have_text("Somebody is needed now.")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing lies beside the screen"
    contrasts = page.evaluate(browser.CONTRASTS)
    assert len(contrasts) > 15 and min(contrasts) >= ENOUGH, min(contrasts)
    assert page.locator("polyline").count() == 1 and complaints == []
    if os.environ.get("SCREENSHOTS") and (size is PHONE) is (scheme == "dark"):
        name = "phone" if size is PHONE else "desk"
        page.screenshot(path=image.CHECKOUT / f"docs/status-{name}.png", full_page=True)
    page.context.close()


@pytest.mark.issue("6.4 Chromium: by keyboard, live, and what is open stays open")
def test_it_is_used_by_keyboard_and_drawn_anew_while_one_reads(
    chromium: Browser, serving: Serving, stage: Stage
) -> None:
    page, complaints = opened(chromium, serving, viewport=PHONE)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("mail1 is DOWN")).to_be_visible()
    stage.wrong, stage.rows = [], [row(state="PROTECTED", why="The mirror is equal, and a failover is ready.")]
    expect(page.get_by_role("heading", level=1)).to_have_text("All is well.", timeout=10_000)
    expect(page.get_by_text("mail1 is DOWN")).to_be_visible()
    expect(page.locator("summary").first).to_be_focused()
    serving.close()
    expect(page.get_by_role("heading", level=1)).to_contain_text("doesn't answer", timeout=10_000)
    assert all("Failed to load resource" in each for each in complaints), complaints
    page.context.close()


@pytest.mark.issue("6.4 Chromium: works without JavaScript")
def test_without_javascript_it_loads_itself_anew(chromium: Browser, serving: Serving, stage: Stage) -> None:
    page, _ = opened(chromium, serving, viewport=PHONE, java_script_enabled=False)
    expect(page.get_by_text("mail1.example.org is down")).to_be_visible()
    before = time.monotonic()
    stage.wrong = []
    expect(page.get_by_role("heading", level=1)).to_have_text("All is well.", timeout=20_000)
    assert time.monotonic() - before > 1.0, "by the page's own reload"
    page.context.close()


@pytest.mark.issue(
    "6.4 Chromium: a link's page on phone and desk, by keyboard, without JavaScript, its snooze and its answer"
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_a_question_fits_can_be_read_and_is_answered_by_keyboard(
    chromium: Browser, serving: Serving, stage: Stage, size: dict[str, int], scheme: str
) -> None:
    page, complaints = opened(
        chromium, serving, "confirm/good", viewport=size, color_scheme=scheme, java_script_enabled=False
    )
    expect(page.get_by_role("heading", level=1)).to_have_text("Move the users of org to mail2?")
    expect(page.get_by_text("3 messages")).to_be_visible()
    if os.environ.get("SCREENSHOTS") and (size is PHONE) and scheme == "dark":
        page.screenshot(path=image.CHECKOUT / "docs/confirm-phone.png", full_page=True)
    page.keyboard.press("Tab")
    expect(page.get_by_label("Type org to accept that:")).to_be_focused()
    page.keyboard.press("Enter")
    assert stage.answers == [], "the browser itself wants the name"
    page.keyboard.type("org")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Answered.")
    assert stage.answers == [("good", {"form": "f0rm", "what": "failover", "name": "org"})] and complaints == []
    page.context.close()


def test_a_question_can_be_read_and_put_off(chromium: Browser, serving: Serving, stage: Stage) -> None:
    page, complaints = opened(chromium, serving, "confirm/good", viewport=PHONE, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing lies beside the screen"
    contrasts = page.evaluate(browser.CONTRASTS)
    assert len(contrasts) > 10 and min(contrasts) >= ENOUGH, min(contrasts)
    heights = page.evaluate(
        "[...document.querySelectorAll('button,input:not([type=hidden])')].map(e => e.offsetHeight)"
    )
    assert len(heights) == 5 and min(heights) >= 44, "a thumb's breadth"
    page.get_by_role("button", name="2 h").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Answered.")
    assert stage.answers == [("good", {"form": "f0rm", "what": "snooze", "seconds": "7200"})] and complaints == []
    page.context.close()
