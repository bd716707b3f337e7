"""What people read of the promise on the newest look of the parts: in the report, on the model card, and in `why`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from cloud.commands.why_view import why_lines
from cloud.gate.look_checks import in_words
from cloud.gate.scorecard import LookFigures, Promise
from cloud.registry.model_card import write_card
from tests.cloud.quantize.report_of import page, report
from tests.cloud.registry.test_model_card import FULL

_FEW = LookFigures(18, 9, 9, 0)
_BEFORE = LookFigures(36, 20, 15, 0, newest=False)


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (_FEW, "it is neither shown nor refuted that at most 0.02 of what passes are defects: of 18 labelled parts set aside 9 "
               "pass by themselves, 0 of them defects, so 0.226 may be (with 90% confidence): too few."),
        (LookFigures(240, 120, 120, 0), "it is shown too that at most 0.02 of what passes are defects: of 240 labelled"),
        (LookFigures(18, 9, 11, 2), "it is refuted that at most 0.02 of what passes are defects: of 18 labelled parts set aside 11 "
                                    "pass by themselves, 2 of them defects, hence 0.0495 at least with 90% confidence."),
        (LookFigures(18, 9, 0, 0), "it is not shown that at most 0.02 of what passes are defects: of 18 labelled parts set aside "
                                   "none passes by itself."),
        (LookFigures(0, 0, 0, 0), "no labelled part was set aside."),
    ],
)  # fmt: skip
def test_each_outcome_has_words_for_whoever_answers_for_quality(look: LookFigures, words: str) -> None:
    said = in_words(look, Promise())
    assert said.startswith("For the parts as they look since the last labels it is") and words in said
    assert "as they looked at earlier retrains" in in_words(msgspec.structs.replace(look, newest=False), Promise())


def test_the_report_the_card_and_why_all_say_it() -> None:
    labels = [f"label {number}" for number in range(30)]
    gated = report(labels, looks=(_FEW, _BEFORE))
    html, card = page(labels, looks=(_FEW, _BEFORE)), write_card(replace(FULL, gate=gated))
    for look in (_FEW, _BEFORE):
        assert in_words(look, Promise()) in html and in_words(look, Promise()) in card
    assert "the same on parts labelled last" in html and "0 of 9" in html
    told: dict[str, Any] = {
        "decision": None,
        "sample": None,
        "gaps": [],
        "checks": [],
        "gate": msgspec.to_builtins(gated),
    }
    lines = why_lines(told)
    new = next(check for check in gated.checks if check.name == "new look")
    assert lines[1] == f"  held: {new.sentence}" and lines[-1].endswith("more that held (--json)")


def test_a_model_that_was_never_retrained_says_nothing_of_it() -> None:
    assert "since the last labels" not in page(["good", "dent"]) and "since the last labels" not in write_card(FULL)
