"""How often each kind of part comes now, from the answers alone: black-box shift estimation.

Idea: an artefact that answers "scratch" a little too often does so today as on its held-out images, so the mix of its answers
can be turned back into the mix of the parts, as long as parts of a kind still look as they did. Under a covariate shift they do
not, and the estimate is worthless: it is marked so.

Formula: with A[i,j] the held-out share of answer i among images of label j, and m the mix of the answers now, q = A^-1 m,
projected onto the simplex. Interval (delta method): Var q = A^-1 (d Cov(m)/n + sum_j q_j^2 Cov(A_j)/n_j) A^-T. d >= 1 is by how
much the windows' answers vary more than independent ones would (several frames of one part, batches of one product).

Parameters: `LEAST_SINGULAR_VALUE` of A: the error of m grows by one over it; `LEAST_ANSWERS` now; `LEAST_IMAGES` held out of each
label.

Example: 9 of 10 are answered right; 30 % of the answers say "scratch", so a quarter of the parts are scratched.
    >>> import numpy as np
    >>> confusion = np.array([[900, 100], [100, 900]])
    >>> found = label_shares(confusion, np.array([[700, 300]]))
    >>> [round(share.estimate, 3) for share in found.shares], found.valid
    ([0.75, 0.25], True)

Source: Lipton, Wang & Smola 2018, "Detecting and Correcting for Label Shift with Black Box Predictors" (ICML); projection: Duchi,
Shalev-Shwartz, Singer & Chandra 2008.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

LEAST_SINGULAR_VALUE = 0.2
LEAST_ANSWERS = 100
LEAST_IMAGES = 5
MOST_LABELS = 256
# Fewer windows say nothing of how much windows vary.
_LEAST_WINDOWS = 6
_NORMAL_95 = 1.959964
# A share that moved less is no news to anyone, however sure it is.
_LEAST_CHANGE = 0.02


class Share(msgspec.Struct, frozen=True):
    """A label's share among the parts: `estimate` in `low`..`high` with 95 % confidence."""

    estimate: float
    low: float
    high: float


class LabelShares(msgspec.Struct, frozen=True):
    """The shares of the labels, in their order; none where they cannot be told. `why` says why they are not valid, else ""."""

    shares: tuple[Share, ...]
    answers: int
    valid: bool
    why: str


def label_shares(confusion: NDArray[np.int64], windows: NDArray[np.int64], *, doubt: str = "") -> LabelShares:
    """Return the shares of the labels among the parts of `windows`.

    Args:
        confusion: held-out counts, i64[K,K]: row is the true label, column the answer.
        windows: how often each label was the answer in each window, i64[W,K].
        doubt: why what is seen may not be what it was (a covariate shift), else "": the shares are shown then, and not valid.
    """
    answers = int(windows.sum())
    why = _trouble(confusion, windows, answers)
    if why:
        return LabelShares((), answers, False, why)
    per_label = confusion.sum(axis=1)
    likelihood = (confusion / per_label[:, None]).T
    least = float(np.linalg.svd(likelihood, compute_uv=False)[-1])
    if least < LEAST_SINGULAR_VALUE:
        return LabelShares(
            (), answers, False, "the model confuses labels too much to tell their shares from its answers"
        )
    inverse = np.linalg.inv(likelihood)
    mix = windows.sum(axis=0) / answers
    raw = inverse @ mix
    estimate = project_to_simplex(raw)
    variance = _overdispersion(windows, mix) * _multinomial(mix) / answers
    for label, weight in enumerate(estimate):
        # Smoothed, so that ten right answers of ten do not count as certainty.
        column = (confusion[label] + 1.0 / len(mix)) / (per_label[label] + 1.0)
        variance += weight * weight * _multinomial(column) / per_label[label]
    reach = _NORMAL_95 * np.sqrt(np.maximum(np.diag(inverse @ variance @ inverse.T), 0.0))
    # Both ends around the unprojected estimate, whose distribution is known; the projected one is never outside of them.
    low = np.minimum(np.clip(raw - reach, 0.0, 1.0), estimate)
    high = np.maximum(np.clip(raw + reach, 0.0, 1.0), estimate)
    shares = tuple(Share(*each) for each in zip(estimate.tolist(), low.tolist(), high.tolist(), strict=True))
    return LabelShares(shares, answers, not doubt, doubt)


def project_to_simplex(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shares (each >= 0, their sum 1) closest to `values` f64[K]."""
    falling = np.sort(values)[::-1]
    excess = np.cumsum(falling) - 1.0
    kept = int(np.flatnonzero(falling - excess / np.arange(1, len(values) + 1) > 0)[-1])
    shares = np.maximum(values - excess[kept] / (kept + 1), 0.0)
    # Once more, for rounding.
    return np.asarray(shares / shares.sum(), np.float64)


def shift_sentence(labels: Sequence[str], before: Sequence[float], now: LabelShares) -> str | None:
    """Return the label whose share moved most in words ("labels: scratch .10 -> .31 (.25 to .38)"); None if none is sure to have.

    Args:
        labels: the K labels.
        before: the shares it is measured against: enrolled, or held-out.
    """
    if not now.valid or len(now.shares) != len(before):
        return None
    moved = [
        (abs(share.estimate - old), name, old, share)
        for name, old, share in zip(labels, before, now.shares, strict=True)
        if not share.low <= old <= share.high and abs(share.estimate - old) >= _LEAST_CHANGE
    ]
    if not moved:
        return None
    _, name, old, share = max(moved, key=lambda each: (each[0], each[1]))
    return f"labels: {name} {_two(old)} -> {_two(share.estimate)} ({_two(share.low)} to {_two(share.high)})"


def _trouble(confusion: NDArray[np.int64], windows: NDArray[np.int64], answers: int) -> str:
    labels = len(confusion)
    if labels < 2:
        return "a model with one label tells no shares"
    if labels > MOST_LABELS or windows.shape[1] != labels:
        return f"{labels} labels are too many" if labels > MOST_LABELS else "the windows are of other labels"
    if answers < LEAST_ANSWERS:
        return f"{answers} of {LEAST_ANSWERS} answers are in"
    if int(confusion.sum(axis=1).min()) < LEAST_IMAGES:
        return f"a label has fewer than {LEAST_IMAGES} held-out images"
    return ""


def _multinomial(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the covariance of one draw with these shares, f64[K,K]."""
    return np.asarray(np.diag(shares) - np.outer(shares, shares), np.float64)


def _overdispersion(windows: NDArray[np.int64], mix: NDArray[np.float64]) -> float:
    """Return by what factor the windows' answers vary more than independent ones, at least 1 (Rao & Scott 1981)."""
    sizes = windows.sum(axis=1)
    filled = windows[sizes > 0]
    spread = float(1.0 - mix @ mix)
    if len(filled) < _LEAST_WINDOWS or spread <= 0.0:
        return 1.0
    off = filled - np.outer(sizes[sizes > 0], mix)
    found = float((off * off).sum()) * len(filled) / (len(filled) - 1)
    return max(1.0, found / (float(sizes.sum()) * spread))


def _two(share: float) -> str:
    """Return a share with two digits and no zero in front."""
    text = f"{share:.2f}"
    return text[1:] if text.startswith("0") else text
