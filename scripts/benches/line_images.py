"""Images as a line's camera gives them: real steel where PLUMBLINE_DATA has it, else the product's simulated surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agent.sources.surface import surface
from contract.errors import NotFound
from scripts.benches.loop import steel_images

SMALL = (224, 224)
CAMERA = (800, 1280)
_JPEG_QUALITY = 90
_SEED = 1


@dataclass(frozen=True, slots=True)
class LineImages:
    """Folders of grey JPEG files of `SMALL` and of `CAMERA` size (height, width), and where they are from."""

    small: Path
    camera: Path
    origin: str


def write_line_images(into: Path, count: int) -> LineImages:
    """Write `count` images of each size below `into`.

    The small ones are enlarged to 224x224; a camera's is a mosaic of images enlarged to 400x400, so that its detail is that of
    a real surface and not that of a blurred enlargement.
    """
    try:
        files = sorted(steel_images().glob("*.jpg"))
        pick = np.random.default_rng(_SEED).permutation(len(files))
        tiles = [np.asarray(Image.open(files[at]).convert("L")) for at in pick[: max(count, 8)]]
        origin = f"steel images of {steel_images()}"
    except NotFound:
        tiles = [surface(_SEED, n, 200, 200)[0] for n in range(max(count, 8))]
        origin = "the product's simulated surfaces (no steel images found)"
    images = LineImages(into / "small", into / "camera", origin)
    images.small.mkdir(parents=True)
    images.camera.mkdir()
    for n in range(count):
        _save(images.small / f"part-{n:04d}.jpg", _enlarged(tiles[n], *SMALL))
        _save(images.camera / f"part-{n:04d}.jpg", _mosaic(tiles, n))
    return images


def read_grey(folder: Path) -> list[NDArray[np.uint8]]:
    """Return the pixels of every image in `folder`, u8[H,W]."""
    return [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]


def _mosaic(tiles: list[NDArray[np.uint8]], first: int) -> NDArray[np.uint8]:
    height, width = CAMERA
    side = height // 2
    across = -(-width // side)
    pieces = [_enlarged(tiles[(first + n) % len(tiles)], side, side) for n in range(2 * across)]
    rows = [np.concatenate(pieces[row * across : (row + 1) * across], axis=1) for row in range(2)]
    return np.ascontiguousarray(np.concatenate(rows, axis=0)[:height, :width])


def _enlarged(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).convert("L").resize((width, height), Image.Resampling.BICUBIC))


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    Image.fromarray(pixels).save(path, quality=_JPEG_QUALITY)
