"""The generator of machined-metal surfaces."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sources.camera_model import box_blur
from agent.sources.surface import LABELS, part_name, surface, truth_of
from contract.errors import InvalidConfig


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(32, 200), st.integers(32, 200))
def test_a_part_is_fixed_by_seed_and_index(seed: int, index: int, height: int, width: int) -> None:
    pixels, label = surface(seed, index, height, width)
    again, label_again = surface(seed, index, height, width)
    assert pixels.dtype == np.uint8 and pixels.shape == (height, width)
    np.testing.assert_array_equal(pixels, again)
    assert label == label_again == truth_of(part_name(seed, index))
    assert label in LABELS


def test_parts_differ_from_each_other() -> None:
    digests = {hashlib.sha256(surface(seed, index)[0].tobytes()).digest() for seed in (0, 1) for index in range(50)}
    assert len(digests) == 100


def test_about_half_the_parts_are_good_and_each_flaw_is_as_frequent() -> None:
    counts = Counter(truth_of(part_name(5, index)) for index in range(4000))
    assert counts["good"] / 4000 == pytest.approx(0.5, abs=0.03)
    for label in LABELS[1:]:
        assert counts[label] / 4000 == pytest.approx(0.125, abs=0.02)


@pytest.mark.parametrize("part", ("", "a.png", "1-2.png", "1-", "-1-2", "1-2-3", "x1-2", "1" * 30 + "-1"))
def test_what_is_no_generated_part_has_no_known_truth(part: str) -> None:
    assert truth_of(part) is None


@pytest.mark.parametrize("arguments", ((-1, 0), (0, -1), (0, 0, 31, 128), (0, 0, 128, 5000)))
def test_arguments_out_of_range_are_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(InvalidConfig):
        surface(*arguments)


def grain_of(pixels: np.ndarray) -> float:
    """The spread of the difference between neighbours: the finest structure."""
    return float(np.diff(pixels.astype(np.float32), axis=0).std())


def test_a_slight_defocus_takes_most_of_the_fine_grain_and_hardly_any_brightness() -> None:
    sharp = [surface(2, index)[0] for index in range(40)]
    blurred = [box_blur(pixels, 1) for pixels in sharp]
    assert np.mean([grain_of(b) / grain_of(s) for s, b in zip(sharp, blurred, strict=True)]) < 0.5
    assert np.mean(blurred) == pytest.approx(np.mean(sharp), abs=0.5)


def test_no_label_is_given_away_by_its_mean_brightness() -> None:
    means: dict[str, list[float]] = {label: [] for label in LABELS}
    for index in range(400):
        pixels, label = surface(3, index)
        means[label].append(float(pixels.mean()))
    spread = np.std(means["good"])
    for label in LABELS[1:]:
        assert abs(np.mean(means[label]) - np.mean(means["good"])) < spread
