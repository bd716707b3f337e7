"""What merging promises, in any order, for any windows."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import SketchMismatch
from contract.sketches.window import MAX_FRAMES, SketchIdentity, Window, empty_window, merge, merge_all

Maker = Callable[..., Window]
drawn = st.tuples(st.integers(0, 1 << 32), st.integers(0, 40))


@given(drawn, drawn, drawn)
@settings(max_examples=50, deadline=None)
def test_merge_is_associative_and_commutative_to_the_bit(make_window: Maker, a, b, c) -> None:
    first, second, third = (make_window(*drawing) for drawing in (a, b, c))
    assert merge(first, second) == merge(second, first)
    assert merge(merge(first, second), third) == merge(first, merge(second, third))


@given(drawn)
@settings(max_examples=20, deadline=None)
def test_the_empty_window_changes_nothing(make_window: Maker, drawing) -> None:
    window = make_window(*drawing)
    assert merge(window, empty_window(window.identity)) == window


@pytest.mark.parametrize(
    "change", [{"seed": 8}, {"reference": ""}, {"artefact": "b" * 64}, {"labels": 7}, {"features": 1}]
)
def test_foreign_identities_refuse_to_merge_and_say_where_they_differ(make_window: Maker, change) -> None:
    window = make_window(1, 5)
    foreign = msgspec.structs.replace(window.identity, **change)
    other = Window(foreign, window.frames, window.sums, window.mins, window.maxs, window.registers)
    with pytest.raises(SketchMismatch, match=next(iter(change))):
        merge(window, other)


def test_more_frames_than_sums_can_hold_are_refused(make_window: Maker) -> None:
    window = make_window(1, 5)
    huge = Window(window.identity, MAX_FRAMES - 4, window.sums, window.mins, window.maxs, window.registers)
    with pytest.raises(SketchMismatch, match="frames"):
        merge(huge, window)


def test_a_merged_window_answers_as_if_it_had_seen_all_frames(make_window: Maker) -> None:
    first, second = make_window(1, 30), make_window(2, 10)
    both = merge_all(first.identity, [first, second])
    assert both.frames == 40
    assert np.allclose(both.means(), (first.means() * 30 + second.means() * 10) / 40)
    assert (both.histograms().sum(axis=1) == 40).all()
    assert both.ranges()[0].tolist() == np.minimum(first.ranges()[0], second.ranges()[0]).tolist()
    assert both.distinct() == pytest.approx(40, rel=0.2)


def test_the_covariance_of_a_window_is_that_of_its_frames(make_window: Maker) -> None:
    first, second = make_window(3, 30), make_window(4, 12)
    both = merge_all(first.identity, [first, second])
    covariance = both.covariance()
    assert covariance is not None and np.allclose(covariance, covariance.T)
    assert np.allclose(np.sqrt(np.diagonal(covariance)), both.sds())
    assert np.linalg.eigvalsh(covariance).min() > -1e-12
    assert empty_window(msgspec.structs.replace(first.identity, features=1)).covariance() is None


def test_an_identity_this_version_cannot_make_is_refused() -> None:
    for identity in (SketchIdentity(99, 1, "", "a", 6), SketchIdentity(1, 1, "", "a", 0)):
        with pytest.raises(SketchMismatch):
            empty_window(identity)
