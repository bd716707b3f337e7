"""What a plant does to a camera and to a part under it: smear, haze, flicker, compression, a fixture that gives way.

Images are u8[H,W] or u8[H,W,3]; results f64 of the same shape, not yet rounded or clipped. `severity` is 1 to 5.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]

# The luminance table of JPEG: how coarsely each of the 8 x 8 frequencies is stored at quality 50. ITU-T T.81, table K.1.
_QUANTA = np.array(
    (
        (16, 11, 10, 16, 24, 40, 51, 61),
        (12, 12, 14, 19, 26, 58, 60, 55),
        (14, 13, 16, 24, 40, 57, 69, 56),
        (14, 17, 22, 29, 51, 87, 80, 62),
        (18, 22, 37, 56, 68, 109, 103, 77),
        (24, 35, 55, 64, 81, 104, 113, 92),
        (49, 64, 78, 87, 103, 121, 120, 101),
        (72, 92, 95, 98, 112, 100, 103, 99),
    ),
    np.float64,
)
_HAZE_GREY = 220.0


def smear(image: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """The part moves while the shutter is open, askew to the image's edges."""
    side = min(image.shape[:2])
    length = 1 + severity + round((0.005, 0.01, 0.02, 0.035, 0.055)[severity - 1] * side)
    angle = math.radians(generator.uniform(20, 70)) * generator.choice((-1, 1))
    total = np.zeros(image.shape)
    for step in range(length):
        total += _moved(image, round(step * math.sin(angle)), round(step * math.cos(angle)))
    return np.asarray(total / length)


def haze(image: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """Oil mist or condensation on the lens: everything nearer to one light grey."""
    veil = (0.1, 0.2, 0.3, 0.45, 0.6)[severity - 1]
    return np.asarray(image * (1 - veil) + _HAZE_GREY * veil)


def banding(image: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """A lamp that flickers with the mains, under a rolling shutter: bands lighter and darker from top to bottom."""
    depth = (0.04, 0.08, 0.13, 0.2, 0.3)[severity - 1]
    bands, phase = generator.uniform(3, 7), generator.uniform(0, 2 * math.pi)
    rows = 1 + depth * np.sin(np.linspace(0, 2 * math.pi * bands, image.shape[0]) + phase)
    return np.asarray(image * rows.reshape(-1, *[1] * (image.ndim - 1)))


def blocking(image: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """A network camera that compresses hard: blocks of 8 x 8 pixels with coarse frequencies, each channel as luminance.

    Source: ITU-T T.81 (JPEG), without its entropy coding, which loses nothing.
    """
    quanta = _QUANTA * (1.0, 2.0, 3.5, 6.0, 10.0)[severity - 1]
    height, width = image.shape[:2]
    pad = [(0, -height % 8), (0, -width % 8)] + [(0, 0)] * (image.ndim - 2)
    whole = np.pad(image, pad, mode="edge").astype(np.float64) - 128
    planes = whole.reshape(whole.shape[0] // 8, 8, whole.shape[1] // 8, 8, -1).transpose(4, 0, 2, 1, 3)
    stored = np.rint(_DCT @ planes @ _DCT.T / quanta) * quanta
    shown = (_DCT.T @ stored @ _DCT).transpose(1, 3, 2, 4, 0).reshape(whole.shape)
    return np.asarray(shown[:height, :width] + 128)


def misaligned(image: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """The part lies turned and shifted in its fixture; what comes into view repeats the edge."""
    height, width = image.shape[:2]
    angle = math.radians((1, 2, 4, 7, 10)[severity - 1]) * generator.choice((-1, 1))
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    down, right = np.mgrid[:height, :width].astype(np.float64)
    down, right = down - (height - 1) / 2, right - (width - 1) / 2
    shift_down, shift_right = share * height * generator.choice((-1, 1)), share * width * generator.choice((-1, 1))
    rows = down * math.cos(angle) - right * math.sin(angle) + (height - 1) / 2 + shift_down
    columns = down * math.sin(angle) + right * math.cos(angle) + (width - 1) / 2 + shift_right
    return _between(image, np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1))


def _between(image: Pixels, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Pixels:
    """Return the image at fractional places, bilinearly."""
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    bottom, far = np.minimum(top + 1, image.shape[0] - 1), np.minimum(left + 1, image.shape[1] - 1)
    down, right = rows - top, columns - left
    if image.ndim == 3:
        down, right = down[:, :, None], right[:, :, None]
    upper = image[top, left] * (1 - right) + image[top, far] * right
    lower = image[bottom, left] * (1 - right) + image[bottom, far] * right
    return np.asarray(upper * (1 - down) + lower * down)


def _moved(image: Pixels, down: int, right: int) -> Pixels:
    height, width = image.shape[:2]
    rows = np.clip(np.arange(height) + down, 0, height - 1)
    columns = np.clip(np.arange(width) + right, 0, width - 1)
    return np.asarray(image[rows][:, columns])


def _dct() -> NDArray[np.float64]:
    place, frequency = np.arange(8), np.arange(8)[:, None]
    basis = np.cos((2 * place + 1) * frequency * np.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return np.asarray(basis)


_DCT = _dct()
