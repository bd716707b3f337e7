"""The gate's report as a page: whole, by itself, and inert whatever labels are called. (tests/browser shows it to a browser.)"""

from __future__ import annotations

from html.parser import HTMLParser
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.gate.scorecard import GateRules
from cloud.quantize.report_charts import confusion_matrix, recall_chart, reliability_diagram
from tests.cloud.quantize.report_of import card, page

LABELS = ("good", "scratch", "stain")
TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "section", "div",
    "h1", "h2", "p", "ul", "li", "strong", "code", "table", "tr",
    "th", "td", "svg", "text", "line", "rect", "circle", "polygon",
}  # fmt: skip


class _Seen(HTMLParser):
    """Collects what would load, run or be clicked."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.reaches: list[tuple[str, str | None]] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.reaches += [
            (name, value) for name, value in attrs if name in ("src", "href", "action") or name[:2] == "on"
        ]

    def handle_data(self, data: str) -> None:
        self.words += data


def _seen(html: str) -> _Seen:
    seen = _Seen()
    seen.feed(html)
    return seen


def test_the_page_tells_the_verdict_the_reasons_and_every_chart() -> None:
    seen = _seen(page(LABELS))
    assert "Passed. All" in " ".join(seen.words.split()) and seen.words.count("✓ held") == 15
    for said in (
        "Recall of each label", "Confusion matrix", "Reliability", "against full precision", "Under corruptions", "misaligned",
        "Thresholds", "0.91", "Surest mistakes", "0123456789abcdef", "No picture is in this report", "only 3 images of good",
    ):  # fmt: skip
        assert said in seen.words, said
    failed = " ".join(_seen(page(LABELS, rules=GateRules(min_accuracy=0.99, min_recall=0.99))).words.split())
    assert "Failed. 4 of 15 checks did not hold: accuracy: 117 of 120" in failed


def test_a_first_models_page_compares_with_none() -> None:
    words = _seen(page(LABELS, incumbent=False)).words
    assert "a first model: compared with none" in words and "against the incumbent" not in words


def test_the_page_is_small_the_same_every_time_and_reaches_for_nothing() -> None:
    html = page(LABELS)
    seen = _seen(html)
    assert html == page(LABELS) and len(html) < 100_000
    assert seen.reaches == [] and not seen.tags & {"script", "img", "link", "iframe", "object", "form", "a"}
    assert "default-src 'none'" in html and "url(" not in html


def test_two_hundred_labels_are_a_page_too() -> None:
    html = page([f"label {number}" for number in range(200)])
    assert "20 of 200 labels are shown" in html and len(html) < 300_000


@settings(max_examples=15)
@given(
    st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=4, unique=True),
    st.sampled_from(("", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "\u202egood")),
)
def test_names_stay_text(names: list[str], hostile: str) -> None:
    labels = [name + hostile for name in names]
    seen = _seen(page(labels, name=hostile or "next"))
    assert seen.reaches == [] and seen.tags <= TAGS
    assert "\u202e" not in seen.words and ("7 * 7" not in hostile or "{{ 7 * 7 }}" in seen.words)
    for chart in (confusion_matrix(card(labels)), recall_chart(card(labels), None, GateRules())):
        ElementTree.fromstring(chart)


@pytest.mark.parametrize("images", [1, 10_000])
def test_a_chart_of_one_image_or_many_stays_in_its_frame(images: int) -> None:
    one = card(LABELS)
    bins = tuple(msgspec.structs.replace(each, images=images, correct=images) for each in one.reliability)
    root = ElementTree.fromstring(reliability_diagram(msgspec.structs.replace(one, reliability=bins)))
    _, _, width, height = (float(part) for part in str(root.get("viewBox")).split())
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(circle.get("cx", -1)) <= width and 0 <= float(circle.get("cy", -1)) <= height
