"""Whether the promise of the thresholds holds for the parts as they look now: those that people labelled after an alarm.

Thresholds are chosen on the calibration images, which show the parts as they looked before. What was labelled since and set aside
is some eighteen parts a retrain: enough to refute the promise where it is badly broken, never enough to show it.
"""

from __future__ import annotations

from enum import Enum

from cloud.gate.binomial import lower_bound, upper_bound
from cloud.gate.scorecard import GateCheck, LookFigures, Promise, Scorecard

NEW_LOOK = "new look"
EARLIER_LOOKS = "earlier looks"


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


def in_words(look: LookFigures, promise: Promise) -> str:
    """Return what the parts of one look say of the promise, for whoever answers for quality."""
    shown, sure = shown_by(look, promise), f"with {promise.confidence:.0%} confidence"
    whose = (
        "the parts as they look since the last labels"
        if look.newest
        else "the parts as they looked at earlier retrains"
    )
    promised = f"at most {promise.alpha:.3g} of what passes are defects"
    if not look.passed:
        seen = (
            f"of {look.parts} labelled parts set aside none passes by itself"
            if look.parts
            else "no labelled part was set aside"
        )
        return f"For {whose} it is not shown that {promised}: {seen}."
    low, high = (bound(look.missed, look.passed, promise.confidence) for bound in (lower_bound, upper_bound))
    seen = f"of {look.parts} labelled parts set aside {look.passed} pass by themselves, {look.missed} of them defects"
    if shown is Shown.SHOWN:
        return f"For {whose} it is shown too that {promised}: {seen}, hence {high:.3g} at most {sure}."
    if shown is Shown.REFUTED:
        return f"For {whose} it is refuted that {promised}: {seen}, hence {low:.3g} at least {sure}."
    return (
        f"For {whose} it is neither shown nor refuted that {promised}: {seen}, so {high:.3g} may be ({sure}): too few."
    )


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
    return GateCheck(NEW_LOOK if look.newest else EARLIER_LOOKS, shown is not Shown.REFUTED, sentence, figures)
