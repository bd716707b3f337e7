"""Which artefact ships: the fastest that keeps full precision's accuracy.

An artefact passes when it names no more images of the calibration split wrong, net of those it alone names right, than
`max_drop` of them. A raw difference and no bound on it: the two models answer the same images nearly alike, so the difference is
of few images, and a one-sided bound would decide by the split's size. Under 300 images "surely no worse than 1 point" holds for
nothing, "not surely worse" for nearly everything. Where images are few one may always be lost, unless none may: it shows nothing,
and would send most retrains of a small line through a minute of search. What that lets pass wrongly the gate, which pairs the
answers on the holdout with bounds, still stops.

Artefacts for TensorRT never win: this latency is a CPU's, and weights of 8 full bits saturate on x86 without VNNI.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Latencies within this of the fastest are taken for equal. They are this machine's: a station's differ by more, a small model's
# two precisions by less, and a quarter of the bytes is a gain everywhere; a retrain that changed precision would be no delta.
_EQUAL = 1.25
# Nor is what preparing a frame takes anyway worth a file four times as large.
_EQUAL_MS = 0.3
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Contestant:
    """An artefact's figures: accuracy on the calibration split, latency in ms, size. `for_cpu` False: never the winner."""

    file: str
    accuracy: float
    latency_ms: float
    size_bytes: int
    for_cpu: bool = True

    def passes(self, reference: float, max_drop: float) -> bool:
        """Return whether no more than `max_drop` of the accuracy `reference` is lost."""
        return reference - self.accuracy <= max_drop + _ROUNDING


def allowed_drop(max_drop: float, images: int) -> float:
    """Return what may be lost of the accuracy on `images`: `max_drop`, but one image at least where it is above 0."""
    return max(max_drop, 1.0 / images) if max_drop > 0 and images else max_drop


def choose_winner(contestants: Sequence[Contestant], reference: Contestant, max_drop: float) -> Contestant:
    """Return the fastest of those that pass, the smallest among equally fast ones; `reference`, full precision, always passes."""
    able = [each for each in contestants if each.for_cpu and each.passes(reference.accuracy, max_drop)]
    able = able if reference in able else [*able, reference]
    fastest = min(each.latency_ms for each in able)
    return min(
        (each for each in able if each.latency_ms <= _EQUAL * fastest), key=lambda each: (each.size_bytes, each.file)
    )
