from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cloud.gate.corruptions import Corruption, corrupt, mean_blur


def _image(seed: int, colour: bool) -> NDArray[np.uint8]:
    shape = (24, 30, 3) if colour else (24, 30)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@given(st.sampled_from(Corruption), st.integers(1, 5), st.integers(0, 20), st.booleans())
def test_same_seed_same_pixels_and_the_shape_stays(kind: Corruption, severity: int, seed: int, colour: bool) -> None:
    image = _image(seed, colour)
    before = image.copy()
    once = corrupt(image, kind, severity, seed)
    assert once.dtype == np.uint8 and once.shape == image.shape
    assert (once == corrupt(image, kind, severity, seed)).all() and (image == before).all()
    assert (once != image).any()


@pytest.mark.parametrize("kind", list(Corruption))
def test_severer_is_further_from_the_original(kind: Corruption) -> None:
    image = np.tile(np.linspace(60, 160, 48).astype(np.uint8), (48, 1))
    image[20:24] = 200
    off = [np.abs(corrupt(image, kind, s, 7).astype(int) - image).mean() for s in (1, 3, 5)]
    assert off[0] < off[1] < off[2]


def test_mean_blur_is_the_mean_of_the_neighbourhood() -> None:
    image = np.zeros((5, 5), np.uint8)
    image[2, 2] = 90
    assert (mean_blur(image, 3)[1:4, 1:4] == 10).all() and mean_blur(image, 3)[0, 0] == 0
    assert (mean_blur(np.full((4, 6, 3), 200, np.uint8), 3) == 200).all()


def test_unknown_severity_is_refused() -> None:
    with pytest.raises(ValueError, match="severity 6"):
        corrupt(_image(0, False), Corruption.NOISE, 6, 0)
