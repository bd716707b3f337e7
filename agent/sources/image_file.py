"""A file's bytes to pixels, and every way in which a file may be no usable image."""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from contract.errors import BadImage

U8 = NDArray[np.uint8]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MAX_PIXELS = 40_000_000
MAX_FILE_BYTES = 256 * 1024 * 1024

_PILLOW = r"(PIL|agent\.sources\.image_file)(\.|$)"
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
_WANTED = "use a JPEG, PNG, BMP, TIFF or WebP of one still image"
_TORN = (
    "copy the file again; if a camera or a script writes it in place, let it write to a temporary name and then rename"
)

_ORIENTATION = 0x0112
_TURN_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

# What Pillow's decoders raise on torn or hostile bytes, beside the OSError they document (found by mutating files).
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
)


def read_image(data: bytes, name: str) -> U8:
    """Return the pixels of the image file `data`: u8[H,W] for a grey image, else u8[H,W,3] in RGB.

    Palettes and CMYK become RGB, an alpha channel is dropped, 16-bit grey is scaled (65535 becomes 255). EXIF orientation is
    ignored on purpose: a station's camera is fixed, and a tag that a driver sets by chance must not turn the part around.

    Args:
        data: a whole JPEG, PNG, BMP, TIFF or WebP file.
        name: what to call the file in an error.
    Raises:
        BadImage: empty, torn, no image, animated, over 40 megapixels (refused before it is decoded), or of a pixel type that
            has no certain 8-bit meaning.
    """
    if not data:
        raise BadImage(f"{name} is empty (0 bytes)", hint=_TORN)
    try:
        # Pillow warns about size, EXIF and palettes; each case is either harmless or refused below. The filter stays: to take
        # it back (catch_warnings) is no thread's business, for filters are the process's and cameras have a thread each.
        warnings.filterwarnings("ignore", module=_PILLOW)
        return _decode(data, name)
    except Image.DecompressionBombError as error:
        raise BadImage(
            f"{name} has far more than {MAX_PIXELS // 1_000_000} megapixels", hint="scale it down"
        ) from error
    except UnidentifiedImageError as error:
        raise BadImage(f"{name} is no image this program can read", hint=_WANTED) from error
    except MemoryError as error:
        raise BadImage(f"{name} needs more memory than there is", hint="scale it down") from error
    except _DECODER_ERRORS as error:
        raise BadImage(f"{name} is a damaged image: {error}", hint=_TORN) from error


def read_image_file(path: Path, name: str) -> U8:
    """Return the pixels of the file at `path`; see `read_image`.

    Raises:
        BadImage: as `read_image`, or the file is gone, unreadable, no regular file, or over 256 MiB.
    """
    try:
        state = path.stat()
        # A named pipe or a device called x.png would block for ever.
        if not stat.S_ISREG(state.st_mode):
            raise BadImage(f"{name} is no regular file", hint=_WANTED)
        if state.st_size > MAX_FILE_BYTES:
            raise BadImage(f"{name} is {state.st_size} bytes, over {MAX_FILE_BYTES}", hint="scale it down")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise BadImage(
            f"{name} went away before it was read", hint="leave files in place until they are read"
        ) from error
    except OSError as error:
        raise BadImage(f"{name} cannot be read: {error.strerror}", hint="check its permissions and the disk") from error
    return read_image(data, name)


def part_of(path: Path, folder: Path) -> str:
    """Return the part id of a file: its path below `folder`, with '/' on every system, and always valid Unicode."""
    # As text: pathlib takes the path apart and puts it together again, and this is done for every frame. Below "." is no "./".
    name = str(path).removeprefix(str(folder).rstrip(os.sep) + os.sep).replace(os.sep, "/")
    # A name of undecodable bytes reaches Python as lone surrogates, which neither SQLite nor JSON can store.
    return os.fsencode(name).decode("utf-8", "replace")


def _decode(data: bytes, name: str) -> U8:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise BadImage(
                f"{name} is {width} x {height} pixels, over {MAX_PIXELS // 1_000_000} megapixels", hint="scale it down"
            )
        # A phone's JPEG may carry previews ("MPO"): its first image is the picture. Other formats with several are no one frame.
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            raise BadImage(f"{name} holds several images (animated, or pages)", hint=_WANTED)
        # Unlike Pillow's other readers, the one for TIFF turns the image by its orientation tag while it decodes: turn it back.
        turn_back = _TURN_BACK.get(image.getexif().get(_ORIENTATION, 1)) if image.format == "TIFF" else None
        image.load()
        return _to_u8(image if turn_back is None else image.transpose(turn_back), name, image.format)


def _to_u8(image: Image.Image, name: str, kind: str | None) -> U8:
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and kind == "PNG"):
        wide = np.asarray(image).astype(np.uint32)
        return ((wide * 255 + 32767) // 65535).astype(np.uint8)
    if mode in ("I", "F"):
        raise BadImage(
            f"{name} has 32-bit pixels, whose white level is unknown", hint="save it with 8 or 16 bits a channel"
        )
    if mode == "L":
        # As it lies in Pillow's bytes, without two more copies of a megapixel: nobody writes into a frame.
        return np.asarray(image)
    if mode in ("1", "LA", "La"):
        grey = image.convert("LA") if mode == "La" else image
        return np.asarray(grey.convert("L"))
    if mode == "RGBa":
        image = image.convert("RGBA")
    if mode == "P" and "transparency" in image.info:
        # By way of RGBA, so that the transparent entry keeps its colour.
        image = image.convert("RGBA")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
