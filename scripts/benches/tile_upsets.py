"""What is done to a grey frame to make it drift: a gain, a slight defocus, dust on the sensor.

Each takes and returns u8[H,W]. The result is not compressed again: a camera's frames reach the statistics as they are.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

# A few dozen soft specks, as dust on a sensor's cover glass casts. Radii are in pixels of a 300x300 frame, about what a tile's
# is, and grow with the geometric mean of the sides of others. How much dust is a choice: this one was set by what it does to
# one peer, the pixel kernel, whose power at 50 frames DESIGN 4 has as .16, and by nothing else. With half these radii nobody in
# the table sees it.
DUST_SEED = 20261120
DUST_SPECKS = 30
_DUST_RADIUS_PX = (2.0, 6.0)
_DUST_OPACITY = (0.3, 0.6)
_DUST_SIDE_PX = 300.0
_BLUR_REACH_PX = 3


def gain(pixels: Pixels, factor: float) -> Pixels:
    """Return `pixels` times `factor`, rounded and clipped at 255, as a camera's digital gain does."""
    return np.asarray(np.clip(np.rint(pixels * factor), 0, 255), np.uint8)


def blur(pixels: Pixels, sigma_px: float) -> Pixels:
    """Return `pixels` under a Gaussian of `sigma_px` (at most 1), rounded: an exact kernel in numpy, edges repeated.

    Pillow's GaussianBlur is three box filters; at 0.6 px that is another shape.
    """
    offsets = np.arange(-_BLUR_REACH_PX, _BLUR_REACH_PX + 1)
    weights = np.exp(-0.5 * (offsets / sigma_px) ** 2)
    weights /= weights.sum()
    padded = np.pad(pixels.astype(np.float64), _BLUR_REACH_PX, mode="edge")
    height, width = pixels.shape
    rows = sum(weight * padded[at : at + height] for at, weight in enumerate(weights))
    both = sum(weight * rows[:, at : at + width] for at, weight in enumerate(weights))
    return np.asarray(np.rint(both), np.uint8)


def dust(pixels: Pixels) -> Pixels:
    """Return `pixels` behind the dust: the same specks at the same relative places of every frame, rounded."""
    return np.asarray(np.rint(pixels * dust_transmission(*pixels.shape)), np.uint8)


@lru_cache(maxsize=1024)
def dust_transmission(height: int, width: int) -> NDArray[np.float64]:
    """Return the share of light that passes the dust, f64[H,W] in 0..1.

    A speck darkens by its opacity, less over the last pixel of its radius and the next; overlaps multiply.
    """
    rng = np.random.default_rng(DUST_SEED)
    across, down = rng.random(DUST_SPECKS), rng.random(DUST_SPECKS)
    radii_px = rng.uniform(*_DUST_RADIUS_PX, DUST_SPECKS) * (height * width) ** 0.5 / _DUST_SIDE_PX
    opacities = rng.uniform(*_DUST_OPACITY, DUST_SPECKS)
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width)[None, :] + 0.5
    passed = np.ones((height, width))
    for x, y, radius_px, opacity in zip(across * width, down * height, radii_px, opacities, strict=True):
        away_px = np.hypot(rows - y, columns - x)
        passed *= 1.0 - opacity * np.clip((radius_px + 1.0 - away_px) / 2.0, 0.0, 1.0)
    passed.flags.writeable = False
    return passed
