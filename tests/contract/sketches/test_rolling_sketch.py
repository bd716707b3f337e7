"""Windows as a station fills them, and its enrolment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import SketchMismatch
from contract.sketches.enrolment import MIN_SD, Enrolment
from contract.sketches.frame_stats import FrameStats, frame_stats
from contract.sketches.reference import Reference
from contract.sketches.rolling import RollingSketch
from contract.sketches.window import FEATURES_VERSION, SketchIdentity, merge
from contract.sketches.wire import from_wire, to_wire


def _frames(count: int, seed: int = 0) -> list[FrameStats]:
    rng = np.random.Generator(np.random.PCG64(seed))
    return [frame_stats(rng.integers(0, 256, (40, 40), np.uint8)) for _ in range(count)]


FRAMES = _frames(100)


def _enrolled(frames: list[FrameStats] = FRAMES) -> Reference:
    enrolment = Enrolment(len(frames))
    for stats in frames:
        enrolment.add(stats)
    return enrolment.reference()


def _sketch(reference: Reference | None = None, labels: int = 6) -> RollingSketch:
    seed, digest = (reference.seed, reference.digest()) if reference else (5, "")
    return RollingSketch(SketchIdentity(FEATURES_VERSION, seed, digest, "a" * 64, labels), reference)


@given(st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_one_window_is_the_merge_of_its_halves(cut: int) -> None:
    reference = _enrolled()
    whole, halves = _sketch(reference), _sketch(reference)
    parts = []
    for index, stats in enumerate(FRAMES):
        if index == cut:
            parts.append(halves.close())
        for sketch in (whole, halves):
            sketch.observe(stats, index % 6, 0.5 + index / 250, 900.0 + index)
    parts.append(halves.close())
    merged, single = merge(*parts) if len(parts) == 2 else parts[0], whole.close()
    assert merged.frames == single.frames == 100
    for name in ("moments", "moments2", "histograms", "labels", "confidence", "latency"):
        assert merged.section(name).tolist() == single.section(name).tolist()
    # Matrix products of different heights may round the last bit of a float differently before it becomes an integer.
    for name in ("projection", "fourier"):
        assert np.abs(merged.section(name) - single.section(name)).max() <= 100
    assert np.array_equal(merged.registers, single.registers)


def test_a_window_tells_what_was_observed_and_closing_starts_the_next() -> None:
    sketch = _sketch(_enrolled())
    for stats in FRAMES[:40]:
        sketch.observe(stats, 2, 0.9, 1500.0)
    assert sketch.frames == 40
    window = sketch.close()
    assert sketch.frames == 0 and sketch.close().frames == 0
    assert np.allclose(window.means(), np.mean([stats.values for stats in FRAMES[:40]], axis=0), atol=1e-4)
    assert np.allclose(window.sds(), np.std([stats.values for stats in FRAMES[:40]], axis=0), atol=1e-3)
    assert window.label_counts().tolist() == [0, 0, 40, 0, 0, 0]
    assert window.confidence_histograms()[2].sum() == 40
    assert window.distinct() == pytest.approx(40, rel=0.15)
    assert abs(window.projection_means()).max() < 1 and 0.3 < window.projection_variances().mean() < 2
    assert from_wire(to_wire(window)) == window


def test_a_later_window_leaves_an_earlier_one_alone() -> None:
    sketch = _sketch()
    sketch.observe(FRAMES[0], 0, 0.5, 1.0)
    first = sketch.close()
    before = first.sums.copy()
    for stats in FRAMES:
        sketch.observe(stats, 1, 0.6, 2.0)
    sketch.close()
    assert np.array_equal(first.sums, before)


def test_a_frame_without_an_answer_counts_only_as_seen() -> None:
    sketch = _sketch()
    for label in (-1, 6, 3):
        sketch.observe(FRAMES[0], label, 0.5, 10.0)
    window = sketch.close()
    assert window.frames == 3 and window.label_counts().sum() == 1
    assert from_wire(to_wire(window)) == window


def test_nan_statistics_and_confidences_still_make_a_sound_window() -> None:
    sketch = _sketch(_enrolled())
    broken = replace(FRAMES[0], values=np.full(12, np.nan), thumbnail=np.full((32, 32), np.nan, np.float32))
    sketch.observe(broken, 0, float("nan"), float("nan"))
    with np.errstate(all="ignore"):
        window = sketch.close()
    assert from_wire(to_wire(window)) == window


def test_many_labels_share_the_last_confidence_row() -> None:
    sketch = _sketch(labels=1000)
    sketch.observe(FRAMES[0], 999, 0.8, 10.0)
    window = sketch.close()
    assert window.label_counts()[999] == 1 and window.confidence_histograms()[15].sum() == 1


def test_an_enrolment_is_ready_after_the_frames_it_needs() -> None:
    enrolment = Enrolment(30)
    for index, stats in enumerate(FRAMES[:30]):
        assert not enrolment.ready and enrolment.frames == index
        enrolment.add(stats)
    assert enrolment.ready and enrolment.reference().frames == 30


def test_constant_frames_enrol_a_width_that_is_not_zero() -> None:
    reference = _enrolled([frame_stats(np.full((40, 40), 90, np.uint8))] * 5)
    assert min(reference.sd) == MIN_SD
    sketch = _sketch(reference)
    sketch.observe(FRAMES[0], 0, 0.5, 1.0)
    assert (sketch.close().histograms().sum(axis=1) == 1).all()


def test_a_sketch_refuses_a_reference_that_is_not_its_identitys() -> None:
    reference = _enrolled()
    with pytest.raises(SketchMismatch):
        RollingSketch(SketchIdentity(FEATURES_VERSION, reference.seed, "", "a", 6), reference)
    with pytest.raises(SketchMismatch):
        RollingSketch(SketchIdentity(FEATURES_VERSION, 5, reference.digest(), "a", 6), None)
    with pytest.raises(SketchMismatch):
        Enrolment(3).reference()
