"""Image bytes from a station to pixels."""

from __future__ import annotations

import io
import warnings

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
        BadImage: it is neither, is torn, or has more than 40 million pixels.
    """
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if image.width * image.height > _MAX_PIXELS:
                raise BadImage(f"{image.width}x{image.height} pixels are more than {_MAX_PIXELS}")
            return np.asarray(image if image.mode == "L" else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
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
