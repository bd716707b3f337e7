"""Small labelled pictures that a small model learns in seconds: a good surface, one with a scratch, one with a stain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cloud.retrain.job import TrainJob
from cloud.retrain.run_records import Recipe

LABELS = ("good", "scratch", "stain")
QUICK = Recipe(epochs=2, min_steps=70, warm_steps=25, batch_size=16, shift_px=2, warm_pull=0.4)


def picture(label: str, seed: int, px: int = 40) -> NDArray[np.uint8]:
    """Return one grey picture."""
    generator = np.random.default_rng((LABELS.index(label), seed))
    pixels = generator.normal(110, 6, (px, px))
    at = int(generator.integers(8, px - 8))
    if label == "scratch":
        pixels[at - 1 : at + 1, 4:-4] += 110
    if label == "stain":
        pixels[at - 6 : at + 6, at - 6 : at + 6] -= 70
    return np.clip(pixels, 0, 255).astype(np.uint8)


def write_folders(root: Path, per_label: int = 24) -> Path:
    """Write pictures in layout "folders"."""
    for label in LABELS:
        folder = root / label
        folder.mkdir(parents=True)
        for seed in range(per_label):
            Image.fromarray(picture(label, seed)).save(folder / f"{label}{seed:02d}.png")
    return root


def write_prefix(root: Path, per_label: int = 6) -> Path:
    """Write pictures in layout "prefix"."""
    root.mkdir(parents=True)
    for label in LABELS:
        for seed in range(per_label):
            Image.fromarray(picture(label, seed)).save(root / f"{label}_{seed}.png")
    return root


def quick_job(data: Path, out: Path) -> TrainJob:
    """Return a job of a few seconds."""
    return TrainJob(out=str(out), data=str(data), recipe=QUICK, calibration_share=0.2, threads=1, plots=False)
