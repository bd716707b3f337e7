"""Thresholds no laxer than the newest look of the parts allows.

After a drift thresholds are still chosen on the calibration images, which show the parts as they looked before. The parts that
people labelled since and that were set aside (Split.DRIFT) are too few to choose by, and enough to find a bad choice out: as long
as they refute the promise at its own confidence, the threshold goes up, towards REVIEW.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.gate.binomial import upper_bound
from cloud.gate.look_checks import refutes
from cloud.gate.scorecard import Promise
from cloud.quantize.thresholds import CANDIDATES
from cloud.retrain.dataset import Sample
from cloud.retrain.reviewed import newest_folder
from cloud.retrain.run_records import DatasetEntry
from contract.manifest import Thresholds


@dataclass(frozen=True, slots=True)
class Look:
    """Parts set aside: those labelled for the newest retrain, or for all before it. None of them is in training.

    `further`: labelled after the model was made (cloud.quantize.further_parts), and counted without those set aside.
    """

    newest: bool
    samples: tuple[Sample, ...]
    further: bool = False


@dataclass(frozen=True, slots=True)
class LookScores:
    """What a model says of a look's N parts: whether each could pass, bool[N], how sure it is of a good part, f32[N], and which of
    them show a defect, bool[N]."""

    could_pass: NDArray[np.bool_]
    good_mass: NDArray[np.float32]
    is_defect: NDArray[np.bool_]

    def counts(self, pass_at: float) -> tuple[int, int]:
        """Return (missed, passed): how many parts pass by themselves from `pass_at`, and how many of those are defects."""
        passed = self.could_pass & (self.good_mass >= pass_at)
        return int((passed & self.is_defect).sum()), int(passed.sum())


def looks_of(entries: Sequence[DatasetEntry], drift: Sequence[Sample]) -> tuple[Look, ...]:
    """Return the drifted slice as looks, the newest first; () where nobody ever labelled anything.

    A look of every retrain by itself would be a handful of parts each; all before the newest count together. The newest is there
    even where none of its parts was set aside, so that this can be said.

    Args:
        entries: of the whole dataset.
        drift: its samples of Split.DRIFT.
    """
    newest = newest_folder(entries)
    if newest is None:
        return ()
    of_newest = tuple(each for each in drift if each.entry.folder == newest)
    earlier = tuple(each for each in drift if each.entry.folder != newest)
    return (Look(True, of_newest), *([Look(False, earlier)] if earlier else []))


def tighten(
    thresholds: Thresholds, looks: Sequence[LookScores], promise: Promise, *, no_miss: bool = False
) -> Thresholds:
    """Return the laxest thresholds, no laxer than `thresholds`, at which no look refutes `promise`.

    With `no_miss` no defect among the parts may pass either, unless the parts that pass show the promise with it. That finds
    about twice as many broken promises out, and makes up to one threshold in eight stricter whose promise holds (18 parts).

    The search ends at 1.0, short of certainty nothing, where a model may be certain of a defect: the gate tells. More misses never
    give a laxer threshold, and parts without a missed defect change nothing.
    """
    steps = sorted({thresholds.pass_at, 1.0, *(each for each in CANDIDATES if each > thresholds.pass_at)})
    pass_at = next(
        (each for each in steps if all(_bears(*look.counts(each), promise, no_miss) for look in looks)), steps[-1]
    )
    if pass_at == thresholds.pass_at:
        return thresholds
    missed, passed = (sum(counts) for counts in zip(*(look.counts(thresholds.pass_at) for look in looks), strict=True))
    method = (
        f"{thresholds.method}; made stricter from {thresholds.pass_at:g}, where {missed} of {passed} parts that pass are defects"
        " among those labelled since and set aside"
    )
    return msgspec.structs.replace(thresholds, pass_at=pass_at, method=method)


def _bears(missed: int, passed: int, promise: Promise, no_miss: bool) -> bool:
    if no_miss:
        return missed == 0 or upper_bound(missed, passed, promise.confidence) <= promise.alpha
    return not refutes(missed, passed, promise)
