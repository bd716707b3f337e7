"""Concept drift by betting on spot labels."""

from __future__ import annotations

import doctest
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cloud.drift.concept as module
from cloud.drift.concept import (
    ConceptState,
    SpotLabel,
    bet,
    concept_state,
    confidence_sequence,
    label_weights,
    log_capital,
    promised_accuracy,
)
from contract.errors import BadDataset

LEAST = 0.9


def labels_of(accuracy: list[float] | np.ndarray, seed: int, inclusion: float = 0.05) -> list[SpotLabel]:
    rng = np.random.Generator(np.random.PCG64(seed))
    right = rng.random(len(accuracy)) < np.asarray(accuracy)
    return [SpotLabel(f"x{n}", float(n), bool(value), inclusion) for n, value in enumerate(right)]


spot_labels = st.lists(
    st.builds(
        SpotLabel,
        st.integers(0, 40).map(str),
        st.floats(0, 1e9),
        st.booleans(),
        st.sampled_from([0.01, 0.05, 0.5, 1.0]),
    ),
    max_size=60,
)


def test_the_example_in_the_docstring_runs() -> None:
    found = doctest.testmod(module)
    assert found.failed == 0 and found.attempted >= 3


def test_a_fall_from_95_to_60_percent_is_found_at_a_pinned_label() -> None:
    state = concept_state(labels_of([0.95] * 100 + [0.6] * 100, seed=3), LEAST)
    assert (state.crossed_after, state.crossed_at) == (122, 121.0)


def test_at_the_promised_accuracy_false_alarms_take_a_thousand_labels_on_average() -> None:
    # ARL >= 1/alpha, simulated at alpha = 1/100 so that it can be seen; 5 standard errors below is the bound.
    lengths = []
    for trial in range(300):
        labels = labels_of([LEAST] * 1_000, seed=trial)
        crossed = concept_state(labels, LEAST, alpha=0.01).crossed_after
        lengths.append(1_000 if crossed is None else crossed)
    assert np.mean(lengths) + 5 * np.std(lengths) / math.sqrt(300) >= 100
    assert np.mean(lengths) >= 120, "and in fact longer"


def test_a_model_as_good_as_promised_is_never_accused_in_a_thousand_labels_of_each_of_100_stations() -> None:
    assert not any(concept_state(labels_of([0.97] * 1_000, seed), LEAST).crossed_at for seed in range(100))


def test_the_sequence_holds_the_accuracy_at_every_moment_at_once() -> None:
    missed, widths = 0, []
    for trial in range(200):
        labels = labels_of([0.85] * 300, seed=1_000 + trial)
        missed += bool((log_capital(labels, np.array([0.85])) >= math.log(20)).any())
        found = confidence_sequence(labels)
        assert found is not None
        widths.append(found.high - found.low)
    assert missed <= 10 + 3 * math.sqrt(200 * 0.05 * 0.95), "5 % of 200, and three standard errors"
    assert np.mean(widths) < 0.16


def test_unequal_sampling_is_undone_by_the_weights() -> None:
    # Hard frames are drawn ten times as often and answered worse: unweighted, 300 labels would say .70.
    rng = np.random.Generator(np.random.PCG64(8))
    covered, false_alarms = 0, 0
    for _ in range(100):
        hard = rng.random(6_000) < 0.1
        right = np.where(hard, rng.random(6_000) < 0.5, rng.random(6_000) < 0.98)
        inclusion = np.where(hard, 0.2, 0.02)
        kept = np.flatnonzero(rng.random(6_000) < inclusion)
        labels = [SpotLabel(str(n), float(n), bool(right[n]), float(inclusion[n])) for n in kept]
        found = confidence_sequence(labels)
        assert found is not None
        covered += found.low <= 0.1 * 0.5 + 0.9 * 0.98 <= found.high
        false_alarms += concept_state(labels, 0.88).crossed_at is not None
    assert covered >= 95 and false_alarms <= 2


@given(spot_labels, st.randoms(use_true_random=False), st.floats(0.05, 0.98))
def test_labels_in_any_order_and_twice_come_to_the_same(labels: list[SpotLabel], random: object, least: float) -> None:
    unique = list({label.sample: label for label in labels}.values())
    shuffled = unique + unique[: len(unique) // 2]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert concept_state(shuffled, least) == concept_state(unique, least)
    assert confidence_sequence(shuffled) == confidence_sequence(unique)
    assert concept_state(unique, least).labels == len(unique)


@given(spot_labels, st.integers(0, 60), st.floats(0.05, 0.98))
def test_bets_go_on_after_a_restart_as_if_nothing_had_happened(labels: list[SpotLabel], cut: int, least: float) -> None:
    state = whole = ConceptState()
    for number, label in enumerate(labels):
        if number == cut:
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=ConceptState)
        weight = (1.0, 0.3)[number % 2]
        state, whole = bet(state, label, least, weight=weight), bet(whole, label, least, weight=weight)
    assert state == whole and all(0.0 <= each <= 1e12 for each in state.wealth)


@settings(max_examples=50)
@given(spot_labels.filter(lambda labels: len(labels) > 0))
def test_an_interval_lies_within_0_and_1(labels: list[SpotLabel]) -> None:
    found = confidence_sequence(labels)
    assert found is None or (0.0 <= found.low <= found.high <= 1.0 and found.labels >= 1)


def test_no_label_weighs_less_than_a_twentieth_of_another() -> None:
    labels = [SpotLabel(str(n), n, True, inclusion) for n, inclusion in enumerate((1.0, 0.5, 0.1, 0.001))]
    assert label_weights(labels).tolist() == [0.05, 0.1, 0.5, 1.0]
    assert label_weights(labels[:1]).tolist() == [1.0] and label_weights([]).tolist() == []


def test_no_labels_say_nothing_and_no_audit_labels_are_refused() -> None:
    assert confidence_sequence([]) is None and concept_state([], LEAST) == ConceptState()
    for odd in (0.0, -0.1, 1.5, float("nan")):
        with pytest.raises(BadDataset, match=r"outside 0\.\.1"):
            concept_state([SpotLabel("x", 0.0, True, odd)], LEAST)


def test_labels_that_fit_no_single_accuracy_give_no_interval() -> None:
    assert confidence_sequence(labels_of([1.0] * 400 + [0.0] * 400, seed=1)) is None


def test_a_small_held_out_set_and_a_line_of_hard_parts_promise_less() -> None:
    large, small = np.diag([9_500, 9_500]) + 500 * (1 - np.eye(2, dtype=int)), np.array([[19, 1], [1, 19]])
    assert promised_accuracy(large) == (pytest.approx(0.95), pytest.approx(0.90))
    expected, least = promised_accuracy(small)
    assert expected == pytest.approx(0.95) and least == pytest.approx(0.95 - 3 * 0.04, abs=0.02)
    uneven = np.array([[9_900, 100], [4_000, 6_000]])
    assert promised_accuracy(uneven)[0] == pytest.approx(0.795)
    assert promised_accuracy(uneven, [0.0, 1.0]) == (pytest.approx(0.6), pytest.approx(0.55))
    assert promised_accuracy(np.array([[50, 0], [0, 0]]), [0.0, 1.0])[0] == 1.0, (
        "what was never held out promises nothing"
    )
