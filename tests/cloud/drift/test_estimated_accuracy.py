"""Accuracy without labels."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cloud.drift.estimated_accuracy as module
from cloud.drift.estimated_accuracy import estimated_accuracies
from contract.sketches.label_counts import confidence_bin

histograms = st.lists(st.integers(0, 500), min_size=64, max_size=64).filter(lambda counts: sum(counts) >= 100)


def answers(spread: float, seed: int, count: int = 20_000) -> tuple[np.ndarray, float]:
    """Return (logit-confidence counts, share right) of a calibrated model whose inputs are as clear as `spread` says."""
    rng = np.random.Generator(np.random.PCG64(seed))
    confidence = 1.0 / (1.0 + np.exp(-np.abs(rng.normal(0, spread, count))))
    right = rng.random(count) < confidence
    return np.bincount([confidence_bin(c) for c in confidence], minlength=64), float(right.mean())


def test_the_example_in_the_docstring_runs() -> None:
    found = doctest.testmod(module)
    assert found.failed == 0 and found.attempted >= 5


def test_harder_parts_lower_both_estimates_towards_the_truth() -> None:
    held_out, accuracy = answers(4.0, seed=1)
    harder, truth = answers(1.5, seed=2)
    found = estimated_accuracies(held_out, accuracy, harder)
    assert accuracy - truth > 0.1
    assert found.ac.estimate == pytest.approx(truth, abs=0.02) and found.ac.valid
    assert found.atc.estimate is not None and found.atc.estimate < accuracy - 0.1 and found.atc.valid


@given(histograms, st.floats(0, 1))
def test_on_the_held_out_answers_themselves_both_give_their_accuracy(counts: list[int], accuracy: float) -> None:
    held_out = np.array(counts)
    found = estimated_accuracies(held_out, accuracy, held_out * 3)
    assert found.ac.estimate == pytest.approx(accuracy) and found.atc.estimate == pytest.approx(accuracy, abs=1e-9)


@given(histograms, histograms, st.floats(0, 1))
def test_estimates_are_shares_whatever_the_counts(held_out: list[int], now: list[int], accuracy: float) -> None:
    found = estimated_accuracies(np.array(held_out), accuracy, np.array(now))
    for each in (found.ac, found.atc):
        assert each.valid and each.estimate is not None and 0.0 <= each.estimate <= 1.0


def test_under_a_covariate_shift_they_are_shown_and_not_valid() -> None:
    held_out, accuracy = answers(4.0, seed=1)
    found = estimated_accuracies(held_out, accuracy, held_out, doubt="what is seen has changed")
    assert found.ac.estimate is not None and (found.ac.valid, found.ac.why) == (False, "what is seen has changed")
    assert (found.atc.valid, found.atc.why) == (False, "what is seen has changed")


def test_too_few_answers_or_images_estimate_nothing() -> None:
    few, many = np.eye(64, dtype=np.int64)[40] * 29, np.eye(64, dtype=np.int64)[40] * 100
    short = estimated_accuracies(few, 0.9, many)
    assert (short.atc.estimate, short.atc.why) == (None, "29 of 30 held-out images are there")
    silent = estimated_accuracies(many, 0.9, many - np.eye(64, dtype=np.int64)[40])
    assert (silent.ac.estimate, silent.ac.valid, silent.ac.why) == (None, False, "99 of 100 answers are in")
