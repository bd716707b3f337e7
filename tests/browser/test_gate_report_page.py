"""The gate's report in a real Chromium, opened as the file that it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import HOW_TO_INSTALL, Chromium, find_chromium
from tests.cloud.quantize.report_of import page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason=HOW_TO_INSTALL),
]

HOSTILE = (
    "good <script>window.hit = 1</script>",
    '"><img src=x onerror="window.hit = 2">',
    "a_label_without_a_single_space_that_goes_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on",
    "</style><svg onload='window.hit = 3'>",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    binary = find_chromium()
    assert binary is not None
    opened = Chromium(binary, tmp_path_factory.mktemp("chromium"), width=1280, height=900)
    yield opened
    opened.close()


def _open(browser: Chromium, folder: Path, html: str) -> str:
    file = folder / "report.html"
    file.write_text(html, "utf-8")
    browser.said.clear()
    browser.open(file.as_uri())
    return browser.wait_for("Where it came from")


def test_it_is_read_without_errors_and_fits_the_screen(browser: Chromium, tmp_path: Path) -> None:
    text = _open(browser, tmp_path, page(("good", "scratch", "stain", "dent", "chip", "smear")))
    assert "Passed." in text and "Under corruptions" in text
    assert browser.run("document.documentElement.scrollWidth") <= 1280
    drawn = "[...document.querySelectorAll('svg')].map(each => each.getBoundingClientRect()).map(box => box.width * box.height)"
    assert len(browser.run(drawn)) == 5 and min(browser.run(drawn)) > 10_000
    assert browser.run("performance.getEntriesByType('resource').length") == 0
    assert browser.said == []


def test_labels_that_would_run_are_words(browser: Chromium, tmp_path: Path) -> None:
    text = _open(browser, tmp_path, page(HOSTILE, name=HOSTILE[0]))
    assert "good <script>window.hit = 1</script>" in text and '"><img src=x' in text
    assert browser.run("window.hit === undefined && document.querySelectorAll('script, img').length === 0")
    assert browser.run("document.documentElement.scrollWidth") <= 1280
    assert browser.said == []


def test_on_a_telephone_no_column_is_a_letter_wide(browser: Chromium, tmp_path: Path) -> None:
    browser.resize(400, 900)
    try:
        _open(browser, tmp_path, page(("good", "scratch", "a_label_of_many_words")))
        narrow = "Math.min(...[...document.querySelectorAll('td')].filter(e => e.innerText.length > 3).map(e => e.clientWidth))"
        assert browser.run("document.documentElement.scrollWidth") <= 400
        assert browser.run(narrow) >= 40
        sentences = "Math.min(...[...document.querySelectorAll('.checks td:last-child')].map(e => e.clientWidth))"
        assert browser.run(sentences) >= 250
    finally:
        browser.resize(1280, 900)
