"""What cameras do to images, at five severities, the same for the same seed. Numpy only, so that the gate stays pure.

Images are u8[H,W] or u8[H,W,3]; so are results.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud.gate import camera_faults

Image = NDArray[np.uint8]
SEVERITIES = (1, 2, 3, 4, 5)


class Corruption(str, Enum):
    """A kind of corruption."""

    DEFOCUS = "defocus"
    NOISE = "noise"
    DARKER = "darker"
    BRIGHTER = "brighter"
    CONTRAST = "contrast"
    VIGNETTE = "vignette"
    DUST = "dust"
    SMEAR = "smear"
    HAZE = "haze"
    BANDING = "banding"
    BLOCKING = "blocking"
    MISALIGNED = "misaligned"


def corrupt(image: Image, kind: Corruption, severity: int, seed: int) -> Image:
    """Return `image` corrupted.

    Args:
        severity: 1 (mild) to 5 (severe).
        seed: what chance decides (noise, where dust lies).
    Raises:
        ValueError: the severity is none of 1 to 5.
    """
    if severity not in SEVERITIES:
        raise ValueError(f"severity {severity} is none of 1 to {SEVERITIES[-1]}")
    return _KINDS[kind](image, severity, np.random.default_rng((seed, severity)))


def mean_blur(image: Image, size: int) -> Image:
    """Return the mean of each pixel's `size` x `size` neighbourhood (odd; edges repeated), rounded: a lens out of focus."""
    reach = size // 2
    pad = [(reach, reach), (reach, reach)] + [(0, 0)] * (image.ndim - 2)
    wide = np.pad(image, pad, mode="edge").astype(np.uint32)
    height, width = image.shape[:2]
    total = np.zeros(image.shape, np.uint32)
    for down in range(size):
        for right in range(size):
            total += wide[down : down + height, right : right + width]
    return np.asarray((total + size * size // 2) // (size * size), np.uint8)


def _defocus(image: Image, severity: int, generator: np.random.Generator) -> Image:
    blurred = image
    # Repeated 3x3 means: the first is the demo's slightly defocused lens, five are nearly a Gaussian of 1.8 pixels.
    for _ in range(severity):
        blurred = mean_blur(blurred, 3)
    return blurred


def _noise(image: Image, severity: int, generator: np.random.Generator) -> Image:
    sigma = (2.5, 5.0, 8.0, 13.0, 20.0)[severity - 1]
    return _to_bytes(image + generator.normal(0, sigma, image.shape))


def _darker(image: Image, severity: int, generator: np.random.Generator) -> Image:
    return _to_bytes(image * (0.85, 0.7, 0.6, 0.5, 0.4)[severity - 1])


def _brighter(image: Image, severity: int, generator: np.random.Generator) -> Image:
    return _to_bytes(image * (1.1, 1.2, 1.3, 1.5, 1.8)[severity - 1])


def _contrast(image: Image, severity: int, generator: np.random.Generator) -> Image:
    mean = float(image.mean())
    return _to_bytes((image - mean) * (0.85, 0.7, 0.55, 0.4, 0.25)[severity - 1] + mean)


def _vignette(image: Image, severity: int, generator: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    down = np.linspace(-1, 1, height)[:, None]
    right = np.linspace(-1, 1, width)[None, :]
    fall = 1 - (0.15, 0.3, 0.45, 0.6, 0.75)[severity - 1] * (down**2 + right**2) / 2
    return _to_bytes(image * (fall if image.ndim == 2 else fall[:, :, None]))


def _dust(image: Image, severity: int, generator: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    down, right = np.ogrid[:height, :width]
    shade = np.ones((height, width))
    for _ in range(3 * severity):
        radius = generator.uniform(0.01, 0.04) * min(height, width)
        distance = (down - generator.uniform(0, height)) ** 2 + (right - generator.uniform(0, width)) ** 2
        shade *= 1 - 0.6 * np.exp(-distance / (2 * radius**2))
    return _to_bytes(image * (shade if image.ndim == 2 else shade[:, :, None]))


def _to_bytes(values: NDArray[np.floating[Any]]) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _rounded(fault: Callable[[Image, int, np.random.Generator], NDArray[Any]]) -> Callable[..., Image]:
    return lambda image, severity, generator: _to_bytes(fault(image, severity, generator))


_KINDS: dict[Corruption, Callable[[Image, int, np.random.Generator], Image]] = {
    Corruption.DEFOCUS: _defocus,
    Corruption.NOISE: _noise,
    Corruption.DARKER: _darker,
    Corruption.BRIGHTER: _brighter,
    Corruption.CONTRAST: _contrast,
    Corruption.VIGNETTE: _vignette,
    Corruption.DUST: _dust,
    Corruption.SMEAR: _rounded(camera_faults.smear),
    Corruption.HAZE: _rounded(camera_faults.haze),
    Corruption.BANDING: _rounded(camera_faults.banding),
    Corruption.BLOCKING: _rounded(camera_faults.blocking),
    Corruption.MISALIGNED: _rounded(camera_faults.misaligned),
}
