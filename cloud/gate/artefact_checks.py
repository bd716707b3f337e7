"""Checks of one artefact by itself: what it gets right, what it misses, what it is sure of, and what it looks at."""

from __future__ import annotations

import math
from statistics import NormalDist

from cloud.gate.binomial import lower_bound, upper_bound
from cloud.gate.calibration import calibration_error_bound
from cloud.gate.scorecard import ClassFigures, GateCheck, GateRules, Scorecard

# What int8 loses beyond its allowance is counted once chance explains it in fewer than one of ten.
_LOSS_CONFIDENCE = 0.9


def accuracy(card: Scorecard, rules: GateRules) -> GateCheck:
    """Shown, as measured: a candidate two standard deviations above the floor fails in 2 % of trials."""
    base = card.base
    seen = [each for each in card.classes if each.images]
    if base.images and len(seen) == 1 and len(card.classes) > 1:
        sentence = (
            f"all {base.images} holdout images are of '{seen[0].label}': whether labels are told apart is not shown"
        )
        return GateCheck("accuracy", False, sentence, {"accuracy": base.accuracy, "images": base.images})
    return GateCheck(
        "accuracy",
        base.images > 0 and base.accuracy >= rules.min_accuracy,
        f"{base.correct} of {base.images} holdout images are named right ({base.accuracy:.3f}; floor {rules.min_accuracy:g})",
        {"accuracy": base.accuracy, "images": base.images, "floor": rules.min_accuracy},
    )


def recalls(card: Scorecard, rules: GateRules) -> list[GateCheck]:
    """Shown, label by label: measured above one floor, and surely above another, lower one."""
    return [_recall(figures, rules) for figures in card.classes]


def _recall(figures: ClassFigures, rules: GateRules) -> GateCheck:
    recall = figures.recalled / figures.images if figures.images else 0.0
    bound = lower_bound(figures.recalled, figures.images, rules.confidence)
    sentence = (
        f"{figures.recalled} of {figures.images} images of '{figures.label}' are found ({recall:.3f}, at least {bound:.3f}; "
        f"floors {rules.min_recall:g} and {rules.min_recall_bound:g})"
        if figures.images
        else f"no image of '{figures.label}' is held back: nothing shows that it is found"
    )
    return GateCheck(
        f"recall of {figures.label}",
        recall >= rules.min_recall and bound >= rules.min_recall_bound,
        sentence,
        {"recall": recall, "lower_bound": bound, "images": figures.images},
    )


def missed_defects(card: Scorecard, rules: GateRules) -> GateCheck:
    """Refuted: one in twenty at the limit itself is stopped, of those that hold it with room almost none."""
    # The thresholds were chosen to hold the promise on other images; here it fails only on evidence to the contrary.
    bound = lower_bound(card.missed_defects, card.passed, rules.confidence)
    at_most = card.promise.alpha if rules.max_missed_defects is None else rules.max_missed_defects
    return GateCheck(
        "missed defects",
        bound <= at_most,
        f"{card.missed_defects} defects among {card.passed} automatic PASSes (at least {bound:.3f}; at most "
        f"{at_most:g} wanted)",
        {"missed": card.missed_defects, "passed": card.passed, "lower_bound": bound, "wanted": at_most},
    )


def calibration(card: Scorecard, rules: GateRules) -> GateCheck:
    """Refuted: by the error less what chance adds to it. Cards without a reliability diagram are taken at their word."""
    bound = calibration_error_bound(card.reliability, rules.confidence) if card.reliability else card.calibration_error
    return GateCheck(
        "calibration",
        bound <= rules.max_calibration_error,
        f"confidence is off by {card.calibration_error:.3f} on average, chance aside by at least {bound:.3f} (at most "
        f"{rules.max_calibration_error:g})",
        {"calibration_error": card.calibration_error, "lower_bound": bound},
    )


