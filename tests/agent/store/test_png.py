"""Kept images: whatever the pixels, any reader of PNG gives them back."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from agent.store.png import encode_png

side = st.integers(1, 24)
shapes = st.one_of(st.tuples(side, side), st.tuples(side, side, st.sampled_from([1, 3])))


def decoded(png: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(png)) as image:
        image.verify()  # checksums and structure
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


@given(shapes.flatmap(lambda shape: hnp.arrays(np.uint8, shape)))
def test_pillow_reads_back_the_very_pixels(pixels: NDArray[np.uint8]) -> None:
    before = pixels.copy()
    flat = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    assert np.array_equal(decoded(encode_png(pixels)), flat)
    assert np.array_equal(pixels, before)


@given(hnp.arrays(np.uint8, (9, 12, 3)))
def test_how_pixels_lie_in_memory_does_not_matter(pixels: NDArray[np.uint8]) -> None:
    assert np.array_equal(decoded(encode_png(pixels[::-1, ::2])), pixels[::-1, ::2])


def test_a_blank_frame_takes_next_to_nothing() -> None:
    assert len(encode_png(np.zeros((800, 1280), np.uint8))) < 8_000


def test_a_smooth_image_takes_less_than_pillow_at_its_fastest() -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:200, 0:300]
    pixels = np.clip(120 + 60 * np.sin(x / 40) + 40 * np.cos(y / 30) + rng.normal(0, 2, (200, 300)), 0, 255)
    grey = pixels.astype(np.uint8)
    body = io.BytesIO()
    Image.fromarray(grey).save(body, "PNG", compress_level=1)
    assert len(encode_png(grey)) < body.tell()
