"""What drift keeps of one window: about 2 KB, enough to enrol it, judge it, and judge it again when a late one comes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from contract.sketches.distinct import distinct_estimate
from contract.sketches.label_counts import confidence_centres
from contract.sketches.window import Window

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WindowRecord:
    """A window as it came in. `boot` and `seq` are its header's; times are Unix seconds by the station's clock.

    `monotonic_s` was read when the window ended, in seconds since the station's machine started; below 0 it is unknown.
    `clock_synced`: whether the station trusted its clock.
    """

    station: str
    boot: str
    seq: int
    started_at: float
    ended_at: float
    window: Window
    monotonic_s: float = -1.0
    clock_synced: bool = True


class Observation(msgspec.Struct, frozen=True):
    """A window's figures. The bytes are little-endian f32 vectors (`unpack`), rounded once here and never again.

    `means`, `sds` and `covariance` f32[12,12] (b"" when the station does not tell) are of the statistics over frames; `projection`
    means f32[64] and `projection_variances`; `fourier` means f32[256]. `answers` frames had a label: `labels` counts them,
    `confidences` counts their 64 logit-confidence bins, and `confidence` is the mean and sd of their logit confidence.
    `distinct`: about how many different frames, of which `registers` u8[256] is the HyperLogLog (b"" when not known: all are
    taken to differ).
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
    covariance: bytes
    projection: bytes
    projection_variances: bytes
    fourier: bytes
    labels: tuple[int, ...]
    confidences: tuple[int, ...]
    confidence: tuple[float, float]
    distinct: float
    registers: bytes = b""
    monotonic_s: float = -1.0
    clock_synced: bool = True

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


def unpack(packed: bytes) -> Vector:
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
    covariance = window.covariance()
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
        covariance=b"" if covariance is None else pack(covariance.reshape(-1)),
        projection=pack(window.projection_means()),
        projection_variances=pack(window.projection_variances()),
        fourier=pack(window.fourier_means()),
        labels=tuple(window.label_counts().tolist()),
        confidences=tuple(confidences.tolist()),
        confidence=(mean, spread),
        distinct=window.distinct(),
        registers=window.registers.tobytes(),
        monotonic_s=record.monotonic_s,
        clock_synced=record.clock_synced,
    )


def union_of(observations: Sequence[Observation]) -> NDArray[np.uint8] | None:
    """Return the registers u8[256] of the frames of all `observations`; None when some do not tell."""
    if not all(seen.registers for seen in observations):
        return None
    return np.asarray(np.max([np.frombuffer(seen.registers, np.uint8) for seen in observations], axis=0))


def seen_only(seen: Observation) -> Observation:
    """Return `seen` with what was seen alone, for a baseline that waits for more windows."""
    return msgspec.structs.replace(seen, labels=(), confidences=(), reference="", artefact="")


def answers_only(seen: Observation) -> Observation:
    """Return `seen` with what was answered alone, for a baseline that waits for more windows."""
    return msgspec.structs.replace(
        seen,
        means=b"",
        sds=b"",
        covariance=b"",
        projection=b"",
        projection_variances=b"",
        fourier=b"",
        reference="",
        artefact="",
    )


def join(first: Observation, second: Observation) -> Observation:
    """Return the figures of the frames of two windows, `second` the later one of the same station and epochs."""
    frames = first.frames + second.frames
    share = second.frames / max(frames, 1)
    answers, more = first.answers, second.answers
    told = more / max(answers + more, 1)
    means, variances = _pool(first.means, second.means, unpack(first.sds) ** 2, unpack(second.sds) ** 2, share)
    projection, projection_variances = _pool(
        first.projection,
        second.projection,
        unpack(first.projection_variances),
        unpack(second.projection_variances),
        share,
    )
    covariance = b""
    if first.covariance and second.covariance:
        apart = unpack(second.means) - unpack(first.means)
        within = (1.0 - share) * unpack(first.covariance) + share * unpack(second.covariance)
        covariance = pack(within + share * (1.0 - share) * np.outer(apart, apart).reshape(-1))
    registers = union_of((first, second))
    mean = (1.0 - told) * first.confidence[0] + told * second.confidence[0]
    square = (1.0 - told) * sum(v * v for v in first.confidence) + told * sum(v * v for v in second.confidence)
    return msgspec.structs.replace(
        second,
        started_at=first.started_at,
        frames=frames,
        means=pack(means),
        sds=pack(np.sqrt(variances)),
        covariance=covariance,
        projection=pack(projection),
        projection_variances=pack(projection_variances),
        fourier=pack((1.0 - share) * unpack(first.fourier) + share * unpack(second.fourier)),
        labels=tuple(a + b for a, b in zip(first.labels, second.labels, strict=True)),
        confidences=tuple(a + b for a, b in zip(first.confidences, second.confidences, strict=True)),
        confidence=(mean, max(square - mean * mean, 0.0) ** 0.5),
        distinct=max(first.distinct, second.distinct) if registers is None else distinct_estimate(registers),
        registers=b"" if registers is None else registers.tobytes(),
        clock_synced=first.clock_synced and second.clock_synced,
    )


def _pool(first: bytes, second: bytes, var1: Vector, var2: Vector, share: float) -> tuple[Vector, Vector]:
    """Return the mean and the variance of frames of which a share `share` is the second's."""
    one, two = unpack(first), unpack(second)
    apart = two - one
    return one + share * apart, (1.0 - share) * var1 + share * var2 + share * (1.0 - share) * apart * apart
