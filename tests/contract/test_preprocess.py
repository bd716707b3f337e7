from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from msgspec.structs import replace
from numpy.typing import NDArray

from contract.errors import BadImage
from contract.preprocess import PreprocessSpec, preprocess, resize, to_channels

side = st.integers(1, 12)
MEANS, STDS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@st.composite
def specs(draw: st.DrawFn) -> PreprocessSpec:
    channels = draw(st.sampled_from([1, 3]))
    return PreprocessSpec(
        draw(side),
        draw(side),
        channels,
        MEANS[:channels],
        STDS[:channels],
        draw(st.sampled_from(["NCHW", "NHWC"])),
        draw(st.sampled_from(["float32", "uint8"])),
    )


def images(*, channels: tuple[int, ...] = (0, 1, 3)) -> st.SearchStrategy[NDArray[np.uint8]]:
    def of(height: int, width: int, depth: int) -> st.SearchStrategy[NDArray[np.uint8]]:
        return hnp.arrays(np.uint8, (height, width, depth) if depth else (height, width))

    return st.tuples(side, side, st.sampled_from(channels)).flatmap(lambda shape: of(*shape))


@given(images(), specs())
def test_the_tensor_is_what_the_spec_says(pixels: NDArray[np.uint8], spec: PreprocessSpec) -> None:
    before = pixels.copy()
    tensor = preprocess(pixels, spec)
    chw = (spec.channels, spec.height, spec.width)
    assert tensor.shape == (1, *(chw if spec.layout == "NCHW" else (*chw[1:], chw[0])))
    assert tensor.dtype == np.dtype(spec.dtype)
    assert tensor.flags.c_contiguous
    assert np.isfinite(tensor).all()
    assert np.array_equal(pixels, before)


@given(images(), specs())
def test_layouts_hold_the_same_numbers(pixels: NDArray[np.uint8], spec: PreprocessSpec) -> None:
    first, last = (preprocess(pixels, replace(spec, layout=layout)) for layout in ("NCHW", "NHWC"))
    assert np.array_equal(first.transpose(0, 2, 3, 1), last)


@given(images(channels=(0,)), specs())
def test_a_grey_image_is_the_same_however_its_channels_are_stored(
    grey: NDArray[np.uint8], spec: PreprocessSpec
) -> None:
    flat = preprocess(grey, spec)
    assert np.array_equal(preprocess(grey[:, :, None], spec), flat)
    assert np.array_equal(preprocess(np.repeat(grey[:, :, None], 3, axis=2), spec), flat)


@given(images(), specs())
def test_how_pixels_lie_in_memory_does_not_matter(pixels: NDArray[np.uint8], spec: PreprocessSpec) -> None:
    expected = preprocess(pixels, spec)
    assert np.array_equal(preprocess(np.asfortranarray(pixels), spec), expected)
    wide = np.zeros((*pixels.shape[:1], 2 * pixels.shape[1], *pixels.shape[2:]), np.uint8)
    wide[:, ::2] = pixels
    assert np.array_equal(preprocess(wide[:, ::2], spec), expected)


@given(images(), st.sampled_from([1, 3]))
def test_an_image_of_the_right_size_is_scaled_and_not_resampled(pixels: NDArray[np.uint8], channels: int) -> None:
    height, width = pixels.shape[:2]
    spec = PreprocessSpec(height, width, channels, MEANS[:channels], STDS[:channels], "NHWC")
    raw = preprocess(pixels, replace(spec, dtype="uint8"))[0]
    assert np.array_equal(raw, to_channels(pixels, channels).reshape(height, width, channels))
    expected = (raw.astype(np.float64) / 255.0 - spec.mean) / spec.std
    np.testing.assert_allclose(preprocess(pixels, spec)[0], expected, atol=2e-6)


@given(st.integers(0, 255), side, side, specs())
def test_a_constant_image_stays_constant_at_any_size(value: int, height: int, width: int, spec: PreprocessSpec) -> None:
    raw = preprocess(np.full((height, width), value, np.uint8), replace(spec, dtype="uint8"))
    assert (raw == value).all()


