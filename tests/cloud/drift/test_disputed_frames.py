"""Frames on which people disagree are in the interval of the accuracy, and not left out of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.drift.accuracy import AuditLabel, accuracy
from cloud.drift.concept import SpotLabel, bounded_sequence, confidence_sequence

FRAMES = st.lists(
    st.builds(AuditLabel, st.sampled_from([True, False, None]), st.floats(0.01, 1.0)), min_size=1, max_size=30
)


@given(FRAMES, st.randoms(use_true_random=False))
def test_however_they_are_settled_the_accuracy_was_in_the_interval(frames: list[AuditLabel], random) -> None:  # type: ignore[no-untyped-def]
    found = accuracy(frames)
    standing = [frame for frame in frames if frame.correct is not None]
    if not standing:
        assert found is None
        return
    assert found is not None
    assert (found.labels, found.disputed) == (len(standing), len(frames) - len(standing))
    assert found.low <= found.estimate + 1e-9 and found.estimate <= found.high + 1e-9
    settled = accuracy([f if f.correct is not None else replace(f, correct=random.random() < 0.5) for f in frames])
    assert settled is not None and settled.disputed == 0
    assert found.low <= settled.low + 1e-9 and settled.high <= found.high + 1e-9
    assert found.estimate == pytest.approx(accuracy(standing).estimate)  # type: ignore[union-attr]


def test_the_hard_frames_that_people_argue_about_do_not_flatter_a_model() -> None:
    """It is right on 80, wrong on 10 of the settled ones and on all of 10 that are argued about: 80 of 100."""
    settled = [AuditLabel(n < 80, 0.1) for n in range(90)]
    left_out = accuracy(settled)
    found = accuracy([*settled, *[AuditLabel(None, 0.1)] * 10])
    assert left_out is not None and found is not None
    assert left_out.low > 0.80, "who leaves them out is sure of more than is true"
    assert found.low < 0.80 < found.high and found.high > left_out.high - 0.02
    assert found.estimate == left_out.estimate and (found.labels, found.disputed) == (90, 10)


def test_the_sequence_allows_for_either_outcome_too() -> None:
    labels = [SpotLabel(f"a{n}", float(n), n % 10 != 0, 0.1) for n in range(100)]
    disputed = [SpotLabel(f"d{n}", 2.5 * n, False, 0.1) for n in range(40)]
    plain, found = confidence_sequence(labels), bounded_sequence(labels, disputed)
    assert plain is not None and found is not None and bounded_sequence(labels, []) == plain
    assert found.low < plain.low - 0.05 and found.high >= plain.high and found.labels == 100
    assert bounded_sequence([], disputed) is None
    for correct in (False, True):
        settled = confidence_sequence([*labels, *(replace(each, correct=correct) for each in disputed)])
        assert settled is None or (found.low <= settled.low and settled.high <= found.high)
