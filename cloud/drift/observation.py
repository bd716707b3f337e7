"""What drift keeps of one window: about 2 KB, enough to enrol it, judge it, and judge it again when a late one comes in."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from contract.sketches.label_counts import confidence_centres
from contract.sketches.window import Window


@dataclass(frozen=True, slots=True)
class WindowRecord:
    """A window as it came in. `boot` and `seq` are its header's; times are Unix seconds by the station's clock."""

    station: str
    boot: str
    seq: int
    started_at: float
    ended_at: float
    window: Window


class Observation(msgspec.Struct, frozen=True):
    """A window's figures. The bytes are little-endian f32 vectors (`unpack`), rounded once here and never again.

    `means` and `sds` of the 12 statistics over frames, `projection` means f32[64] and `projection_variances`, `fourier` means
    f32[256]. `answers` frames had a label: `labels` counts them, `confidences` counts their 64 logit-confidence bins, and
    `confidence` is the mean and sd of their logit confidence. `distinct`: about how many different frames.
    """

    boot: str
    seq: int
    started_at: float
    ended_at: float
    frames: int
    features: int
    seed: int
    reference: str
    artefact: str
    means: bytes
    sds: bytes
    projection: bytes
    projection_variances: bytes
    fourier: bytes
    labels: tuple[int, ...]
    confidences: tuple[int, ...]
    confidence: tuple[float, float]
    distinct: float

    @property
    def input_epoch(self) -> tuple[int, int, str]:
        """What must stay the same for input figures to be comparable."""
        return (self.features, self.seed, self.reference)

    @property
    def output_epoch(self) -> tuple[str, int]:
        """What must stay the same for output figures to be comparable."""
        return (self.artefact, len(self.labels))

    @property
    def answers(self) -> int:
        """Frames the model gave an answer to."""
        return sum(self.labels)


def pack(values: NDArray[np.float64]) -> bytes:
    """Return `values` as little-endian f32."""
    return np.asarray(values, "<f4").tobytes()


def unpack(packed: bytes) -> NDArray[np.float64]:
    """Return the f64 vector of what `pack` gave."""
    return np.frombuffer(packed, "<f4").astype(np.float64)


def observation(record: WindowRecord) -> Observation:
    """Return the figures of `record`."""
    window, identity = record.window, record.window.identity
    confidences = window.confidence_histograms().sum(axis=0)
    answers = max(int(confidences.sum()), 1)
    centres = confidence_centres()
    mean = float(confidences @ centres) / answers
    spread = max(float(confidences @ (centres * centres)) / answers - mean * mean, 0.0) ** 0.5
    return Observation(
        boot=record.boot,
        seq=record.seq,
        started_at=record.started_at,
        ended_at=record.ended_at,
        frames=window.frames,
        features=identity.features,
        seed=identity.seed,
        reference=identity.reference,
        artefact=identity.artefact,
        means=pack(window.means()),
        sds=pack(window.sds()),
        projection=pack(window.projection_means()),
        projection_variances=pack(window.projection_variances()),
        fourier=pack(window.fourier_means()),
        labels=tuple(window.label_counts().tolist()),
        confidences=tuple(confidences.tolist()),
        confidence=(mean, spread),
        distinct=window.distinct(),
    )
