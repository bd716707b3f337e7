"""Thresholds with a guarantee: among parts that PASS by themselves, defects are rare (DESIGN 3).

Fixed-sequence Learn-then-Test: candidates are tested from the strictest down, each by an exact binomial bound at the full
level, and testing stops at the first that fails. The last one that held is used; no correction for their number is needed.
Source: Angelopoulos, Bates, Candes, Jordan & Lei 2021, "Learn then Test", sections 1 and 4 (fixed-sequence testing).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cloud.gate.binomial import upper_bound
from cloud.gate.scorecard import Promise
from contract.manifest import Label, LabelKind, Thresholds

# Fixed before any data is seen, as the method demands; strictest first.
CANDIDATES = tuple(round(0.995 - 0.005 * i, 3) for i in range(100))


def choose_thresholds(
    probabilities: NDArray[np.float32],
    truth: NDArray[np.int64],
    labels: Sequence[Label],
    *,
    alpha: float = 0.02,
    delta: float = 0.1,
    reject_at: float = 0.5,
    good_mass: NDArray[np.float32] | None = None,
) -> Thresholds:
    """Return thresholds such that the share of defects among automatic PASSes is at most `alpha`, with confidence 1-`delta`.

    Args:
        probabilities: f32[N,K] of held-out images that the model never learnt from.
        truth: i64[N], their labels.
        labels: the K labels.
        alpha, delta: the guarantee.
        reject_at: confidence from which a defect is rejected rather than reviewed.
        good_mass: f32[N], how sure the model is of a good part; None: the sum over GOOD labels.
    Returns: `pass_at` 1.0 (no part ever passes by itself short of certainty) when nothing qualifies; `method` says why.
    """
    is_good = np.array([label.kind is LabelKind.GOOD for label in labels])
    promise = Promise(alpha, delta).words()
    if not is_good.any():
        return Thresholds(1.0, reject_at, "no label means a good part: nothing passes automatically")
    if len(truth) == 0:
        return Thresholds(1.0, reject_at, "no calibration images: nothing passes automatically")
    good_mass = probabilities[:, is_good].sum(1) if good_mass is None else good_mass
    could_pass = is_good[probabilities.argmax(1)]
    is_defect = ~is_good[truth]
    chosen: tuple[float, int, int] | None = None
    # Where only just enough pass, a single miss among them would end the sequence; three times as many can bear one or two.
    # How many pass says nothing of whether they are right, so beginning further down leaves the sequence as fixed as it was.
    enough = _fewest(alpha, delta)
    begin_at = 3 * enough if int((could_pass & (good_mass >= CANDIDATES[-1])).sum()) >= 3 * enough else enough
    for candidate in CANDIDATES:
        passed = could_pass & (good_mass >= candidate)
        missed, count = int((passed & is_defect).sum()), int(passed.sum())
        if count < begin_at:
            continue
        if upper_bound(missed, count, 1 - delta) > alpha:
            break
        chosen = (candidate, missed, count)
    if chosen is None:
        return Thresholds(
            1.0, reject_at, f"Learn-then-Test on {len(truth)} images: no threshold shows {promise}; more are needed"
        )
    pass_at, missed, count = chosen
    method = f"Learn-then-Test on {len(truth)} images: {promise} ({missed} of {count} passed)"
    if not is_defect.any():
        # Nothing can be missed where there is nothing to miss: true of lines with this mix, and of no other.
        method += "; none of them shows a defect, so this holds only where defects are as rare"
    return Thresholds(pass_at, reject_at, method)


def _fewest(alpha: float, delta: float) -> int:
    """Return how many parts must pass, all rightly, before they show anything."""
    count = 1
    while upper_bound(0, count, 1 - delta) > alpha:
        count += 1
    return count
