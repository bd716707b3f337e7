"""Plumbline's present door as a scorer: sketch the reference in windows, fit a baseline, judge each window's sketch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cloud.drift.baseline import Baseline, fit_inputs
from cloud.drift.judge import judge_drift
from cloud.drift.observation import WindowRecord, observation
from cloud.drift.policy import DriftPolicy
from contract.sketches.enrolment import Enrolment
from contract.sketches.frame_stats import FrameStats
from contract.sketches.rolling import RollingSketch
from contract.sketches.window import FEATURES_VERSION, SketchIdentity, Window

_WINDOWS = 24
_SEED = 1


class PresentJudge:
    """The largest excess of `judge_drift` over its margins, in windows of `frames` frames; a sensor fault is infinite."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._sketch: RollingSketch | None = None
        self._baseline: Baseline | None = None
        self._policy = DriftPolicy()

    def fit(self, reference: Sequence[FrameStats]) -> None:
        """Enrol the frames, then 24 windows drawn from them."""
        enrolment = Enrolment(len(reference))
        for frame in reference:
            enrolment.add(frame)
        enrolled = enrolment.reference()
        identity = SketchIdentity(FEATURES_VERSION, enrolled.seed, enrolled.digest(), "bench", 1)
        self._sketch = RollingSketch(identity, enrolled)
        rng = np.random.default_rng(_SEED)
        drawn = rng.integers(len(reference), size=(_WINDOWS, self._frames)).tolist()
        windows = [self._window([reference[index] for index in window]) for window in drawn]
        seen = [observation(WindowRecord("", "", 0, 0.0, 0.0, window)) for window in windows]
        self._baseline = Baseline(fit_inputs(seen))

    def score(self, window: Sequence[FrameStats]) -> float:
        """Return the largest excess of any input figure."""
        assert self._baseline is not None, "score comes after fit"
        verdict = judge_drift(self._baseline, self._window(window), self._policy)
        return max((score.excess for score in verdict.inputs), default=math.inf)

    def _window(self, frames: Sequence[FrameStats]) -> Window:
        assert self._sketch is not None, "score comes after fit"
        for frame in frames:
            self._sketch.observe(frame, -1, 0.0, 0.0)
        return self._sketch.close()
