"""The demo's silent failure on real images: one of three stations loses focus, seen through sketches alone."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cloud.drift.causes import Cause
from cloud.drift.fleet import FleetDrift
from cloud.drift.fleet_status import EventKind, StationPhase
from cloud.drift.observation import WindowRecord
from cloud.drift.policy import DriftPolicy
from contract.sketches.enrolment import Enrolment
from contract.sketches.frame_stats import FrameStats, frame_stats
from contract.sketches.rolling import RollingSketch
from contract.sketches.window import FEATURES_VERSION, SketchIdentity
from contract.sketches.wire import from_wire, to_wire

STEEL = Path(os.environ.get("PLUMBLINE_DATA", Path(__file__).parents[3] / "shared")) / "data" / "neu"
FRAMES, ENROL_WINDOWS = 32, 24

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(
        not STEEL.is_dir(), reason=f"no steel images in {STEEL}: set PLUMBLINE_DATA to the folder that holds data/"
    ),
]


def _blurred(pixels: np.ndarray) -> np.ndarray:
    padded = np.pad(pixels.astype(np.float32), 1, mode="edge")
    height, width = pixels.shape
    total = sum(padded[y : y + height, x : x + width] for y in range(3) for x in range(3))
    return np.rint(total / 9.0).astype(np.uint8)


@pytest.fixture(scope="module")
def pool() -> list[tuple[FrameStats, FrameStats]]:
    """240 images as the station sees them sharp and out of focus."""
    files = sorted(STEEL.iterdir())
    chosen = np.random.Generator(np.random.PCG64(2)).choice(len(files), 240, replace=False)
    images = [np.asarray(Image.open(files[index]).convert("L")) for index in chosen]
    return [(frame_stats(pixels), frame_stats(_blurred(pixels))) for pixels in images]


class _Station:
    def __init__(self, name: str, pool: list[tuple[FrameStats, FrameStats]], seed: int) -> None:
        self.name, self._pool, self._seq = name, pool, 0
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._lap: list[int] = []
        enrolment = Enrolment(128)
        while not enrolment.ready:
            enrolment.add(pool[self._next()][0])
        reference = enrolment.reference()
        identity = SketchIdentity(FEATURES_VERSION, reference.seed, reference.digest(), "a" * 64, 6)
        self._sketch = RollingSketch(identity, reference)

    def _next(self) -> int:
        if not self._lap:
            self._lap = self._rng.permutation(len(self._pool)).tolist()
        return self._lap.pop()

    def record(self, defocused: bool = False) -> WindowRecord:
        for _ in range(FRAMES):
            index = self._next()
            # Outputs stay as they were: the input alone must give the defocus away.
            confidence = 1.0 / (1.0 + float(np.exp(-self._rng.normal(4.0, 1.5))))
            self._sketch.observe(self._pool[index][defocused], index % 6, confidence, 5000.0)
        self._seq += 1
        window = from_wire(to_wire(self._sketch.close()))
        return WindowRecord(self.name, "boot", self._seq, self._seq * 1.5, self._seq * 1.5 + 1.5, window)


@pytest.mark.long
def test_defocus_alarms_within_5_windows_on_its_station_and_600_windows_before_raise_nothing(pool) -> None:
    fleet = FleetDrift(DriftPolicy(enrol_windows=ENROL_WINDOWS))
    stations = [_Station(f"s{number}", pool, seed=number) for number in range(3)]
    events = [
        event.kind
        for _ in range(ENROL_WINDOWS + 200)
        for station in stations
        for event in fleet.observe(station.record())
    ]
    assert events == [EventKind.ENROLLED] * 3
    raised = []
    for after in range(1, 31):
        for station in stations:
            for event in fleet.observe(station.record(defocused=station.name == "s1")):
                raised.append((event.kind, event.subject, after))
    assert len(raised) == 1
    kind, subject, after = raised[0]
    assert (kind, subject) == (EventKind.ALARM_RAISED, "s1") and after <= 5
    status = fleet.status("s1")
    assert status.phase is StationPhase.ALARMED and status.cause is Cause.COVARIATE_SHIFT
    assert status.sentence.startswith("lens: ") and status.sentence.endswith("outputs unchanged")


def test_a_frozen_camera_repeating_one_real_image_is_a_sensor_fault(pool) -> None:
    fleet = FleetDrift(DriftPolicy())
    station = _Station("s1", pool, seed=5)
    for _ in range(30):
        fleet.observe(station.record())
    station._pool = pool[:1] * len(pool)
    for _ in range(2):
        fleet.observe(station.record())
    assert fleet.status("s1").cause is Cause.FROZEN
