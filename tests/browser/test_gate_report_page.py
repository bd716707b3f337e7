"""The gate's report in a real Chromium, opened as the file that it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.cloud.quantize.report_of import page as report

pytestmark = pytest.mark.browser

Open = Callable[..., Page]
HOSTILE = (
    "good <script>window.hit = 1</script>",
    '"><img src=x onerror="window.hit = 2">',
    "a_label_without_a_single_space_that_goes_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on",
    "</style><svg onload='window.hit = 3'>",
)


def _open(open_page: Open, folder: Path, html: str, width: int = 1280) -> Page:
    file = folder / "report.html"
    file.write_text(html, "utf-8")
    page = open_page(file.as_uri(), width=width, height=900)
    expect(page.get_by_text("Where it came from").first).to_be_visible()
    return page


def test_it_is_read_without_errors_and_fits_the_screen(open_page: Open, tmp_path: Path) -> None:
    page = _open(open_page, tmp_path, report(("good", "scratch", "stain", "dent", "chip", "smear")))
    text = page.inner_text("body")
    assert "Passed." in text and "Under corruptions" in text
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    drawn = "[...document.querySelectorAll('svg')].map(each => each.getBoundingClientRect()).map(box => box.width * box.height)"
    assert len(page.evaluate(drawn)) == 5 and min(page.evaluate(drawn)) > 10_000
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0


def test_labels_that_would_run_are_words(open_page: Open, tmp_path: Path) -> None:
    page = _open(open_page, tmp_path, report(HOSTILE, name=HOSTILE[0]))
    text = page.inner_text("body")
    assert "good <script>window.hit = 1</script>" in text and '"><img src=x' in text
    assert page.evaluate("window.hit === undefined && document.querySelectorAll('script, img').length === 0")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_on_a_telephone_no_column_is_a_letter_wide(open_page: Open, tmp_path: Path) -> None:
    page = _open(open_page, tmp_path, report(("good", "scratch", "a_label_of_many_words")), width=400)
    narrow = (
        "Math.min(...[...document.querySelectorAll('td')].filter(e => e.innerText.length > 3).map(e => e.clientWidth))"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.evaluate(narrow) >= 40
    sentences = "Math.min(...[...document.querySelectorAll('.checks td:last-child')].map(e => e.clientWidth))"
    assert page.evaluate(sentences) >= 250
