"""The mergeable sketches of one window of frames.

A window is one flat vector of integer sums, the range of each statistic, and the HyperLogLog registers. Merging adds the
first, widens the second and takes the maximum of the third: exactly associative and commutative, `empty_window` its identity
element. It is not idempotent: dedupe first (DESIGN 5).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from contract.errors import SketchMismatch
from contract.sketches import moments
from contract.sketches.distinct import REGISTERS, distinct_estimate
from contract.sketches.histogram import BINS
from contract.sketches.label_counts import CONFIDENCE_BINS, LATENCY_BINS, confidence_rows
from contract.sketches.moments import FIXED_LIMIT, N_PRODUCTS, N_STATISTICS
from contract.sketches.projection import FOURIER, FOURIER_SCALE, PROJECTIONS

FEATURES_VERSION = 2
READABLE_FEATURES = (1, 2)
"""1 had no products, a median in the place of specks, and plain shares of dark and saturated pixels."""

# Squares reach 2**40 a frame, so sums of this many frames stay within 2**62.
MAX_FRAMES = 1 << 22
MAX_LABELS = 4096


class SketchIdentity(msgspec.Struct, frozen=True):
    """What two windows must share to be mergeable.

    `features`: version of the statistics and of every layout and scale in this package. `seed`: of the random projection.
    `reference`: digest of the enrolled `Reference` whose bins the histograms use, "" while enrolling. `artefact`: SHA-256 of
    the model file whose outputs are sketched. `labels`: how many labels it has.
    """

    features: int
    seed: int
    reference: str
    artefact: str
    labels: int


class WindowWire(msgspec.Struct, frozen=True):
    """A window on the wire: each section is a run of integers, packed at the narrowest width that holds them."""

    identity: SketchIdentity
    frames: int
    sections: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Section:
    """A named run [start, stop) of a window's sums. `signed` are sums of signed values; the others count or square."""

    name: str
    start: int
    stop: int
    signed: bool


@lru_cache(maxsize=64)
def layout(labels: int) -> dict[str, Section]:
    """Return where each section of a window of `labels` labels lies in its sums."""
    sizes = (
        ("moments", N_STATISTICS, True),
        ("moments2", N_STATISTICS, False),
        ("products", N_PRODUCTS, True),
        ("histograms", N_STATISTICS * BINS, False),
        ("projection", PROJECTIONS, True),
        ("projection2", PROJECTIONS, False),
        ("fourier", FOURIER, True),
        ("labels", labels, False),
        ("confidence", confidence_rows(labels) * CONFIDENCE_BINS, False),
        ("latency", LATENCY_BINS, False),
    )
    sections: dict[str, Section] = {}
    start = 0
    for name, size, signed in sizes:
        sections[name] = Section(name, start, start + size, signed)
        start += size
    return sections


