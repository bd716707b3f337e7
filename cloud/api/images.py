"""Image bytes from a station to pixels."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contract.activation_map import PNG_KEYWORD, ActivationMap, decode_map
from contract.errors import BadImage

_FORMATS = ("PNG", "JPEG")
_MAX_PIXELS = 40_000_000
_PNG = b"\x89PNG\r\n\x1a\n"
_WORDS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf")


def read_pixels(data: bytes) -> NDArray[np.uint8]:
    """Return u8[H,W] or u8[H,W,3] of a PNG or JPEG.

    Raises:
        BadImage: it is neither, is torn, has more than 40 million pixels, or needs more memory than there is.
    """
    with _opened(data) as image:
        return np.asarray(image if image.mode == "L" else image.convert("RGB"))


def count_pixels(data: bytes) -> int:
    """Return how many pixels a PNG or JPEG says it has; nothing is decoded.

    Raises:
        BadImage: it is neither, or has more than 40 million.
    """
    with _opened(data) as image:
        return image.width * image.height


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            # From before it is opened: there Pillow speaks of size, which is refused below with words of our own.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                if image.width * image.height > _MAX_PIXELS:
                    size = f"{image.width} x {image.height} pixels"
                    raise BadImage(f"{size} are over {_MAX_PIXELS // 1_000_000} megapixels", hint="scale it down")
                yield image
    except Image.DecompressionBombError as error:
        raise BadImage(f"far more than {_MAX_PIXELS // 1_000_000} megapixels", hint="scale it down") from error
    except MemoryError as error:
        raise BadImage("the image needs more memory than there is", hint="scale it down") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise BadImage(f"{len(data)} bytes are no usable PNG or JPEG", hint="send the frame as PNG") from error


def without_words(data: bytes) -> bytes:
    """Return a PNG without its chunks of text, which tell the model's answer; whatever is no PNG as it is.

    Whoever labels a frame is not to be told. Source: PNG (third edition), 5.3 "Chunk layout" and 11.3.3 "Textual information".
    """
    if not data.startswith(_PNG):
        return data
    kept, at = [_PNG], len(_PNG)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in _WORDS:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def read_looked(data: bytes) -> ActivationMap | None:
    """Return where the station's model looked in this image, as its PNG says; None where it does not.

    Raises:
        BadImage: it is no image, or what it says is no map.
    """
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            text = getattr(image, "text", {}).get(PNG_KEYWORD)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadImage(f"{len(data)} bytes are no usable PNG or JPEG") from error
    return decode_map(text) if text else None
