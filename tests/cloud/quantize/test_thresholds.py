from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cloud.quantize.temperature import fit_temperature
from cloud.quantize.thresholds import choose_thresholds
from contract.decode import softmax
from contract.manifest import Label, LabelKind

LABELS = (Label("good", LabelKind.GOOD), Label("dent", LabelKind.DEFECT))


def _line(seed: int, parts: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw parts whose good mass g is uniform on .5..1 and whose chance of being a defect is (1 - g) / 4."""
    generator = np.random.default_rng(seed)
    good = generator.uniform(0.5, 1.0, parts)
    truth = (generator.uniform(size=parts) < (1 - good) / 4).astype(np.int64)
    return np.stack([good, 1 - good], 1).astype(np.float32), truth


def _true_risk(pass_at: float) -> float:
    return (1 - pass_at) / 8  # the mean of (1 - g) / 4 over g in pass_at..1


def test_promise_is_kept_as_often_as_it_says() -> None:
    alpha, delta, rounds = 0.03, 0.1, 400
    broken = used = 0
    for seed in range(rounds):
        thresholds = choose_thresholds(*_line(seed, 1200), LABELS, alpha=alpha, delta=delta)
        used += thresholds.pass_at < 1.0
        broken += thresholds.pass_at < 1.0 and _true_risk(thresholds.pass_at) > alpha
    # 0.1 * 400 = 40 may break; 58 is three standard deviations more.
    assert used > rounds / 2 and 0 < broken <= 58


def test_promise_is_kept_where_the_same_images_also_set_the_temperature() -> None:
    alpha, rounds = 0.03, 300
    broken = used = 0
    for seed in range(rounds):
        probabilities, truth = _line(seed, 1200)
        scores = np.log(np.maximum(probabilities, 1e-9))
        apart = fit_temperature(scores, truth).temperature
        thresholds = choose_thresholds(softmax(scores / np.float32(apart)), truth, LABELS, alpha=alpha, delta=0.1)
        used += thresholds.pass_at < 1.0
        # Who is as sure as `pass_at` after the temperature was as sure as this before it.
        before = 1.0 / (1.0 + ((1.0 - thresholds.pass_at) / thresholds.pass_at) ** apart)
        broken += thresholds.pass_at < 1.0 and _true_risk(before) > alpha
    # 0.1 * 300 = 30 may break; 46 is three standard deviations more.
    assert used > rounds / 2 and 0 < broken <= 46


def test_perfect_model_passes_all_it_calls_good() -> None:
    probabilities = np.tile(np.array([[0.99, 0.01], [0.02, 0.98]], np.float32), (200, 1))
    thresholds = choose_thresholds(probabilities, np.tile([0, 1], 200), LABELS)
    assert thresholds.pass_at <= 0.51 and "0 of 200 passed" in thresholds.method


def test_too_few_images_let_nothing_pass() -> None:
    probabilities = np.tile(np.array([[0.99, 0.01]], np.float32), (100, 1))
    thresholds = choose_thresholds(probabilities, np.zeros(100, np.int64), LABELS)
    assert thresholds.pass_at == 1.0 and "more are needed" in thresholds.method


def test_defects_that_look_good_let_nothing_pass() -> None:
    probabilities = np.tile(np.array([[0.99, 0.01]], np.float32), (400, 1))
    assert choose_thresholds(probabilities, np.tile([0, 1], 200), LABELS).pass_at == 1.0


def test_without_good_labels_or_images_nothing_passes() -> None:
    defects = (Label("a", LabelKind.DEFECT), Label("b", LabelKind.DEFECT))
    probabilities = np.tile(np.array([[0.99, 0.01]], np.float32), (400, 1))
    assert choose_thresholds(probabilities, np.zeros(400, np.int64), defects).pass_at == 1.0
    empty = choose_thresholds(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), LABELS)
    assert empty.pass_at == 1.0 and "no calibration images" in empty.method


def test_calibration_without_a_defect_says_what_its_promise_is_worth() -> None:
    probabilities = np.tile(np.array([[0.99, 0.01]], np.float32), (400, 1))
    thresholds = choose_thresholds(probabilities, np.zeros(400, np.int64), LABELS)
    assert thresholds.pass_at < 1.0 and "none of them shows a defect" in thresholds.method


def test_a_model_that_is_sure_and_always_wrong_passes_nothing() -> None:
    probabilities = np.tile(np.array([[0.999, 0.001], [0.001, 0.999]], np.float32), (400, 1))
    assert choose_thresholds(probabilities, np.tile([1, 0], 400), LABELS).pass_at == 1.0
