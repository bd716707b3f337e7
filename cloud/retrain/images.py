"""Image files to pixels, and their content hash."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from contract.errors import BadImage

# Whatever its name, a file is opened as one of these only: Pillow gives PostScript to an interpreter, which runs what it says.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """Pixels u8[H,W] (grey) or u8[H,W,3] (RGB), and the SHA-256 of the file's bytes."""

    pixels: NDArray[np.uint8]
    sha256: str


def load_image(file: Path) -> LoadedImage:
    """Return one image: grey unless some pixel has colour, whatever mode the file says. 16-bit grey is scaled to 8 bits.

    Raises:
        BadImage: the file cannot be read, or is no image.
    """
    try:
        data = file.read_bytes()
        # A decompression bomb is an unusable image, not a warning somebody reads later.
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                pixels = _pixels(image)
    except (
        OSError,
        ValueError,
        SyntaxError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no readable image"
        raise BadImage(f"cannot read {file}: {reason}", hint="mend or remove the file") from error
    if pixels.size == 0:
        raise BadImage(f"{file} has no pixels", hint="remove the file")
    return LoadedImage(pixels, hashlib.sha256(data).hexdigest())


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith(("I", "F")):
        wide = np.asarray(image)
        if wide.dtype == np.uint16 or (wide.min() >= 0 and 255 < wide.max() <= 65535):
            return np.asarray(wide.astype(np.uint32) >> 8, np.uint8)
        return np.asarray(np.clip(wide, 0, 255), np.uint8)
    if image.mode in {"1", "L", "LA"}:
        return np.asarray(image.convert("L"), np.uint8)
    pixels = np.asarray(image.convert("RGB"), np.uint8)
    # Many grey cameras save three equal channels; a model with one is smaller and sees the same.
    if (pixels[:, :, 0] == pixels[:, :, 1]).all() and (pixels[:, :, 0] == pixels[:, :, 2]).all():
        return np.ascontiguousarray(pixels[:, :, 0])
    return pixels
