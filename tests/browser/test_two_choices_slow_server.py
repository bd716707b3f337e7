"""Two labels chosen before the server has answered to the first: both stay, on the review and where disagreements are settled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from cloud.api.auth import Role
from cloud.review.label_choice import LabelChoice
from tests.browser.test_review_page import EVIL, Line, shown
from tests.browser.test_review_page import line as line  # the fixture
from tests.browser.test_review_page import served as served  # the fixture

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LABELS = LabelChoice(("good", "dent", "scratch", "a;b", EVIL[:60]), frozenset({"good"}), several=True)
# What the page says stays in the browser until `letGo`: the server answers to nothing meanwhile.
HOLD = """() => {
  const real = socket.emit.bind(socket), held = [];
  socket.emit = (...told) => { held.push(told); return socket; };
  window.letGo = () => { socket.emit = real; held.forEach(told => real(...told)); return held.length; };
}"""


def dispute(line: Line) -> str:
    (name,) = line.keep(1)
    line.labels = LABELS
    line.samples.label(name, "dent", "ann", line.now)
    line.samples.label(name, "scratch", "bob", line.now)
    return name


def settle(page: Page) -> None:
    page.get_by_role("button", name="Settle it").click()
    page.get_by_label("Reason").fill("both are there")
    page.get_by_role("button", name="Settle", exact=True).click()


def test_both_labels_of_a_part_that_is_settled_stay(line: Line, open_page: Callable[..., Page]) -> None:
    name = dispute(line)
    page = open_page(f"{line.url}/review/disagreements", line.sign_in("eva", Role.ENGINEER))
    boxes = page.get_by_role("group", name="It is").get_by_role("checkbox")
    expect(boxes).to_have_count(5)
    page.evaluate(HOLD)
    for label in ("a;b", "dent"):
        page.get_by_role("checkbox", name=label).click()
    assert page.evaluate("letGo()") >= 2
    for label in ("a;b", "dent"):
        expect(page.get_by_role("checkbox", name=label)).to_be_checked()
    settle(page)
    expect(page.locator(".dispute-notice")).to_contain_text("is dent, a;b.")
    assert line.truths([name]) == ['dent;"a;b"']


def test_a_tick_can_be_taken_back_and_hostile_names_are_text(
    line: Line, open_page: Callable[..., Page], assert_accessible: Callable[[Page], None]
) -> None:
    name = dispute(line)
    page = open_page(f"{line.url}/review/disagreements", line.sign_in("eva", Role.ENGINEER))
    dent, evil = (page.get_by_role("checkbox", name=label) for label in ("dent", EVIL[:60]))
    expect(evil).to_be_visible()
    assert_accessible(page)
    assert "owned" not in page.title() and page.locator("img[src='x']").count() == 0
    dent.click()
    expect(dent).to_be_checked()
    dent.click()
    expect(dent).not_to_be_checked()
    evil.click()
    settle(page)
    expect(page.locator(".dispute-notice")).to_contain_text("is <img")
    assert line.truths([name]) == [LABELS.check(EVIL[:60])]


def test_both_labels_of_a_part_that_is_reviewed_stay(line: Line, open_page: Callable[..., Page]) -> None:
    (name,) = line.keep(1)
    line.labels = LABELS
    page = open_page(f"{line.url}/review", line.sign_in("ann"))
    shown(page)
    page.evaluate(HOLD)
    page.get_by_role("button", name="dent").click()
    page.keyboard.press("3")
    assert page.evaluate("letGo()") >= 2
    for label in ("dent", "scratch"):
        expect(page.get_by_role("button", name=label)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Store these").click()
    expect(page.get_by_text("No part waits for you.")).to_be_visible()
    assert line.truths([name]) == ["dent;scratch"]
