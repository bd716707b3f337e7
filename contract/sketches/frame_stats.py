"""What a frame looks like in twelve numbers, a 32x32 thumbnail and a hash.

numpy and Pillow, 150 to 350 us for 224x224 grey pixels and twice that for 1280x800; OpenCV weighs 150 MB. Every statistic is
scaled to about unit range, so that the sketches' fixed point holds it:

    mean, spread, p05, p95           grey levels / 255
    entropy                          bits / 8
    dark, saturated                  square root of the share of pixels below level 10, above level 245: of plain shares one
                                     odd frame outweighs a whole window
    specks                           how much further the darkest pixel of a block of 8x8 lies from its mean than the brightest,
                                     over their sum: rises with dust on lens or glass, falls with glints
    sharpness                        ln(1 + Laplacian energy) / 4: falls with defocus, rises with sensor noise
    grain                            ln((1 + Laplacian energy) / (1 + gradient energy)) / 4: the same, whatever the contrast
    vignette                         (centre - corners) of the thumbnail
    tilt                             size of the thumbnail's linear brightness slope, edge to edge
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contract.preprocess import to_channels
from contract.sketches.moments import N_STATISTICS, STATISTICS
from contract.sketches.projection import THUMBNAIL_SIDE, matmul_unthreaded

__all__ = ["STATISTICS", "FrameStats", "frame_stats"]

_DARK_BELOW = 10
_SATURATED_ABOVE = 245
# A larger frame is thinned for grey levels and thumbnail; sharpness is taken at full resolution, since thinning would alias the
# very detail it measures, in stripes of whole rows spread over the height: fog may begin at an edge, and cost stays the same.
_MAX_SIDE = 512
_STRIPES = 8
_STRIPE_PIXELS = 8_192
_STRIPE_ROWS = 8
_BLOCK = 8
_HASHED_PIXELS = 4096
# A frame of 224x224 in one piece, and still within a processor's cache.
_BAND_PIXELS = 51_200
# A row of so many pixels adds up to less than 2**24, which f32 holds to the last one.
_EXACT_WIDTH = (1 << 24) // 255

_LEVELS = np.arange(256, dtype=np.float64) / 255.0
_LEVELS_SQUARED = _LEVELS * _LEVELS
_QUANTILES = np.array((0.05, 0.95))


@dataclass(frozen=True, slots=True)
class FrameStats:
    """`values` f64[12] in the order of `STATISTICS`; `thumbnail` f32[32,32] in 0..1; `frame_hash` u64, equal for equal frames."""

    values: NDArray[np.float64]
    thumbnail: NDArray[np.float32]
    frame_hash: int


def frame_stats(pixels: NDArray[np.uint8]) -> FrameStats:
    """Return the statistics of one frame.

    Args:
        pixels: u8[H,W] or u8[H,W,3], 1x1 or larger.
    Raises:
        BadImage: another dtype or shape, or no pixels.
    """
    height, width = pixels.shape[:2] if pixels.ndim >= 2 else (1, 1)
    step = -(-max(height, width) // _MAX_SIDE)
    grey = to_channels(_thinned(pixels, step) if step > 1 else pixels, 1)
    shades = grey.astype(np.float32)
    thumbnail = _thumbnail(shades)
    laplacian, gradient, specks = _details(grey, shades, height) if step == 1 else _details_of_stripes(pixels)

    flat = grey.reshape(-1)
    # Pillow counts bytes as they are; numpy's bincount widens each to eight first, which takes two to three times as long.
    counts = np.array(Image.fromarray(grey).histogram(), np.intp)
    share = counts / flat.size
    mean = float(share @ _LEVELS)
    variance = max(float(share @ _LEVELS_SQUARED) - mean * mean, 0.0)
    present = share[share > 0.0]
    low, high = _quantiles(share)
    blend, slopes = _shading()
    vignette = float(blend @ thumbnail.reshape(-1))
    across, down = (slopes @ thumbnail.reshape(-1)).tolist()

    values = np.empty(N_STATISTICS)
    values[:] = (
        mean,
        math.sqrt(variance),
        -float(present @ np.log2(present)) / 8.0,
        math.sqrt(share[:_DARK_BELOW].sum()),
        math.sqrt(share[_SATURATED_ABOVE + 1 :].sum()),
        low,
        specks,
        high,
        math.log1p(laplacian) / 4.0,
        math.log((1.0 + laplacian) / (1.0 + gradient)) / 4.0,
        vignette,
        math.hypot(across, down),
    )
    # A frozen camera repeats every bit; counts of all pixels and the values of some tell two live frames apart.
    digest = hashlib.blake2b(counts.tobytes(), digest_size=8)
    digest.update(flat[:: -(-flat.size // _HASHED_PIXELS)].tobytes())
    return FrameStats(values, thumbnail, int.from_bytes(digest.digest(), "little"))


def _thinned(pixels: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Return every `step`-th pixel of every `step`-th row, contiguous."""
    thin = pixels[::step, ::step]
    if thin.ndim == 2:
        return np.ascontiguousarray(thin)
    copy = np.empty(thin.shape, np.uint8)
    # Channel by channel: numpy copies pixels of three bytes four times as slowly.
    for channel in range(thin.shape[2]):
        copy[:, :, channel] = thin[:, :, channel]
    return copy


