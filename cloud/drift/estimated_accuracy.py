"""Accuracy without a single label, from how sure the model is: average confidence (AC) and its thresholded kin (ATC).

Idea: on held-out images it is known how confidence and being right go together; confidence now is then turned into accuracy. This
fails *optimistically* where what is seen has changed (a lens out of focus: true .54, estimated .80), so every estimate says
whether it is valid, and none may ever be a gate.

Formula: with c the confidence and a the held-out accuracy,
    AC:  a + (mean c now - mean c held out), within 0..1                 (difference of confidences)
    ATC: share of c >= t now, where t leaves the share a of held-out confidences above it
t lies within a bin of the sketches' 64 logit-confidence bins, taken as evenly filled, so that on the held-out histogram itself
both give exactly a.

Parameters: `LEAST_ANSWERS`, `LEAST_IMAGES`: fewer say nothing.

Example: nine of ten sure answers were right; now only half of the answers are that sure.
    >>> import numpy as np
    >>> held, now = np.zeros(64, np.int64), np.zeros(64, np.int64)
    >>> held[[20, 50]], now[[20, 50]] = [100, 900], [500, 500]
    >>> found = estimated_accuracies(held, 0.9, now)
    >>> round(found.atc.estimate, 3), found.atc.valid
    (0.5, True)

Source: Garg, Balakrishnan, Lipton, Neyshabur & Sedghi 2022, "Leveraging Unlabeled Data to Predict Out-of-Distribution Performance"
(ICLR); Guillory, Shankar, Ebrahimi, Darrell & Schmidt 2021, "Predicting with Confidence on Unseen Distributions" (ICCV).
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from contract.sketches.label_counts import confidence_centres

LEAST_ANSWERS = 100
LEAST_IMAGES = 30


class EstimatedAccuracy(msgspec.Struct, frozen=True):
    """`estimate` is None where there is nothing to estimate from; `why` says why it is not `valid`, else ""."""

    estimate: float | None
    valid: bool
    why: str


class EstimatedAccuracies(msgspec.Struct, frozen=True):
    """Average confidence, and average thresholded confidence."""

    ac: EstimatedAccuracy
    atc: EstimatedAccuracy


def no_estimate(why: str) -> EstimatedAccuracies:
    """Return that nothing can be estimated, and why."""
    absent = EstimatedAccuracy(None, False, why)
    return EstimatedAccuracies(absent, absent)


def estimated_accuracies(
    held_out: NDArray[np.int64], accuracy: float, now: NDArray[np.int64], *, doubt: str = ""
) -> EstimatedAccuracies:
    """Return both estimates.

    Args:
        held_out: logit-confidence counts of the held-out images, i64[64].
        accuracy: the share of those answered right.
        now: logit-confidence counts of the latest windows, i64[64].
        doubt: why what is seen may not be what it was (a covariate shift), else "": the estimates are shown then, and not valid.
    """
    images, answers = int(held_out.sum()), int(now.sum())
    if images < LEAST_IMAGES:
        return no_estimate(f"{images} of {LEAST_IMAGES} held-out images are there")
    if answers < LEAST_ANSWERS:
        return no_estimate(f"{answers} of {LEAST_ANSWERS} answers are in")
    before, after = held_out / images, now / answers
    confidence = 1.0 / (1.0 + np.exp(-confidence_centres()))
    averaged = accuracy + float((after - before) @ confidence)
    return EstimatedAccuracies(
        EstimatedAccuracy(min(max(averaged, 0.0), 1.0), not doubt, doubt),
        EstimatedAccuracy(_share_above(after, _threshold(before, accuracy)), not doubt, doubt),
    )


def _threshold(shares: NDArray[np.float64], above: float) -> float:
    """Return where the share `above` of the histogram f64[64] lies to the right, in bins from the left: 0..64."""
    left, below = 0.0, 1.0 - above
    for place, share in enumerate(map(float, shares)):
        if share > 0.0 and left + share >= below - 1e-12:
            return place + min(max((below - left) / share, 0.0), 1.0)
        left += share
    return float(len(shares))


def _share_above(shares: NDArray[np.float64], threshold: float) -> float:
    place = int(threshold)
    if place >= len(shares):
        return 0.0
    return min(float(shares[place + 1 :].sum() + shares[place] * (place + 1 - threshold)), 1.0)
