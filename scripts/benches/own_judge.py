"""Plumbline's own detectors behind the bench's doors: one window against a folder's worth of frames, and a watch over a stream."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cloud.drift.baseline import InputBaseline, fit_inputs
from cloud.drift.fleet import FleetDrift
from cloud.drift.fleet_status import EventKind
from cloud.drift.observation import Observation, WindowRecord, observation
from cloud.drift.one_shot import judge_once
from cloud.drift.policy import MIN_ENROL_WINDOWS, DriftPolicy
from contract.sketches.enrolment import Enrolment
from contract.sketches.frame_stats import FrameStats
from contract.sketches.rolling import RollingSketch
from contract.sketches.window import FEATURES_VERSION, SketchIdentity
from scripts.benches.run_lengths import Stream

_HOUR_S = 3_600.0
_POLICY = DriftPolicy()


class OwnJudge:
    """What `plumbline-cloud drift check` says: the e-value of a window, from sketches alone."""

    def __init__(self, _frames: int) -> None:
        self._sketch: RollingSketch | None = None
        self._baseline: InputBaseline | None = None

    def fit(self, reference: Sequence[FrameStats]) -> None:
        """Enrol the frames, and sketch them in 12 windows."""
        self._sketch = enrolled_sketch(reference)
        parts = np.array_split(np.arange(len(reference)), MIN_ENROL_WINDOWS)
        seen = [self._window([reference[index] for index in part]) for part in parts]
        self._baseline = fit_inputs(seen, independent=True)

    def score(self, window: Sequence[FrameStats]) -> float:
        """Return the logarithm of the e-value."""
        assert self._baseline is not None, "score comes after fit"
        return judge_once(self._baseline, self._window(window), _POLICY.alpha, _POLICY.tolerance)[1]

    def _window(self, frames: Sequence[FrameStats]) -> Observation:
        assert self._sketch is not None, "score comes after fit"
        return window_of(self._sketch, frames, 0)


def own_limit(_frames: int, _reference_frames: int) -> float:
    """Return the score from which `drift check` says drift."""
    return -math.log(_POLICY.alpha)


def watch_streams(streams: Sequence[Stream]) -> list[list[int]]:
    """Return for each stream the windows at which an alarm began, of hourly windows and a lone station."""
    return [_watch(stream) for stream in streams]


def _watch(stream: Stream) -> list[int]:
    enrolment = stream.enrolment()
    sketch = enrolled_sketch([frame for window in enrolment for frame in window])
    policy = DriftPolicy(enrol_windows=len(enrolment), settle_windows=len(enrolment), reorder_windows=1, min_frames=1)
    fleet = FleetDrift(policy)
    for hour, window in enumerate(enrolment):
        fleet.take("station", window_of(sketch, window, hour))
    begun = []
    for at, window in enumerate(stream.windows()):
        events = fleet.take("station", window_of(sketch, window, len(enrolment) + at))
        if any(event.kind is EventKind.ALARM_RAISED for event in events):
            begun.append(at)
    return begun


def enrolled_sketch(frames: Sequence[FrameStats]) -> RollingSketch:
    """Return a sketch whose bins lie where `frames` do."""
    enrolment = Enrolment(len(frames))
    for frame in frames:
        enrolment.add(frame)
    enrolled = enrolment.reference()
    return RollingSketch(SketchIdentity(FEATURES_VERSION, enrolled.seed, enrolled.digest(), "bench", 1), enrolled)


def window_of(sketch: RollingSketch, frames: Sequence[FrameStats], hour: int) -> Observation:
    """Return what the cloud keeps of a window of `frames`, the `hour`-th of its station."""
    for frame in frames:
        sketch.observe(frame, -1, 0.0, 0.0)
    at = hour * _HOUR_S
    # Tiles know no time of day: without a trusted clock no season is looked for.
    record = WindowRecord("", "bench", hour + 1, at, at + _HOUR_S, sketch.close(), clock_synced=False)
    return observation(record)