def _quantiles(share: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the 5, 50 and 95 % points in 0..1, interpolated inside a grey level so that they move smoothly."""
    cumulated = np.cumsum(share)
    points = []
    # Three numbers: plain floats are faster than arrays of three.
    for quantile, found in zip(_QUANTILES.tolist(), cumulated.searchsorted(_QUANTILES).tolist(), strict=True):
        level = min(found, 255)
        inside = float(share[level])
        within = (quantile - float(cumulated[level]) + inside) / inside if inside > 0.0 else 0.5
        points.append(min(max((level - 0.5 + within) / 255.0, 0.0), 1.0))
    return tuple(points)


def _details_of_stripes(pixels: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Return what `_details` returns, over stripes of a large frame at its full resolution; over all of it when it is low."""
    height, width = pixels.shape[:2]
    rows = max(_STRIPE_PIXELS // width, _STRIPE_ROWS)
    if rows * _STRIPES < height:
        tops = [(2 * stripe + 1) * (height - rows) // (2 * _STRIPES) for stripe in range(_STRIPES)]
        stack = np.concatenate([pixels[top : top + rows] for top in tops])
    else:
        rows, stack = height, np.ascontiguousarray(pixels)
    grey = to_channels(stack, 1)
    return _details(grey, grey.astype(np.float32), rows)


def _details(grey: NDArray[np.uint8], shades: NDArray[np.float32], rows: int) -> tuple[float, float, float]:
    """Return (Laplacian energy, gradient energy, specks): the means of those of the stripes.

    Args:
        grey: u8[S * rows,W], stripes one below another, so that each step is one call for all of them.
        shades: the same as f32.
    """
    stripes, width = len(grey) // rows, grey.shape[1]
    sums = _row_squares(shades).reshape(3, stripes, rows)
    # What lies between two stripes is no part of either.
    sums[1, :, -1] = sums[2, :, 0] = sums[2, :, -1] = 0.0
    # Whole numbers, so that any order adds up to the same.
    across, down, bends = sums.sum(axis=2, dtype=np.float64).tolist()
    steps, falls, inner = rows * (width - 1), (rows - 1) * width, (rows - 2) * (width - 2)
    laplacian = gradient = specks = 0.0
    # One after another: the order of additions is part of what the sketches of a fleet agree on.
    for step, fall, bend, speck in zip(across, down, bends, _specks(grey, shades, rows), strict=True):
        laplacian += bend / inner if min(rows, width) >= 3 else 0.0
        gradient += (step / steps if steps else 0.0) + (fall / falls if falls else 0.0)
        specks += speck
    return laplacian / stripes, gradient / stripes, specks / stripes


def _specks(grey: NDArray[np.uint8], shades: NDArray[np.float32], rows: int) -> list[float]:
    """Return -1..1 of each stripe of `rows`: above 0 where dark points stand out of their surroundings more than bright ones.

    0 where a stripe is too small for a block.
    """
    stripes, width = len(grey) // rows, grey.shape[1]
    across, down = width // _BLOCK, rows // _BLOCK
    if min(across, down) == 0:
        return [0.0] * stripes
    inner, shades = grey[:, : across * _BLOCK], shades[:, : across * _BLOCK]
    if rows % _BLOCK:
        inner = inner.reshape(stripes, rows, -1)[:, : down * _BLOCK].reshape(stripes * down * _BLOCK, -1)
        shades = shades.reshape(stripes, rows, -1)[:, : down * _BLOCK].reshape(stripes * down * _BLOCK, -1)
    # As f32 in half the time, and exact as long as a white row is.
    lines = np.einsum("ij->i", shades) if width <= _EXACT_WIDTH else inner.sum(axis=1, dtype=np.uint32)
    total = lines.reshape(stripes, -1).sum(axis=1, dtype=np.float64).tolist()
    least, most = (
        _of_blocks(inner, extreme).reshape(stripes, -1).sum(axis=1, dtype=np.uint32).tolist()
        for extreme in (np.minimum, np.maximum)
    )
    blocks = across * down
    found: list[float] = []
    for darks, brights, pixels in zip(least, most, total, strict=True):
        dark, bright = pixels / _BLOCK**2 - darks, brights - pixels / _BLOCK**2
        # One grey level a block in the denominator: in a flat frame the noise of the last bit means nothing.
        found.append((dark - bright) / (blocks + dark + bright))
    return found


def _of_blocks(grey: NDArray[np.uint8], extreme: np.ufunc) -> NDArray[np.uint8]:
    """Return u8[N], the least (or greatest) pixel of each of N blocks of 8x8; sides of `grey` are multiples of 8."""
    blocks: NDArray[np.uint8] = extreme.reduce(grey.reshape(-1, _BLOCK, grey.shape[1]), axis=1).reshape(-1)
    # Neighbours, three times: numpy's own reduction of eight bytes in a row takes four times as long.
    for _ in range(3):
        blocks = extreme(blocks[0::2], blocks[1::2])
    return blocks


def _row_squares(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return f32[3,H] of f32[H,W]: each row's sum of squares of differences to the right, to the row below, of Laplacians.

    Of the second the last row is 0, of the third the first and the last.

    Differences are taken along the flat pixels, which is four times as fast as row by row; what wraps around a row's end is
    left out of the sums. Some rows at a time: what lies in between then fits the processor's cache. In one piece of memory: when
    it is given back glibc raises its threshold to it, so that from the next frame on it is no fresh pages, at .4 us for each.
    """
    height, width = grey.shape
    across, down, laplacian = sums = np.zeros((3, height), np.float32)
    rows = max(_BAND_PIXELS // width - 2, 1)
    steps, falls, bends = np.empty((3, min(rows + 2, height) * width), np.float32)
    for top in range(0, height, rows):
        end = min(top + rows, height)
        # One row more on each side, where there is one: a Laplacian looks up and down.
        first, last = max(top - 1, 0), min(end + 1, height)
        flat = grey[first:last].reshape(-1)
        step, fall = steps[: flat.size], falls[: flat.size - width]
        np.subtract(flat[1:], flat[:-1], out=step[:-1])
        step[-1] = 0.0
        np.subtract(flat[width:], flat[:-width], out=fall)
        _sum_squares(step.reshape(-1, width)[top - first : end - first, :-1], across[top:end])
        below = fall.reshape(-1, width)[top - first :][: end - top]
        _sum_squares(below, down[top : top + len(below)])
        if last - first < 3:
            continue
        inner = slice(width, (last - first - 1) * width)
        bend = bends[: inner.stop - width]
        np.subtract(fall[width:], fall[:-width], out=bend)
        bend += step[inner]
        bend -= step[width - 1 : inner.stop - 1]
        _sum_squares(bend.reshape(-1, width)[:, 1:-1], laplacian[first + 1 : last - 1])
    return sums


def _sum_squares(rows: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    # Not a BLAS dot: that wakes threads, which wait milliseconds for a busy core to save microseconds.
    np.einsum("ij,ij->i", rows, rows, out=out)


def _thumbnail(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = grey.shape
    rows = _block_rows(height)
    # Blocks that leave no row out lie one after another already.
    blocks = grey.reshape(THUMBNAIL_SIDE, -1, width) if height % THUMBNAIL_SIDE == 0 else grey[rows]
    lines = np.einsum("ijk->ik", blocks)
    lines *= np.float32(1.0 / (255 * rows.shape[1]))
    return matmul_unthreaded(lines, _area_weights(width))


@lru_cache(maxsize=16)
def _block_rows(height: int) -> NDArray[np.intp]:
    """Return the rows of each of 32 equally high blocks, intp[32,max(height // 32, 1)]; a few rows between blocks are skipped."""
    starts = np.arange(THUMBNAIL_SIDE) * height // THUMBNAIL_SIDE
    return np.asarray(starts[:, None] + np.arange(max(height // THUMBNAIL_SIDE, 1)), np.intp)


@lru_cache(maxsize=16)
def _area_weights(size: int) -> NDArray[np.float32]:
    """Return f32[size,32]: how much each pixel of a line lends to each of 32 equal parts of it; columns sum to 1."""
    edges = np.linspace(0.0, size, THUMBNAIL_SIDE + 1)
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel[None, :] + 1) - np.maximum(edges[:-1, None], pixel[None, :])
    weights = np.maximum(overlap, 0.0)
    return np.ascontiguousarray((weights / weights.sum(axis=1, keepdims=True)).T, np.float32)


@lru_cache(maxsize=1)
def _shading() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights f32[1024] of centre minus corners, and f32[2,1024] of the slope across and down, edge to edge."""
    axis = (np.arange(THUMBNAIL_SIDE) + 0.5) / THUMBNAIL_SIDE * 2.0 - 1.0
    x, y = np.meshgrid(axis, axis)
    radius = np.hypot(x, y)
    centre, corners = radius < 0.5, radius > 1.0
    blend = centre / centre.sum() - corners / corners.sum()
    slopes = np.stack((x, y)).reshape(2, -1) * (2.0 / float((x * x).sum()))
    return np.ascontiguousarray(blend.reshape(-1), np.float32), np.ascontiguousarray(slopes, np.float32)
