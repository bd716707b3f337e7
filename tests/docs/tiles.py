"""Small made-up tiles with masks: a folder a label, JPEG images, a PNG mask of the same stem beside each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIDE_PX = 64
EACH = 16


def make_tiles(folder: Path) -> None:
    """Write 16 images of each of Free, Blowhole (a dark disc) and Crack (a dark stroke), the same at every call."""
    rng = np.random.default_rng(9)
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
    for label in ("Free", "Blowhole", "Crack"):
        (folder / label).mkdir(parents=True)
        for number in range(EACH):
            y, x = rng.integers(16, SIDE_PX - 16, 2)
            mask = {
                "Free": np.zeros_like(rows, dtype=bool),
                "Blowhole": (rows - y) ** 2 + (columns - x) ** 2 < 25,
                "Crack": (abs(rows - y) < 14) & (abs(columns - x - (rows - y) // 2) < 2),
            }[label]
            surface = 140.0 + 12.0 * np.sin(columns / (3.0 + number % 5)) + rng.normal(0.0, 6.0, rows.shape)
            pixels = np.clip(np.where(mask, surface - 70.0, surface), 0.0, 255.0).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number:03d}.jpg", quality=92)
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / label / f"{number:03d}.png")
