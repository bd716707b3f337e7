"""Pillow's antialiased triangle filter as integers: what `kernels/preprocess.cu` runs and Pillow itself runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.preprocess import resize

PRECISION_BITS = 22


@dataclass(frozen=True, slots=True)
class TriangleFilter:
    """How each output pixel of one axis is summed: `counts[i]` inputs from `starts[i]`, times `weights[i]` / 2**22.

    starts, counts: i32[out]. weights: i32[out, taps], zero beyond `counts`.
    """

    starts: NDArray[np.int32]
    counts: NDArray[np.int32]
    weights: NDArray[np.int32]


def triangle_filter(in_size: int, out_size: int) -> TriangleFilter:
    """Return the filter that takes `in_size` pixels to `out_size`, both >= 1.

    Every float operation is Pillow's, in Pillow's order: a sum taken in another order can round one weight otherwise.

    Source: Pillow, libImaging/Resample.c: precompute_coeffs, bilinear_filter, normalize_coeffs_8bpc.
    """
    scale = in_size / out_size
    stretch = max(scale, 1.0)
    support = 1.0 * stretch
    taps = int(np.ceil(support)) * 2 + 1
    centres = (np.arange(out_size) + 0.5) * scale
    starts = np.maximum((centres - support + 0.5).astype(np.int32), 0)
    counts = np.minimum((centres + support + 0.5).astype(np.int32), in_size) - starts
    steps = np.arange(taps)
    distance = np.abs((steps[None, :] + starts[:, None] - centres[:, None] + 0.5) * (1.0 / stretch))
    heights = np.where((distance < 1.0) & (steps[None, :] < counts[:, None]), 1.0 - distance, 0.0)
    totals = np.zeros(out_size)
    for tap in range(taps):
        totals += heights[:, tap]
    weights = np.divide(heights, totals[:, None], out=heights, where=totals[:, None] != 0.0)
    fixed = (0.5 + weights * (1 << PRECISION_BITS)).astype(np.int32)  # a triangle has no negative weights
    return TriangleFilter(starts, counts.astype(np.int32), np.where(steps < counts[:, None], fixed, 0).astype(np.int32))


def resize_axis(pixels: NDArray[np.uint8], out_size: int, axis: int) -> NDArray[np.uint8]:
    """Return `pixels` with `axis` (0 or 1) resized by the same tables and integers as the CUDA kernels: their reference."""
    if pixels.shape[axis] == out_size:
        return pixels
    filter_ = triangle_filter(pixels.shape[axis], out_size)
    moved = np.moveaxis(pixels, axis, -1)
    sums = np.full((*moved.shape[:-1], out_size), 1 << (PRECISION_BITS - 1), np.int32)
    for tap in range(filter_.weights.shape[1]):
        # Weights beyond an output's count are zero, so what is read there does not matter.
        taken = np.minimum(filter_.starts + tap, moved.shape[-1] - 1)
        sums += moved[..., taken].astype(np.int32) * filter_.weights[:, tap]
    small = np.clip(sums >> PRECISION_BITS, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(small, -1, axis))


def resize_integers(pixels: NDArray[np.uint8], height: int, width: int, *, down_first: bool) -> NDArray[np.uint8]:
    """Return u8[H,W] or u8[H,W,3] resized in two passes, each rounded to u8, in the order asked for."""
    if down_first:
        return resize_axis(resize_axis(pixels, height, 0), width, 1)
    return resize_axis(resize_axis(pixels, width, 1), height, 0)


def pillow_resizes_down_first(in_height: int, in_width: int, height: int, width: int) -> bool | None:
    """Return whether the installed Pillow resizes the vertical axis first for these sizes; None: it does neither order.

    Which pass goes first changes results by one step, and differs between Pillow's versions: always across in 12.3, and by the
    sizes in 13.0. So Pillow is asked, by example, instead of being second-guessed.
    """
    if in_height == height or in_width == width:
        return False
    noise = np.random.default_rng(0).integers(0, 256, (in_height, in_width), dtype=np.uint8)
    wanted = resize(noise, height, width)
    for down_first in (False, True):
        if np.array_equal(resize_integers(noise, height, width, down_first=down_first), wanted):
            return down_first
    return None
