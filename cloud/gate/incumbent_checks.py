"""Checks against the artefact in charge, image by image."""

from __future__ import annotations

from collections.abc import Sequence

from cloud.gate.paired import chance_of_lead, swapped, worse_by_at_most
from cloud.gate.scorecard import (
    CorruptionFigures,
    GateCheck,
    GateRules,
    Incumbent,
    PairedFigures,
    PairedSlice,
    Scorecard,
    SliceFigures,
)

_NAMED = 5


def not_worse(pairs: PairedFigures, rules: GateRules) -> GateCheck:
    """Shown: a candidate worse by the margin passes in 5 %; an equal one, of which 4 % of 180 images differ, fails in 2 %."""
    bound = worse_by_at_most(pairs, rules.confidence)
    return GateCheck(
        "not worse on the base holdout",
        bound <= rules.margin,
        f"of {pairs.images} images only the candidate names {pairs.only_candidate} right, only the incumbent "
        f"{pairs.only_incumbent}: it is worse by at most {bound:.3f} (margin {rules.margin:g})",
        {
            "images": pairs.images,
            "only_candidate": pairs.only_candidate,
            "only_incumbent": pairs.only_incumbent,
            "worse_by_at_most": bound,
        },
    )


def kept_recall(classes: Sequence[PairedSlice], rules: GateRules) -> list[GateCheck]:
    """Told apart: labels of which the incumbent finds more. An equal candidate fails in at most `slice_level` of trials."""
    if not classes:
        return []
    lost = _losers(classes, rules.max_recall_loss, rules.slice_level)
    worst = max(classes, key=lambda each: _loss(each.pairs))
    sentence = (
        "the incumbent finds more of " + _named(lost)
        if lost
        else f"no label is found less by more than chance explains (most is lost of '{worst.name}': {_counts(worst.pairs)})"
    )
    sentence += f" (more than {rules.max_recall_loss:g}, by chance at most {rules.slice_level:g})"
    return [GateCheck("recall kept", not lost, sentence, {"labels": len(classes), "worst_loss": _loss(worst.pairs)})]


def better_on_drift(pairs: PairedFigures, incumbent: Scorecard, rules: GateRules) -> GateCheck:
    """Shown: a candidate no better than the incumbent passes in at most `drift_level` of trials, if there is room for a lead.

    Few reviewed images cannot show a lead that is not large. So a candidate that leads at all passes too where it is as good on
    the drifted slice as the incumbent is on its own ground, within the margin: from 80 % one no better gets there, on 20
    images and from a base of 98 %, in 7 of 100.
    """
    chance = chance_of_lead(pairs)
    drift = incumbent.drift or SliceFigures(0, 0)
    mended = drift.correct + pairs.only_candidate - pairs.only_incumbent
    share = mended / pairs.images if pairs.images else 0.0
    recovered = pairs.only_candidate > pairs.only_incumbent and share >= incumbent.base.accuracy - rules.margin
    # Where the incumbent has nearly nothing left to mend, holding its level is enough.
    no_room = drift.accuracy >= 1 - rules.margin and pairs.only_candidate >= pairs.only_incumbent
    return GateCheck(
        "better on the drifted slice",
        chance <= rules.drift_level or recovered or no_room,
        f"of {pairs.images} reviewed images only the candidate names {pairs.only_candidate} right, only the incumbent "
        f"{pairs.only_incumbent} (by chance: {chance:.2g}; at most {rules.drift_level:g}, or {share:.3f} right and at least "
        f"{incumbent.base.accuracy - rules.margin:.3f}, as the incumbent on the base holdout less the margin)",
        {
            "images": pairs.images,
            "only_candidate": pairs.only_candidate,
            "only_incumbent": pairs.only_incumbent,
            "chance": chance,
            "accuracy": share,
        },
    )


def corruptions(candidate: Scorecard, incumbent: Incumbent, rules: GateRules) -> GateCheck:
    """Told apart, kind by kind, and on the mean of all, where little is left to chance: about a thousand images count."""
    ours, theirs = _mean_accuracy(candidate.corruptions), _mean_accuracy(incumbent.card.corruptions)
    collapsed = _losers(incumbent.corruptions, rules.max_kind_loss, rules.slice_level)
    sentence = (
        f"mean accuracy under {len(candidate.corruptions)} corruptions is {ours:.3f}, the incumbent's {theirs:.3f} (may lose "
        f"{rules.max_corruption_loss:g})"
    )
    if collapsed:
        sentence += f"; it gives way under {_named(collapsed)} (more than {rules.max_kind_loss:g} lost)"
    return GateCheck(
        "corruptions",
        ours >= theirs - rules.max_corruption_loss and not collapsed,
        sentence,
        {"accuracy": ours, "incumbent_accuracy": theirs, "kinds_lost": len(collapsed)},
    )


def _losers(slices: Sequence[PairedSlice], may_lose: float, level: float) -> list[PairedSlice]:
    """Return the slices on which the incumbent leads by more than `may_lose`, and chance explains none (Bonferroni)."""
    return [
        each
        for each in slices
        if _loss(each.pairs) > may_lose and chance_of_lead(swapped(each.pairs)) <= level / len(slices)
    ]


def _loss(pairs: PairedFigures) -> float:
    return (pairs.only_incumbent - pairs.only_candidate) / pairs.images if pairs.images else 0.0


def _named(slices: Sequence[PairedSlice]) -> str:
    worst = sorted(slices, key=lambda each: -_loss(each.pairs))
    named = ", ".join(f"'{each.name}' ({_counts(each.pairs)})" for each in worst[:_NAMED])
    return named + (f" and {len(worst) - _NAMED} more" if len(worst) > _NAMED else "")


def _counts(pairs: PairedFigures) -> str:
    return f"{pairs.only_candidate} won, {pairs.only_incumbent} lost of {pairs.images}"


def _mean_accuracy(figures: Sequence[CorruptionFigures]) -> float:
    shares = [c.correct / c.images for c in figures if c.images]
    return sum(shares) / len(shares) if shares else 0.0