def sums_size(labels: int) -> int:
    """Return the length of the sums of a window of `labels` labels."""
    return layout(labels)["latency"].stop


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A window in memory. Its arrays are never written to after it is made.

    `sums` int64[sums_size(labels)]; `mins` and `maxs` int64[12], fixed point, +-`FIXED_LIMIT` crossed over when empty;
    `registers` u8[256].
    """

    identity: SketchIdentity
    frames: int
    sums: NDArray[np.int64]
    mins: NDArray[np.int64]
    maxs: NDArray[np.int64]
    registers: NDArray[np.uint8]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Window):
            return NotImplemented
        return (
            self.identity == other.identity
            and self.frames == other.frames
            and np.array_equal(self.sums, other.sums)
            and np.array_equal(self.mins, other.mins)
            and np.array_equal(self.maxs, other.maxs)
            and np.array_equal(self.registers, other.registers)
        )

    __hash__ = None  # type: ignore[assignment]  # equal by content, and the content is arrays

    def section(self, name: str) -> NDArray[np.int64]:
        """Return the run of sums called `name`, int64, a view."""
        part = layout(self.identity.labels)[name]
        return self.sums[part.start : part.stop]

    def means(self) -> NDArray[np.float64]:
        """Return the mean of each statistic, f64[12]."""
        return moments.means(self.section("moments"), self.frames)

    def sds(self) -> NDArray[np.float64]:
        """Return the standard deviation over frames of each statistic, f64[12]."""
        return np.sqrt(moments.variances(self.section("moments"), self.section("moments2"), self.frames))

    def covariance(self) -> NDArray[np.float64] | None:
        """Return the covariance over frames of the statistics, f64[12,12]; None of a window that has no products."""
        if self.identity.features < 2:
            return None
        sums, squares, products = (self.section(name) for name in ("moments", "moments2", "products"))
        return moments.covariance(sums, squares, products, self.frames)

    def ranges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the least and the greatest value of each statistic, f64[12] each."""
        return self.mins / moments.SCALE, self.maxs / moments.SCALE

    def histograms(self) -> NDArray[np.int64]:
        """Return the counts of each statistic over its enrolled bins, int64[12,64]."""
        return self.section("histograms").reshape(N_STATISTICS, BINS)

    def projection_means(self) -> NDArray[np.float64]:
        """Return the means of the standardised projections, f64[64]."""
        return moments.means(self.section("projection"), self.frames)

    def projection_variances(self) -> NDArray[np.float64]:
        """Return the variances over frames of the standardised projections, f64[64]."""
        return moments.variances(self.section("projection"), self.section("projection2"), self.frames)

    def fourier_means(self) -> NDArray[np.float64]:
        """Return the means of the random Fourier features, f64[256]."""
        return np.asarray(self.section("fourier") / (FOURIER_SCALE * max(self.frames, 1)), np.float64)

    def label_counts(self) -> NDArray[np.int64]:
        """Return how often each label was the local answer, int64[K]; frames without an answer are in none."""
        return self.section("labels")

    def confidence_histograms(self) -> NDArray[np.int64]:
        """Return logit-confidence counts per predicted label, int64[min(K,16),64]; later labels share the last row."""
        return self.section("confidence").reshape(-1, CONFIDENCE_BINS)

    def latency_histogram(self) -> NDArray[np.int64]:
        """Return latency counts, int64[64], in the bins of `label_counts.latency_bin`."""
        return self.section("latency")

    def distinct(self) -> float:
        """Return about how many different frames were seen."""
        return distinct_estimate(self.registers)


def empty_window(identity: SketchIdentity) -> Window:
    """Return the window of no frames.

    Raises:
        SketchMismatch: the identity has no labels, too many, or another version of the features.
    """
    if identity.features not in READABLE_FEATURES:
        raise SketchMismatch(
            f"sketch features version {identity.features} is none of {READABLE_FEATURES}", hint="update the older side"
        )
    if not 1 <= identity.labels <= MAX_LABELS:
        raise SketchMismatch(f"{identity.labels} labels are not 1 to {MAX_LABELS}")
    return Window(
        identity,
        0,
        np.zeros(sums_size(identity.labels), np.int64),
        np.full(N_STATISTICS, FIXED_LIMIT, np.int64),
        np.full(N_STATISTICS, -FIXED_LIMIT, np.int64),
        np.zeros(REGISTERS, np.uint8),
    )


def merge(first: Window, second: Window) -> Window:
    """Return the window of the frames of both.

    Raises:
        SketchMismatch: their identities differ, or together they hold more than `MAX_FRAMES` frames.
    """
    if first.identity != second.identity:
        raise SketchMismatch(f"sketches differ in {_differences(first.identity, second.identity)}")
    frames = first.frames + second.frames
    if frames > MAX_FRAMES:
        raise SketchMismatch(f"{frames} frames are more than a window holds ({MAX_FRAMES})", hint="merge fewer windows")
    return Window(
        first.identity,
        frames,
        first.sums + second.sums,
        np.minimum(first.mins, second.mins),
        np.maximum(first.maxs, second.maxs),
        np.maximum(first.registers, second.registers),
    )


def merge_all(identity: SketchIdentity, windows: Iterable[Window]) -> Window:
    """Return the window of the frames of all, `empty_window(identity)` of none.

    Raises:
        SketchMismatch: as `merge`.
    """
    total = empty_window(identity)
    for window in windows:
        total = merge(total, window)
    return total


def _differences(first: SketchIdentity, second: SketchIdentity) -> str:
    return ", ".join(
        f"{name} ({getattr(first, name)!r} and {getattr(second, name)!r})"
        for name in SketchIdentity.__struct_fields__
        if getattr(first, name) != getattr(second, name)
    )