def automatic_decisions(card: Scorecard, incumbent: Scorecard | None, rules: GateRules) -> list[GateCheck]:
    """Refuted: a candidate that leaves everything to inspectors misses nothing and is of no use.

    How many parts thresholds let pass varies much with the images they were chosen on, so the loss allowed is large.
    """
    if card.automatic is None or not card.base.images:
        return []
    share = card.automatic / card.base.images
    bound = upper_bound(card.automatic, card.base.images, rules.confidence)
    sentence = (
        f"{card.automatic} of {card.base.images} images are decided without a person ({share:.3f}; floor "
        f"{rules.min_automatic:g}"
    )
    figures = {"automatic": share, "upper_bound": bound, "floor": rules.min_automatic}
    held = bound >= rules.min_automatic and card.automatic > 0
    if incumbent is not None and incumbent.automatic is not None and incumbent.base.images:
        theirs = incumbent.automatic / incumbent.base.images
        held = held and share >= theirs - rules.max_automatic_loss
        sentence += f"; the incumbent {theirs:.3f}, of which {rules.max_automatic_loss:g} may be lost"
        figures["incumbent_automatic"] = theirs
    return [GateCheck("automatic decisions", held, sentence + ")", figures)]


def golden(card: Scorecard) -> GateCheck:
    """Shown, exactly: the same file on the same machine fails only when it is another file."""
    if card.golden_error is None:
        return GateCheck("golden vectors", False, "there are no golden vectors", {})
    return GateCheck(
        "golden vectors",
        card.golden_error <= card.golden_tolerance,
        f"golden scores are reproduced within {card.golden_error:.3g} (at most {card.golden_tolerance:.3g})",
        {"error": card.golden_error, "tolerance": card.golden_tolerance},
    )


def full_precision(card: Scorecard, rules: GateRules) -> list[GateCheck]:
    """Refuted, both halves: on 180 images an artefact that agrees on 98.5 % is stopped in 1 of 100, one on 90 % in 97."""
    if card.fp32_correct is None or card.fp32_agrees is None:
        return []
    images = card.base.images
    agreement = card.fp32_agrees / images if images else 0.0
    differ = images - card.fp32_agrees
    at_least = lower_bound(differ, images, rules.agreement_confidence)
    lost = card.fp32_correct - card.base.correct
    # Images that the two name differently are won or lost like tosses of a coin when both are equally good.
    chance = NormalDist().inv_cdf(_LOSS_CONFIDENCE) * math.sqrt(max(0, differ))
    # One image of a small holdout is more than half a point; it shows nothing.
    allowed = max(1, math.floor(rules.max_int8_drop * images + chance))
    check = GateCheck(
        "int8 against fp32",
        images > 0 and at_least <= 1 - rules.min_agreement and lost <= allowed,
        f"agrees with full precision on {card.fp32_agrees} of {images} images ({agreement:.3f}, at most {1 - at_least:.3f}; "
        f"at least {rules.min_agreement:g} wanted) and loses {lost} (at most {allowed})",
        {"agreement": agreement, "upper_bound": 1 - at_least, "lost": lost, "allowed": allowed},
    )
    return [check]


def shortcut(card: Scorecard, rules: GateRules) -> list[GateCheck]:
    """Refuted: the place and label that looked worst are tried again on other pairs, so that chance has one try, not dozens.

    A pasted defect is a defect, and followed rightly; so without an incumbent the limit is high. With one it is low, but what
    the places that mirror this one, or the incumbent, may follow as often is allowed: no defect keeps to a corner that the
    incumbent does not know of, and a place that it follows too belongs to the part, or the fault is not new. (With the high limit
    beside an incumbent two of 30 honest retrains were stopped, a little above one that follows as much: bench retrain.)
    """
    found = card.shortcut
    if found is None or not found.images:
        return []
    share = found.followed / found.images
    bound = lower_bound(found.followed, found.images, rules.confidence)
    elsewhere = upper_bound(found.elsewhere, found.elsewhere_images, rules.confidence)
    limit, beside = rules.max_followed, ""
    figures = {"followed": share, "lower_bound": bound, "images": found.images, "elsewhere_upper_bound": elsewhere}
    if found.incumbent_followed is not None:
        theirs = upper_bound(found.incumbent_followed, found.images, rules.confidence)
        figures["incumbent_upper_bound"] = theirs
        limit = max(rules.max_followed_more, elsewhere, theirs)
        beside = (
            f": pastes elsewhere change {found.elsewhere} of {found.elsewhere_images}, the incumbent's answers "
            f"{found.incumbent_followed}"
        )
    held = bound <= limit
    sentence = (
        f"pasting the {found.region} of images of '{found.label}' over others changes {found.followed} of {found.images} answers "
        f"to it ({share:.3f}, at least {bound:.3f}; at most {limit:.3g} wanted{beside}"
    )
    where = "" if held else f"it looks at the {found.region} for '{found.label}', not at the part: "
    return [GateCheck("shortcuts", held, f"{where}{sentence})", figures)]
