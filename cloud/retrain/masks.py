"""Areas of defects: drawn from polygons and run lengths to mask files, and read back."""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cloud.retrain.images import load_image
from cloud.retrain.layouts.found import Polygon, Shape
from cloud.retrain.run_folder import publish
from contract.errors import BadDataset, BadImage

CACHE = ".plumbline-masks"
_BRIGHT = 128


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A mask on disk: an image whose pixels of 128 and more are the defect, and the hash of its bytes."""

    path: Path
    sha256: str

    def load(self) -> NDArray[np.bool_]:
        """Return bool[H,W], True where the defect is.

        Raises:
            BadDataset: the file is gone, unreadable or has changed.
        """
        try:
            image = load_image(self.path)
        except BadImage as error:
            raise BadDataset(
                error.message, hint="the dataset needs this mask: put it back, or make the dataset again"
            ) from error
        if image.sha256 != self.sha256:
            raise BadDataset(f"{self.path} has changed since the dataset was made", hint="make the dataset again")
        pixels = image.pixels if image.pixels.ndim == 2 else image.pixels.max(2)
        return np.asarray(pixels >= _BRIGHT)


def read_mask(path: Path, size: tuple[int, int], image: str) -> MaskFile:
    """Return the mask of an image of `size` (height, width).

    Raises:
        BadDataset: it cannot be read, or is of another size.
    """
    try:
        loaded = load_image(path)
    except BadImage as error:
        raise BadDataset(error.message, hint=error.hint) from error
    if loaded.pixels.shape[:2] != size:
        height, width = loaded.pixels.shape[:2]
        raise BadDataset(
            f"the mask {path} is {width} x {height} pixels, its image {image} is {size[1]} x {size[0]}",
            hint="masks are of their image's size",
        )
    return MaskFile(path, loaded.sha256)


def draw(shapes: Sequence[Shape], height: int, width: int, where: str) -> NDArray[np.uint8]:
    """Return u8[height,width], 255 inside any of the shapes.

    Raises:
        BadDataset: run lengths of another size than the image.
    """
    canvas = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(canvas)
    runs: NDArray[np.bool_] = np.zeros((height, width), bool)
    for shape in shapes:
        if isinstance(shape, Polygon):
            across, down = (width, height) if shape.relative else (1.0, 1.0)
            # Pillow draws through pixel centres: half a pixel less keeps an area what it is.
            pen.polygon([(x * across - 0.5, y * down - 0.5) for x, y in shape.points], fill=255)
        elif (shape.height, shape.width) != (height, width):
            raise BadDataset(
                f"{where}: run lengths of {shape.width} x {shape.height} on an image of {width} x {height} pixels",
                hint="export the labels again",
            )
        else:
            on = np.arange(len(shape.counts)) % 2 == 1
            runs |= np.repeat(on, shape.counts).reshape(width, height).T
    return np.where(runs, np.uint8(255), np.asarray(canvas, np.uint8)).astype(np.uint8)


def runs_of(mask: NDArray[np.bool_]) -> list[int]:
    """Return COCO's run lengths of a mask bool[H,W]."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate(([0], edges, [flat.size]))
    counts = [int(n) for n in np.diff(bounds)]
    return [0, *counts] if flat.size and flat[0] else counts


def store_drawn(root: Path, mask: NDArray[np.uint8]) -> str:
    """Write a mask into the cache of an images folder, named by its content; return its path relative to `root`.

    Raises:
        BadDataset: the folder cannot be written.
    """
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    data = buffer.getvalue()
    relative = f"{CACHE}/{hashlib.sha256(data).hexdigest()[:24]}.png"
    file = root / relative
    try:
        if not file.is_file() or file.stat().st_size != len(data):
            file.parent.mkdir(exist_ok=True)
            temporary = file.with_suffix(f".{secrets.token_hex(4)}.tmp")
            temporary.write_bytes(data)
            publish(temporary, file)
    except OSError as error:
        raise BadDataset(
            f"cannot write {file}: {error.strerror}", hint="masks are kept beside the images: make the folder writable"
        ) from error
    return relative
