"""What the statistics of a frame say of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import BadImage
from contract.sketches.frame_stats import STATISTICS, FrameStats, frame_stats


def _texture(seed: int = 0, shape: tuple[int, ...] = (200, 200)) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(seed))
    return np.clip(rng.normal(128, 25, shape), 0, 255).astype(np.uint8)


def _value(stats: FrameStats, name: str) -> float:
    return float(stats.values[STATISTICS.index(name)])


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([(), (3,)]), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_any_size_gives_finite_values_about_unit_range(height, width, channels, seed) -> None:
    stats = frame_stats(
        np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (height, width, *channels), np.uint8)
    )
    assert np.isfinite(stats.values).all() and abs(stats.values).max() < 8
    assert stats.thumbnail.shape == (32, 32) and stats.thumbnail.dtype == np.float32
    assert stats.thumbnail.min() >= -1e-5 and stats.thumbnail.max() <= 1 + 1e-5
    assert 0 <= stats.frame_hash < 1 << 64


def test_levels_are_those_numpy_finds() -> None:
    pixels = _texture()
    stats = frame_stats(pixels)
    assert _value(stats, "mean") == pytest.approx(pixels.mean() / 255)
    assert _value(stats, "spread") == pytest.approx(pixels.std() / 255)
    assert _value(stats, "dark") == pytest.approx((pixels < 10).mean() ** 0.5)
    assert _value(stats, "saturated") == pytest.approx((pixels > 245).mean() ** 0.5)
    assert _value(stats, "p05") == pytest.approx(np.percentile(pixels, 5) / 255, abs=1 / 255)
    assert float(stats.thumbnail.mean()) == pytest.approx(pixels.mean() / 255, abs=0.01)


def test_defocus_lowers_sharpness_and_grain_and_a_change_of_light_moves_grain_hardly() -> None:
    pixels = _texture()
    padded = np.pad(pixels.astype(float), 1, mode="edge")
    blurred = sum(padded[y : y + 200, x : x + 200] for y in range(3) for x in range(3)) / 9
    sharp, soft = frame_stats(pixels), frame_stats(blurred.astype(np.uint8))
    dim = frame_stats((pixels * 0.7).astype(np.uint8))
    assert _value(soft, "sharpness") < _value(sharp, "sharpness") - 0.3
    assert _value(soft, "grain") < _value(sharp, "grain") - 0.1
    assert abs(_value(dim, "grain") - _value(sharp, "grain")) < 0.02
    assert _value(dim, "mean") < _value(sharp, "mean") - 0.1


@pytest.mark.parametrize("shape", [(200, 200), (203, 221), (720, 1280)])
def test_dust_raises_specks_and_glints_lower_them_whatever_the_light(shape) -> None:
    pixels = _texture(3, shape)
    rng = np.random.Generator(np.random.PCG64(4))
    spots = rng.random((shape[0] // 8 * 8, shape[1])) < 0.002
    dusty, glinting = pixels.copy(), pixels.copy()
    dusty[: len(spots)][spots] = 20
    glinting[: len(spots)][spots] = 235
    clean, dim = (_value(frame_stats(each), "specks") for each in (pixels, (pixels * 0.7).astype(np.uint8)))
    assert clean == pytest.approx(0.0, abs=0.02) and dim == pytest.approx(clean, abs=0.02)
    assert _value(frame_stats(dusty), "specks") > clean + 0.02
    assert _value(frame_stats(glinting), "specks") < clean - 0.02


def test_specks_are_those_of_a_plain_loop_over_blocks() -> None:
    pixels = _texture(5, (43, 61))
    blocks = [pixels[y : y + 8, x : x + 8].astype(float) for y in range(0, 40, 8) for x in range(0, 56, 8)]
    dark, bright = (sum(gaps) for gaps in zip(*((b.mean() - b.min(), b.max() - b.mean()) for b in blocks), strict=True))
    assert _value(frame_stats(pixels), "specks") == pytest.approx((dark - bright) / (len(blocks) + dark + bright))


def test_uneven_light_shows_as_tilt_or_vignette() -> None:
    flat = np.full((128, 128), 100, np.uint8)
    ramp = np.tile(np.linspace(60, 140, 128).astype(np.uint8), (128, 1))
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    dark_corners = (140 - 40 * (x * x + y * y)).astype(np.uint8)
    assert _value(frame_stats(flat), "tilt") == pytest.approx(0, abs=1e-4)
    assert _value(frame_stats(ramp), "tilt") == pytest.approx(80 / 255, rel=0.05)
    assert _value(frame_stats(ramp.T.copy()), "tilt") == pytest.approx(80 / 255, rel=0.05)
    assert _value(frame_stats(dark_corners), "vignette") > 0.1


def test_the_hash_is_equal_for_equal_frames_and_differs_by_one_pixel() -> None:
    pixels = _texture(shape=(400, 500))
    changed = pixels.copy()
    changed[7, 11] ^= 1
    assert frame_stats(pixels).frame_hash == frame_stats(pixels.copy()).frame_hash
    assert frame_stats(pixels).frame_hash != frame_stats(changed).frame_hash


def test_a_large_frame_keeps_its_sharpness_at_full_resolution() -> None:
    large, small = frame_stats(_texture(1, (1080, 1920))), frame_stats(_texture(1, (400, 400)))
    assert _value(large, "sharpness") == pytest.approx(_value(small, "sharpness"), abs=0.02)


@pytest.mark.parametrize("shape", [(800, 1280), (1280, 800), (3000, 520), (30, 2000), (8, 600), (600, 2), (2, 600)])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_sharpness_of_a_large_frame_is_about_that_of_all_its_pixels(shape, channels) -> None:
    pixels = _texture(2, (*shape, *channels))
    grey = pixels.astype(float) if not channels else pixels @ [0.299, 0.587, 0.114]
    bend = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1] - 4 * grey[1:-1, 1:-1]
    energy = float((bend * bend).mean()) if bend.size else 0.0
    assert _value(frame_stats(pixels), "sharpness") == pytest.approx(np.log1p(energy) / 4, abs=0.02)


@pytest.mark.parametrize("edge", [slice(0, 250), slice(-250, None)], ids=["first rows", "last rows"])
def test_fog_at_an_edge_of_a_large_frame_is_seen(edge) -> None:
    pixels = _texture(3, (1000, 1500))
    fogged = pixels.copy()
    fogged[edge] = 128
    sharp, soft = frame_stats(pixels), frame_stats(fogged)
    assert _value(soft, "sharpness") == pytest.approx(_value(sharp, "sharpness") + np.log(0.75) / 4, abs=0.02)


@pytest.mark.parametrize("shape", [(0, 5), (5,), (4, 4, 2), (2, 2, 3, 1)])
def test_what_is_no_image_is_refused(shape) -> None:
    with pytest.raises(BadImage):
        frame_stats(np.zeros(shape, np.uint8))
    with pytest.raises(BadImage):
        frame_stats(np.zeros((4, 4), np.float32))
