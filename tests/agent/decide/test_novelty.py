"""Novelty: frames unlike anything enrolled stand out, cost little and are kept within bounds; the audit stays a fair draw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.decide.causes import Cause
from agent.decide.novelty import MAX_NOVELTY, Novelty
from agent.decide.novelty_threshold import LEAST, NoveltyThreshold
from agent.decide.sampling import KeepReason, Sampler
from agent.decide.thresholds import Decision, review
from contract.messages import Verdict
from contract.sketches.enrolment import Enrolment
from contract.sketches.frame_stats import FrameStats, frame_stats
from contract.sketches.projection import project
from contract.sketches.reference import Reference

PASS, UNSURE = Decision(Verdict.PASS), review(Cause.UNSURE)


def _part(rng: np.random.Generator, *, stripes: bool = False) -> FrameStats:
    pixels = rng.normal(120.0 + rng.normal(0.0, 4.0), 12.0, (64, 64))
    if stripes:
        pixels[::8] += 90.0
    return frame_stats(np.clip(pixels, 0, 255).astype(np.uint8))


def _enrolled(rng: np.random.Generator) -> Reference:
    enrolment = Enrolment(60)
    for _ in range(60):
        enrolment.add(_part(rng))
    return enrolment.reference()


def test_it_is_the_larger_of_two_root_mean_squares_of_clipped_deviations() -> None:
    rng = np.random.default_rng(3)
    reference, novelty = _enrolled(rng), Novelty()
    for stats in (*(_part(rng) for _ in range(20)), _part(rng, stripes=True)):
        raw = project(stats.thumbnail.reshape(1, -1), reference.seed)[0]
        both = (
            (stats.values - reference.centre) / np.array(reference.sd),
            ((raw - reference.projection_centre) / np.array(reference.projection_sd))[:52],
        )
        expected = max(float(np.sqrt((np.clip(z, -8, 8) ** 2).mean())) for z in both)
        assert novelty.of(stats, reference) == pytest.approx(expected, abs=2e-3)


def test_enrolled_frames_score_about_one_and_strangers_stand_out() -> None:
    rng = np.random.default_rng(4)
    reference, novelty = _enrolled(rng), Novelty()
    same = [novelty.of(_part(rng), reference) for _ in range(100)]
    assert 0.8 < float(np.median(same)) < 1.3
    assert novelty.of(_part(rng, stripes=True), reference) > 2 * max(same)


def test_a_station_that_enrols_has_nothing_novel_and_a_new_reference_counts_at_once() -> None:
    rng = np.random.default_rng(5)
    novelty, stats = Novelty(), _part(rng, stripes=True)
    assert novelty.of(stats, None) == 0.0
    first = _enrolled(rng)
    assert novelty.of(stats, first) > LEAST
    itself = replace_centre(first, stats)
    assert novelty.of(stats, itself) == pytest.approx(0.0, abs=1e-2)
    assert novelty.of(stats, first) > LEAST


def replace_centre(reference: Reference, stats: FrameStats) -> Reference:
    """Return a reference whose centre is this very frame."""
    raw = project(stats.thumbnail.reshape(1, -1), reference.seed)[0]
    return Reference(
        reference.seed,
        reference.frames,
        tuple(stats.values.tolist()),
        reference.sd,
        tuple(raw.astype(float).tolist()),
        reference.projection_sd,
        reference.measures,
    )


@given(level=st.integers(0, 255), side=st.integers(1, 80), seed=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_whatever_the_pixels_it_is_finite_and_within_its_bounds(level: int, side: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference = _enrolled(np.random.default_rng(1))
    frame = np.full((side, side + 3), level, np.uint8)
    frame[rng.random(frame.shape) < 0.3] = 255
    assert 0.0 <= Novelty().of(frame_stats(frame), reference) <= MAX_NOVELTY


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_no_novelty(bad: float) -> None:
    rng = np.random.default_rng(6)
    reference, stats = _enrolled(rng), _part(rng)
    broken = replace(stats, thumbnail=np.full((32, 32), bad, np.float32))
    novelty = Novelty()
    with np.errstate(invalid="ignore"):
        assert 0.0 <= novelty.of(broken, reference) <= MAX_NOVELTY
    assert novelty.of(stats, reference) == Novelty().of(stats, reference), "it leaves nothing behind"


def test_the_threshold_rests_where_two_percent_lie_above_and_follows_a_drift() -> None:
    rng, threshold = np.random.default_rng(7), NoveltyThreshold()
    quiet = 2.0 * np.exp(rng.normal(0.0, 0.3, 20_000))
    above = [threshold.passed_by(float(each)) for each in quiet]
    assert 0.015 < np.mean(above[1_000:]) < 0.025
    drifted = 3.0 * quiet
    above = [threshold.passed_by(float(each)) for each in drifted]
    assert sum(above[:40]) > 10, "the first of a new kind are news"
    assert 0.015 < np.mean(above[200:]) < 0.025, "the rest are not"


def test_nothing_near_the_enrolled_centre_is_ever_novel() -> None:
    threshold = NoveltyThreshold()
    assert not any(threshold.passed_by(1.4) for _ in range(10_000))
    assert threshold.value == LEAST


NOVELTIES = st.lists(st.floats(0.0, 8.0), max_size=200)
DECISIONS = st.sampled_from([PASS, UNSURE, Decision(Verdict.REJECT), review(Cause.DRIFTED), review(Cause.LATE)])


@given(frames=st.lists(st.tuples(DECISIONS, st.floats(0.0, 8.0)), max_size=150), places=st.integers(0, 16))
def test_doubtful_and_novel_frames_share_one_bounded_budget(frames: list[tuple[Decision, float]], places: int) -> None:
    sampler = Sampler(np.random.default_rng(1), audit_rate=0.0, doubtful_per_window=places)
    for _ in range(3):
        kept = [k.reason for k in (sampler.draw(d, novelty) for d, novelty in frames) if k]
        assert len(kept) <= places
        assert kept.count(KeepReason.NOVEL) <= places // 4
        sampler.new_window()


@given(novelties=NOVELTIES)
def test_a_model_that_is_unsure_of_everything_leaves_places_for_what_is_novel(novelties: list[float]) -> None:
    sampler = Sampler(np.random.default_rng(1), audit_rate=0.0, doubtful_per_window=8)
    for _ in range(20):
        sampler.draw(UNSURE, 1.0)
    kept = [sampler.draw(UNSURE, 8.0 + n) for n in range(2)]
    assert [k.reason for k in kept if k] == [KeepReason.NOVEL] * 2
    assert not any(sampler.draw(UNSURE, n) for n in novelties), "all places are taken"


def test_while_a_station_enrols_every_place_is_for_doubtful_frames() -> None:
    sampler = Sampler(np.random.default_rng(1), audit_rate=0.0, doubtful_per_window=8)
    sampler.draw(UNSURE, 1.0)
    sampler.new_window()
    kept = [sampler.draw(UNSURE) for _ in range(20)]
    assert [k.reason for k in kept if k] == [KeepReason.HARD] * 8


@given(frames=st.lists(st.tuples(DECISIONS, st.floats(0.0, 8.0)), min_size=1, max_size=150), seed=st.integers(0, 99))
def test_the_audit_draws_the_same_frames_whatever_is_unsure_or_novel(
    frames: list[tuple[Decision, float]], seed: int
) -> None:
    """Its inclusion probabilities hold: nothing a model or a pixel says reaches the draw, and no cap ends it."""
    plain = Sampler(np.random.default_rng(seed), audit_rate=0.3, doubtful_per_window=0)
    busy = Sampler(np.random.default_rng(seed), audit_rate=0.3, doubtful_per_window=4)
    expected = [plain.draw(PASS) is not None for _ in frames]
    drawn = [busy.draw(decision, novelty) for decision, novelty in frames]
    assert [k is not None and k.reason is KeepReason.AUDIT for k in drawn] == expected
    assert all((k.inclusion == 0.3) == (k.reason is KeepReason.AUDIT) for k in drawn if k)


def test_novel_and_ordinary_frames_are_audited_equally_often() -> None:
    sampler = Sampler(np.random.default_rng(8), audit_rate=0.1, doubtful_per_window=16)
    rng, count = np.random.default_rng(9), {True: 0, False: 0}
    for n in range(40_000):
        strange = n % 2 == 0
        keep = sampler.draw(PASS, float(rng.uniform(4, 8) if strange else rng.uniform(0.5, 1.2)))
        count[strange] += keep is not None and keep.reason is KeepReason.AUDIT
        if n % 256 == 0:
            sampler.new_window()
    # 20,000 draws at 0.1 each: 2,000 +- 42.
    assert all(abs(found - 2_000) < 5 * 42.5 for found in count.values())
