"""One image of a dataset: what is said of it, and its pixels, held or read again when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloud.retrain.images import load_image
from cloud.retrain.masks import MaskFile
from cloud.retrain.run_records import DatasetEntry
from contract.errors import BadDataset, BadImage

# Datasets of less stay in memory, as decoding costs more than it saves; larger ones are read again, an image at a time.
HELD_BYTES = 1 << 29


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image on disk, checked against its hash whenever it is read. `shape` is (H, W) of a grey one or (H, W, 3)."""

    path: Path
    sha256: str
    shape: tuple[int, ...]

    def load(self) -> NDArray[np.uint8]:
        """Return the pixels.

        Raises:
            BadDataset: the file is gone, unreadable or has changed.
        """
        try:
            image = load_image(self.path)
        except BadImage as error:
            raise BadDataset(error.message, hint="the dataset needs it: put it back, or start again") from error
        if image.sha256 != self.sha256:
            raise BadDataset(f"{self.path} has changed since it was first read", hint="put it back, or start again")
        return image.pixels


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a dataset. `image`: its pixels, u8[H,W] or u8[H,W,3], or where they lie. `mask`: its defects' area."""

    image: NDArray[np.uint8] | ImageFile
    entry: DatasetEntry
    mask: MaskFile | None = None

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The pixels; ask once and keep them while they are needed, as a large dataset's are read from disk.

        Raises:
            BadDataset: the file is gone or has changed.
        """
        return self.image.load() if isinstance(self.image, ImageFile) else self.image

    @property
    def shape(self) -> tuple[int, ...]:
        """The pixels' shape, without reading them."""
        return self.image.shape


class PixelStore:
    """Keeps pixels in memory up to a number of bytes, and the names of the files of the rest."""

    def __init__(self, held_bytes: int) -> None:
        self._left = held_bytes

    def keep(self, path: Path, sha256: str, pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | ImageFile:
        """Return the pixels while there is room, else where they lie."""
        if pixels.nbytes > self._left:
            return ImageFile(path, sha256, pixels.shape)
        self._left -= pixels.nbytes
        return pixels
