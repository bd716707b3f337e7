"""Whether the promise of the thresholds holds for the parts as they look now: those that people labelled after an alarm.

Thresholds are chosen on the calibration images, which show the parts as they looked before. What was labelled since and set aside
is some eighteen parts a retrain: enough to refute the promise where it is badly broken, never enough to show it. So the answer
says how many more would be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from cloud.gate.binomial import lower_bound, upper_bound
from cloud.gate.scorecard import GateCheck, LookFigures, Promise, Scorecard

NEW_LOOK = "new look"
EARLIER_LOOKS = "earlier looks"
FURTHER_PARTS = "further parts"
# A promise that a billion parts do not show is none.
_MOST_BITS = 30


class Shown(str, Enum):
    """What parts say of a promise; the values are for a person."""

    SHOWN = "shown"
    TOO_FEW = "not refuted, but too few to show"
    REFUTED = "refuted"


def refutes(missed: int, passed: int, promise: Promise) -> bool:
    """Return whether so many misses are evidence, at the promise's own confidence, that it is broken.

    Source: the one-sided exact binomial test (Clopper & Pearson 1934).
    """
    return lower_bound(missed, passed, promise.confidence) > promise.alpha


def shown_by(look: LookFigures, promise: Promise) -> Shown:
    """Return what the parts of one look say of the promise."""
    if refutes(look.missed, look.passed, promise):
        return Shown.REFUTED
    # A bound holds for a threshold that was fixed before the parts were seen; what they moved themselves they cannot show.
    if not look.tightened and upper_bound(look.missed, look.passed, promise.confidence) <= promise.alpha:
        return Shown.SHOWN
    return Shown.TOO_FEW


@dataclass(frozen=True, slots=True)
class Enough:
    """What would show a promise: so many further parts that pass, if none of them is a defect, and how many parts must be labelled
    for that where as many pass as of those before; None where none of them passed."""

    passed: int
    parts: int | None


def enough(look: LookFigures, promise: Promise) -> Enough | None:
    """Return the fewest further parts of the same look, judged by the same artefact, that could show the promise.

    It is the best case: each defect among them asks for some 80 more (at 2 % and 90 %). Parts that moved the threshold count for
    nothing. None where the promise is shown or refuted, or where no number of parts would show it.
    """
    if shown_by(look, promise) is not Shown.TOO_FEW:
        return None
    missed, passed = (0, 0) if look.tightened else (look.missed, look.passed)

    def shows(more: int) -> bool:
        return upper_bound(missed, passed + more, promise.confidence) <= promise.alpha

    # The bound only falls with parts that pass and are good. Look up to a power of two, then between it and the one before.
    most = next((1 << power for power in range(_MOST_BITS) if shows(1 << power)), None)
    if most is None:
        return None
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if shows(middle) else (middle, most)
    return Enough(most, math.ceil(most * look.parts / look.passed) if look.passed else None)


def in_words(look: LookFigures, promise: Promise) -> str:
    """Return what the parts of one look say of the promise, for whoever answers for quality."""
    shown, sure = shown_by(look, promise), f"with {promise.confidence:.0%} confidence"
    whose = (
        "the parts as they look since the last labels"
        if look.newest
        else "the parts as they looked at earlier retrains"
    )
    if look.further:
        whose = "the parts labelled since the model was made"
    promised = f"at most {promise.alpha:.3g} of what passes are defects"
    if not look.passed:
        seen = (
            f"of {look.parts} labelled parts set aside none passes by itself"
            if look.parts
            else "no labelled part was set aside"
        )
        return f"For {whose} it is not shown that {promised}: {seen}.{_enough_in_words(look, promise)}"
    low, high = (bound(look.missed, look.passed, promise.confidence) for bound in (lower_bound, upper_bound))
    seen = f"of {look.parts} labelled parts set aside {look.passed} pass by themselves, {look.missed} of them defects"
    if shown is Shown.SHOWN:
        return f"For {whose} it is shown too that {promised}: {seen}, hence {high:.3g} at most {sure}."
    if shown is Shown.REFUTED:
        return f"For {whose} it is refuted that {promised}: {seen}, hence {low:.3g} at least {sure}."
    return (
        f"For {whose} it is neither shown nor refuted that {promised}: {seen}, so {high:.3g} may be ({sure}): too few."
        f"{_enough_in_words(look, promise)}"
    )


def _enough_in_words(look: LookFigures, promise: Promise) -> str:
    wanted = enough(look, promise)
    if wanted is None:
        return ""
    if wanted.parts is None:
        return f" Enough would be {wanted.passed} that pass, none of them a defect."
    # What moved the threshold itself is no witness.
    which = "other" if look.tightened else "more"
    condition = f"if none of the {wanted.passed} that then pass is a defect"
    return f" Enough would be about {wanted.parts} {which} labelled parts, {condition}."


def looks(card: Scorecard) -> list[GateCheck]:
    """Refuted: at the promise's own confidence, on the newest look by itself and on the earlier ones together."""
    return [_look(look, card.promise) for look in card.looks]


def _look(look: LookFigures, promise: Promise) -> GateCheck:
    shown = shown_by(look, promise)
    low, high = (bound(look.missed, look.passed, promise.confidence) for bound in (lower_bound, upper_bound))
    counted = f"{look.missed} of {look.passed} that pass are defects, at most {high:.3g} at {promise.confidence:.0%}"
    if not look.passed:
        counted = "none passes by itself" if look.parts else "no part was set aside"
    sentence = f"at most {promise.alpha:g} missed: {shown.value}: {counted}; {look.parts} parts set aside, {look.defects} defects"
    if shown is Shown.REFUTED:
        sentence += f"; at least {low:.3g} are missed"
    elif look.tightened:
        sentence += "; the threshold was made stricter by them"
    wanted = enough(look, promise)
    if wanted is not None:
        which = "other" if look.tightened else "more"
        whole = f"about {wanted.parts} {which} labelled parts, if none of " if wanted.parts is not None else ""
        sentence += f"; enough: {whole}{wanted.passed} that pass" + (" is a defect" if whole else ", none a defect")
    figures = {
        "parts": look.parts,
        "defects": look.defects,
        "passed": look.passed,
        "missed": look.missed,
        "lower_bound": low,
        "upper_bound": high,
        "promised": promise.alpha,
        "shown": float(shown is Shown.SHOWN),
    }
    if wanted is not None:
        figures["more_passed"] = wanted.passed
        if wanted.parts is not None:
            figures["more_parts"] = wanted.parts
    name = FURTHER_PARTS if look.further else NEW_LOOK if look.newest else EARLIER_LOOKS
    return GateCheck(name, shown is not Shown.REFUTED, sentence, figures)