@given(images(), side, side)
def test_resizing_invents_no_brighter_or_darker_pixel(pixels: NDArray[np.uint8], height: int, width: int) -> None:
    flat = to_channels(pixels, 1)
    small = resize(flat, height, width)
    assert small.shape == (height, width)
    assert flat.min() <= small.min()
    assert small.max() <= flat.max()


@given(images(channels=(3,)), side, side)
def test_channels_are_resized_independently(pixels: NDArray[np.uint8], height: int, width: int) -> None:
    together = resize(pixels, height, width)
    for channel in range(3):
        alone = resize(np.ascontiguousarray(pixels[:, :, channel]), height, width)
        assert np.array_equal(together[:, :, channel], alone)


def triangle_weights(before: int, after: int) -> NDArray[np.float64]:
    """Return f64[after,before]: how much each pixel of a line counts, from the definition of the filter."""
    scale = before / after
    reach = max(scale, 1.0)  # widened when shrinking: that is what keeps edges free of aliasing
    centres = (np.arange(after)[:, None] + 0.5) * scale
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(before)[None, :] + 0.5 - centres) / reach)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)


@given(images(channels=(0,)), side, side)
def test_resizing_is_an_antialiased_triangle_filter(pixels: NDArray[np.uint8], height: int, width: int) -> None:
    rows, columns = triangle_weights(pixels.shape[0], height), triangle_weights(pixels.shape[1], width)
    expected = rows @ pixels @ columns.T
    # Each of the two passes rounds to a whole value.
    assert np.abs(resize(pixels, height, width) - expected).max() <= 1.01


def test_resized_values_are_pinned() -> None:
    # Were these to change, every deployed model would see other pixels than those it was trained on.
    ramp = np.arange(36, dtype=np.uint8).reshape(6, 6) * 7
    assert resize(ramp, 3, 3).tolist() == [[35, 48, 60], [110, 123, 135], [185, 198, 210]]
    assert resize(ramp[:2, :2].copy(), 3, 3).tolist() == [[0, 4, 7], [21, 25, 28], [42, 46, 49]]


def test_luma_is_pinned() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 200, 90]]], np.uint8)
    assert to_channels(colours, 1).tolist() == [[76, 150, 29, 131]]


def test_one_channels_mean_and_std_are_its_own() -> None:
    spec = PreprocessSpec(1, 1, 3, (0.0, 0.5, 1.0), (1.0, 0.5, 0.25))
    tensor = preprocess(np.full((1, 1, 3), 255, np.uint8), spec)
    np.testing.assert_allclose(tensor.ravel(), [1.0, 1.0, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4), bool),
        np.zeros(4, np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        np.zeros((4, 4, 0), np.uint8),
        np.zeros((), np.uint8),
    ],
    ids=lambda pixels: f"{pixels.dtype}{pixels.shape}",
)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_no_image_is_a_bad_image(pixels: NDArray[np.uint8], channels: int) -> None:
    with pytest.raises(BadImage):
        preprocess(pixels, PreprocessSpec(2, 2, channels, MEANS[:channels], STDS[:channels]))


@given(images(), specs())
def test_the_numbers_are_those_of_the_plain_formula_to_the_last_bit(
    pixels: NDArray[np.uint8], spec: PreprocessSpec
) -> None:
    # Channels first and scaled all at once: the order in which the shared implementation used to work. Golden vectors,
    # thresholds and baselines of bundles in the field were made with it.
    spec = replace(spec, layout="NHWC", dtype="float32")
    small = resize(to_channels(pixels, spec.channels), spec.height, spec.width).reshape(spec.height, spec.width, -1)
    std = np.asarray(spec.std, np.float32)
    plain = small * (np.float32(1 / 255) / std) - np.asarray(spec.mean, np.float32) / std
    assert preprocess(pixels, spec)[0].tobytes() == plain.tobytes()
