"""Whether the answers became wrong while nothing that is seen or answered moved: concept drift, by betting on spot labels.

Idea: a person labels a few frames drawn at random. Bet against "the accuracy is at least m": a bet wins on wrong answers and loses
on right ones, and who gets rich where the house cannot lose has found it out. No label count is fixed beforehand, and one may look
after every label.

Formula, with x = 1 for a right answer, else 0, and a weight v for unequal sampling:
    detector    M <- (1 + M) (1 + s / (1 - m) v (m - x)), s in {1/8, 1/4, 1/2, 3/4}, averaged over s; alarm when M >= 1 / alpha
    confidence  {m: max(prod(1 + l v (x - m)), prod(1 - l v (x - m))) / 2 < 1 / level, always}, with the predictable plug-in bets
                l_i = sqrt(2 log(2 / level) / (var_{i-1} i log(1 + i))), cut at 1 / (2 m) and 1 / (2 (1 - m))
Promises: as long as the accuracy is at least m, the detector takes at least 1 / alpha labels on average before it alarms falsely;
the interval holds the accuracy at every moment at once with confidence 1 - `level`, as long as the accuracy stays one.

Weights: a frame kept with probability p speaks for 1/p frames. v = f / p with f the least p of the labels, so that stakes stay
bounded by 1; no label weighs less than a twentieth of another (1/p is cut there). What is assumed: p is known, and whether a
frame was kept depends on nothing that also makes its answer right or wrong, beyond what p says. f comes from how the audit was
drawn and not from the answers; a label rarer than all before weighs those anew. Labels count as frames were captured
(`spot_labels_in_order`), each sample once; so replays and labels given in any order come to the same.

Parameters: `ConceptPolicy`. Where the promise m comes from: `promised_accuracy`, less max(tolerance, 3 standard errors), since a
small held-out set promises little.

Example: an accuracy of 0.95 was promised, and then every second answer is wrong.
    >>> labels = [SpotLabel(str(i), float(i), i % 2 == 0, 0.05) for i in range(40)]
    >>> state = concept_state(labels, 0.9)
    >>> state.crossed_after, state.e_value > 1000
    (14, True)

Source: Waudby-Smith & Ramdas 2023, "Estimating means of bounded random variables by betting" (JRSS B), theorem 3; Shin, Ramdas &
Rinaldo 2024, "E-detectors" (NEJSDS); Shiryaev 1963, Roberts 1966.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from contract.errors import BadDataset

LEVEL = 0.05
_STAKES = (0.125, 0.25, 0.5, 0.75)
# Enough for any threshold, and far from the end of a double.
_MOST_WEALTH = 1e12
_MOST_RATIO = 20.0
_GRID = 200
_CUT = 0.5


class ConceptPolicy(msgspec.Struct, frozen=True):
    """When answers became wrong. `alpha`: one false alarm in 1/alpha labels. `tolerance`: a loss of accuracy nobody minds."""

    alpha: float = 1e-3
    tolerance: float = 0.05


@dataclass(frozen=True, slots=True)
class SpotLabel:
    """Whether the local answer was `correct`, for a frame `captured_at` that was drawn with probability `inclusion`."""

    sample: str
    captured_at: float
    correct: bool
    inclusion: float


class ConceptState(msgspec.Struct, frozen=True):
    """The bets after `labels` labels: `wealth` of each stake; `crossed_at` is when the frame that raised the alarm was captured."""

    labels: int = 0
    wealth: tuple[float, ...] = (0.0,) * len(_STAKES)
    crossed_at: float | None = None
    crossed_after: int | None = None

    @property
    def e_value(self) -> float:
        """M."""
        return sum(self.wealth) / len(self.wealth)


@dataclass(frozen=True, slots=True)
class ConfidenceSequence:
    """The accuracy lies in `low`..`high`, at this moment and all others; of `labels` labels."""

    low: float
    high: float
    labels: int


def spot_labels_in_order(labels: Iterable[SpotLabel]) -> list[SpotLabel]:
    """Return each sample once, as captured; the last one given of a sample counts.

    Raises:
        BadDataset: an inclusion probability outside 0..1 (0 excluded): no audit sample.
    """
    by_sample = {label.sample: label for label in labels}
    for label in by_sample.values():
        if not 0.0 < label.inclusion <= 1.0:
            raise BadDataset(
                f"inclusion probability {label.inclusion} is outside 0..1", hint="use labels of the audit sample only"
            )
    return sorted(by_sample.values(), key=lambda label: (label.captured_at, label.sample))


def label_weights(labels: Sequence[SpotLabel]) -> NDArray[np.float64]:
    """Return v of each label, f64[N], in 1/20..1: 1 for all where every frame was drawn with the same probability."""
    inclusion = np.array([label.inclusion for label in labels], np.float64)
    if len(inclusion) == 0:
        return inclusion
    least = max(float(inclusion.min()), float(inclusion.max()) / _MOST_RATIO)
    return np.asarray(np.minimum(1.0, least / inclusion), np.float64)


def bet(
    state: ConceptState, label: SpotLabel, least_accuracy: float, *, weight: float = 1.0, alpha: float = 1e-3
) -> ConceptState:
    """Return the bets after the label of one more frame.

    Args:
        least_accuracy: m, what was promised less the tolerance, 0..1 exclusive.
        weight: v, 0..1.
        alpha: the alarm rings at M >= 1 / alpha.
    """
    gain = weight * (least_accuracy - (1.0 if label.correct else 0.0)) / (1.0 - least_accuracy)
    wealth = tuple(
        min((1.0 + held) * (1.0 + stake * gain), _MOST_WEALTH)
        for stake, held in zip(_STAKES, state.wealth, strict=True)
    )
    count = state.labels + 1
    crosses = state.crossed_at is None and sum(wealth) / len(wealth) >= 1.0 / alpha
    return ConceptState(
        labels=count,
        wealth=wealth,
        crossed_at=label.captured_at if crosses else state.crossed_at,
        crossed_after=count if crosses else state.crossed_after,
    )


def concept_state(labels: Iterable[SpotLabel], least_accuracy: float, alpha: float = 1e-3) -> ConceptState:
    """Return the bets after all `labels`, in whatever order they were given. Raises: as `spot_labels_in_order`."""
    state, ordered = ConceptState(), spot_labels_in_order(labels)
    for label, weight in zip(ordered, label_weights(ordered).tolist(), strict=True):
        state = bet(state, label, least_accuracy, weight=weight, alpha=alpha)
    return state


def confidence_sequence(labels: Iterable[SpotLabel], level: float = LEVEL) -> ConfidenceSequence | None:
    """Return where the accuracy lies, whenever one looks; None without labels, or when they fit no single accuracy.

    Raises: as `spot_labels_in_order`.
    """
    ordered = spot_labels_in_order(labels)
    if not ordered:
        return None
    means = np.linspace(0.0, 1.0, _GRID + 1)
    # What was excluded once stays so: right for one accuracy, and empty, rather than misleading, once it changed for good.
    held = np.flatnonzero(log_capital(ordered, means, level).max(axis=0) < math.log(1.0 / level))
    if len(held) == 0:
        return None
    # Outwards by one step: the interval's ends lie between grid points.
    low, high = max(int(held[0]) - 1, 0), min(int(held[-1]) + 1, _GRID)
    return ConfidenceSequence(float(means[low]), float(means[high]), len(ordered))


def bounded_sequence(
    labels: Sequence[SpotLabel], disputed: Sequence[SpotLabel], level: float = LEVEL
) -> ConfidenceSequence | None:
    """Return where the accuracy lies however `disputed`, on which people disagree, are settled: from all wrong to all right.

    Raises: as `spot_labels_in_order`.
    """
    found = confidence_sequence(labels, level)
    if not disputed or found is None:
        return found
    wrong = confidence_sequence([*labels, *(replace(each, correct=False) for each in disputed)], level)
    right = confidence_sequence([*labels, *(replace(each, correct=True) for each in disputed)], level)
    # What fits no single accuracy bounds nothing.
    low = 0.0 if wrong is None else min(found.low, wrong.low)
    return ConfidenceSequence(low, 1.0 if right is None else max(found.high, right.high), found.labels)


def log_capital(labels: Sequence[SpotLabel], means: NDArray[np.float64], level: float = LEVEL) -> NDArray[np.float64]:
    """Return the logarithm of the hedged capital against each accuracy in `means` f64[G] after each label, f64[N,G].

    An accuracy whose capital reached 1 / `level` is excluded. `labels` as `spot_labels_in_order` gives them.
    """
    right = np.array([1.0 if label.correct else 0.0 for label in labels])
    weight = label_weights(labels)
    stake = _plug_in_stakes(right, weight, level)[:, None]
    # A little off 0 and 1, where a cut would be infinite.
    inside = np.clip(means, 1e-9, 1.0 - 1e-9)
    off = weight[:, None] * (right[:, None] - inside)
    above = np.cumsum(np.log1p(np.minimum(stake, _CUT / inside) * off), axis=0)
    below = np.cumsum(np.log1p(-np.minimum(stake, _CUT / (1.0 - inside)) * off), axis=0)
    return np.asarray(np.maximum(above, below) - math.log(2.0), np.float64)


def promised_accuracy(
    confusion: NDArray[np.int64], shares: Sequence[float] | None = None, *, tolerance: float = 0.05
) -> tuple[float, float]:
    """Return (accuracy to expect, least accuracy that breaks no promise).

    Args:
        confusion: held-out counts, i64[K,K]: row is the true label, column the answer.
        shares: how often each label comes on this line; None takes the held-out mix. A line that has always shown more of the
            hard labels than the held-out set was promised less.
        tolerance: a loss nobody minds.
    """
    per_label = confusion.sum(axis=1)
    known = per_label > 0
    mix = np.array(shares) if shares is not None else per_label / per_label.sum()
    # A label that was never held out promises nothing; the others stand for it.
    mix = np.where(known, mix, 0.0)
    mix = mix / mix.sum() if mix.sum() > 0 else per_label / per_label.sum()
    counted = np.maximum(per_label, 1)
    recall = np.diag(confusion) / counted
    smooth = (np.diag(confusion) + 0.5) / (counted + 1.0)
    error = math.sqrt(float((mix**2 * smooth * (1.0 - smooth) / counted)[known].sum()))
    expected = float(mix @ recall)
    return expected, min(max(expected - max(tolerance, 3.0 * error), 0.01), 0.99)


def _plug_in_stakes(right: NDArray[np.float64], weight: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Return the predictable bets f64[N]: each from what came before it."""
    seen = 1.0 + np.cumsum(weight)
    mean = (0.5 + np.cumsum(weight * right)) / seen
    variance = (0.25 + np.cumsum(weight * (right - mean) ** 2)) / seen
    before = np.concatenate([[0.25], variance[:-1]])
    index = np.arange(1, len(right) + 1)
    return np.asarray(np.sqrt(2.0 * math.log(2.0 / level) / (before * index * np.log1p(index))), np.float64)
