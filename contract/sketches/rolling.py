"""The window that is being filled.

Frames are put aside and sketched 32 at a time: one matrix product for all costs a tenth of one for each, and whatever else is
done for one finds the processor's caches filled by the one before it, not by the model.
"""

from __future__ import annotations

import numpy as np

from contract.errors import SketchMismatch
from contract.sketches.distinct import REGISTERS, register_and_rank
from contract.sketches.frame_stats import FrameStats
from contract.sketches.histogram import BINS, bin_indices
from contract.sketches.label_counts import CONFIDENCE_BINS, confidence_bin, confidence_rows, latency_bin
from contract.sketches.moments import N_STATISTICS, PAIRS, to_fixed
from contract.sketches.projection import FOURIER_SCALE, THUMBNAIL_SIDE, fourier_features, project
from contract.sketches.reference import FACTORY_REFERENCE, Reference
from contract.sketches.window import FEATURES_VERSION, MAX_FRAMES, SketchIdentity, Window, empty_window, layout

_BATCH = 32
_CELLS = THUMBNAIL_SIDE * THUMBNAIL_SIDE


class RollingSketch:
    """Sketches frames into the current window. Used by one thread."""

    def __init__(self, identity: SketchIdentity, reference: Reference | None = None) -> None:
        """Start an empty window.

        Args:
            identity: of every window this makes; its `reference` is "" exactly when `reference` is None.
            reference: the enrolled one, or None while the station enrols.
        Raises:
            SketchMismatch: `identity` does not belong to `reference`, or is one this version cannot make.
        """
        digest, seed = (reference.digest(), reference.seed) if reference else ("", identity.seed)
        if identity.reference != digest or identity.seed != seed:
            raise SketchMismatch("the sketch identity is not that of the enrolled reference")
        if identity.features != FEATURES_VERSION:
            raise SketchMismatch(f"sketches of features version {identity.features} can be read here and not made")
        frozen = reference or FACTORY_REFERENCE
        self.identity = identity
        self._centre = np.array(frozen.centre)
        self._sd = np.array(frozen.sd)
        self._projection_centre = np.array(frozen.projection_centre, np.float32)
        self._projection_scale = (1.0 / np.array(frozen.projection_sd)).astype(np.float32)
        self._rows = confidence_rows(identity.labels)
        self._row_offsets = np.arange(N_STATISTICS) * BINS
        self._frames = 0
        self._pending: list[tuple[FrameStats, int, float, float]] = []
        self._start()

    @property
    def frames(self) -> int:
        """Frames observed since the window began."""
        return self._frames + len(self._pending)

    def observe(self, stats: FrameStats, label_index: int, confidence: float, latency_us: float) -> None:
        """Add one frame, whose `stats` are not written to any more. A `label_index` outside 0..K-1 (use -1) means the model gave no
        answer: only the input is sketched."""
        self._pending.append((stats, label_index, confidence, latency_us))
        if len(self._pending) >= _BATCH:
            self._sketch_batch()

    def close(self) -> Window:
        """Return the window of the frames observed, and start the next."""
        self._sketch_batch()
        window = Window(
            self.identity,
            self._frames,
            self._sums,
            self._mins,
            self._maxs,
            np.frombuffer(bytes(self._registers), np.uint8),
        )
        self._start()
        return window

    def _start(self) -> None:
        blank = empty_window(self.identity)
        parts = layout(self.identity.labels)
        self._frames = 0
        self._pending = []
        self._registers = bytearray(REGISTERS)
        self._sums, self._mins, self._maxs = blank.sums, blank.mins, blank.maxs
        self._parts = {name: self._sums[part.start : part.stop] for name, part in parts.items()}

    def _sketch_batch(self) -> None:
        pending = self._pending
        count = len(pending)
        if count == 0:
            return
        if self._frames + count > MAX_FRAMES:
            raise SketchMismatch(f"a window holds at most {MAX_FRAMES} frames", hint="close windows more often")
        parts = self._parts
        values = np.array([stats.values for stats, *_ in pending], np.float64)
        fixed = to_fixed(values)
        parts["moments"] += fixed.sum(axis=0)
        # Exact: 32 products of two numbers under 2**20 stay under 2**53. numpy multiplies integers five times as slowly.
        exact = fixed.astype(np.float64)
        second = (exact.T @ exact).astype(np.int64)
        parts["moments2"] += np.diagonal(second)
        parts["products"] += second[PAIRS]
        np.minimum(self._mins, fixed.min(axis=0), out=self._mins)
        np.maximum(self._maxs, fixed.max(axis=0), out=self._maxs)
        bins = bin_indices(np.nan_to_num(values), self._centre, self._sd) + self._row_offsets
        parts["histograms"] += np.bincount(bins.reshape(-1), minlength=N_STATISTICS * BINS)

        thumbnails = np.array([stats.thumbnail for stats, *_ in pending], np.float32).reshape(count, _CELLS)
        raw = project(thumbnails, self.identity.seed)
        standardised = np.nan_to_num((raw - self._projection_centre) * self._projection_scale, copy=False)
        fixed = to_fixed(standardised)
        parts["projection"] += fixed.sum(axis=0)
        parts["projection2"] += (fixed * fixed).sum(axis=0)
        features = fourier_features(standardised, self.identity.seed)
        parts["fourier"] += np.rint(features * FOURIER_SCALE).astype(np.int64).sum(axis=0)

        for stats, *_ in pending:
            register, rank = register_and_rank(stats.frame_hash)
            if self._registers[register] < rank:
                self._registers[register] = rank
        labels = self.identity.labels
        answers = [self._bins(label, sure, took) for _, label, sure, took in pending if 0 <= label < labels]
        if answers:
            for name, column in zip(("labels", "confidence", "latency"), np.array(answers, np.int64).T, strict=True):
                parts[name] += np.bincount(column, minlength=parts[name].size)
        self._frames += count
        self._pending = []

    def _bins(self, label_index: int, confidence: float, latency_us: float) -> tuple[int, int, int]:
        """Return where an answer counts: among the labels, the confidences, the latencies."""
        row = min(label_index, self._rows - 1)
        return label_index, row * CONFIDENCE_BINS + confidence_bin(confidence), latency_bin(latency_us)
