"""Shares of the labels from the mix of the answers."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import cloud.drift.label_shift as module
from cloud.drift.label_shift import label_shares, project_to_simplex, shift_sentence

LIKELY = np.array([[0.9, 0.05, 0.05], [0.1, 0.85, 0.05], [0.05, 0.15, 0.8]])
NAMES = ("good", "scratch", "dent")
CONFUSION = np.rint(LIKELY * 400).astype(np.int64)


def windows_of(shares: np.ndarray, seed: int, windows: int = 24, frames: int = 60) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.multinomial(frames, shares @ LIKELY, size=windows)


def test_the_example_in_the_docstring_runs() -> None:
    found = doctest.testmod(module)
    assert found.failed == 0 and found.attempted >= 4


def test_answers_mistaken_as_ever_give_back_the_parts_that_came() -> None:
    exact = np.array([[500, 300, 200]]) @ LIKELY
    found = label_shares(CONFUSION, np.rint(exact * 1000).astype(np.int64))
    assert [share.estimate for share in found.shares] == pytest.approx([0.5, 0.3, 0.2], abs=1e-3)
    assert found.valid and found.why == "" and found.answers == 1_000_000


def test_nineteen_of_twenty_intervals_hold_the_truth_even_with_a_small_held_out_set() -> None:
    rng = np.random.Generator(np.random.PCG64(5))
    held: list[bool] = []
    for trial in range(200):
        confusion = np.stack([rng.multinomial(60, row) for row in LIKELY])
        truth = rng.dirichlet(np.ones(3))
        found = label_shares(confusion, windows_of(truth, seed=trial))
        held += [s.low - 1e-9 <= t <= s.high + 1e-9 for s, t in zip(found.shares, truth, strict=True)]
    assert 0.92 <= np.mean(held) <= 0.99


def test_windows_that_come_in_batches_of_one_product_widen_the_interval_and_keep_it_honest() -> None:
    rng = np.random.Generator(np.random.PCG64(6))
    truth, held, widths = np.array([0.6, 0.3, 0.1]), [], []
    for _ in range(200):
        batches = rng.dirichlet(truth * 4, size=24)
        windows = np.stack([rng.multinomial(60, batch @ LIKELY) for batch in batches])
        found = label_shares(CONFUSION, windows)
        held += [s.low <= t <= s.high for s, t in zip(found.shares, truth, strict=True)]
        widths.append(found.shares[0].high - found.shares[0].low)
    calm = label_shares(CONFUSION, windows_of(truth, seed=1)).shares[0]
    assert np.mean(held) >= 0.90 and np.mean(widths) > 2 * (calm.high - calm.low)


def test_a_model_that_cannot_tell_two_labels_apart_gives_no_shares() -> None:
    confusion = np.array([[90, 5, 5], [3, 50, 47], [3, 47, 50]])
    found = label_shares(confusion, np.array([[300, 300, 300]]))
    assert found.shares == () and not found.valid and found.why.startswith("the model confuses labels too much")
    equal = label_shares(np.full((3, 3), 30), np.array([[300, 300, 300]]))
    assert equal.shares == () and not equal.valid


@pytest.mark.parametrize(
    ("confusion", "windows", "why"),
    [
        (CONFUSION, [[40, 30, 29]], "99 of 100 answers are in"),
        (CONFUSION, [[0, 0, 0]], "0 of 100 answers are in"),
        (CONFUSION, [[50, 50]], "the windows are of other labels"),
        (np.diag([50, 50, 4]), [[100, 100, 100]], "a label has fewer than 5 held-out images"),
        (np.diag([50, 50, 0]), [[100, 100, 100]], "a label has fewer than 5 held-out images"),
        (np.array([[50]]), [[100]], "a model with one label tells no shares"),
        (np.eye(257, dtype=np.int64) * 9, np.ones((1, 257), np.int64), "257 labels are too many"),
    ],
)
def test_what_is_too_little_to_tell_says_so(confusion: np.ndarray, windows: object, why: str) -> None:
    found = label_shares(np.asarray(confusion), np.asarray(windows))
    assert (found.shares, found.valid, found.why) == ((), False, why)


def test_under_a_covariate_shift_shares_are_shown_and_not_valid() -> None:
    found = label_shares(CONFUSION, windows_of(np.array([0.2, 0.5, 0.3]), 1), doubt="what is seen has changed")
    assert len(found.shares) == 3 and not found.valid and found.why == "what is seen has changed"
    assert shift_sentence(NAMES, (0.5, 0.25, 0.25), found) is None


def test_the_sentence_names_the_label_that_moved_most() -> None:
    found = label_shares(CONFUSION, windows_of(np.array([0.55, 0.32, 0.13]), seed=2))
    said = shift_sentence(NAMES, (0.8, 0.1, 0.1), found)
    assert said == "labels: good .80 -> .54 (.50 to .58)"
    assert shift_sentence(NAMES, [share.estimate for share in found.shares], found) is None, "nothing moved"


@given(hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(-5, 5)))
def test_a_projection_is_shares_and_shares_stay_as_they_are(values: np.ndarray) -> None:
    shares = project_to_simplex(values)
    assert (shares >= 0).all() and shares.sum() == pytest.approx(1.0)
    assert project_to_simplex(shares) == pytest.approx(shares)
    corner = np.eye(len(values))[int(values.argmax())]
    assert np.sum((shares - values) ** 2) <= np.sum((corner - values) ** 2) + 1e-9, "no share vector is closer"


@given(
    st.lists(st.lists(st.integers(0, 10_000), min_size=4, max_size=4), min_size=4, max_size=4),
    st.lists(st.lists(st.integers(0, 1_000_000), min_size=4, max_size=4), min_size=1, max_size=9),
)
def test_whatever_the_counts_shares_are_shares_within_their_intervals(confusion: object, windows: object) -> None:
    found = label_shares(np.array(confusion, np.int64), np.array(windows, np.int64))
    if not found.shares:
        assert not found.valid and found.why
        return
    assert found.valid and sum(share.estimate for share in found.shares) == pytest.approx(1.0)
    assert all(0.0 <= share.low <= share.estimate <= share.high <= 1.0 for share in found.shares)
