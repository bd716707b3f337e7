"""Image files that a camera's software, a copy or an attacker leaves behind; what is bright is "good" to the tiny bundle."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
from PIL import Image

from tests.fakes.agent_line import image

REFUSED = "bad_image"


def file_of(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Return `picture` as a file of `kind`."""
    body = io.BytesIO()
    picture.save(body, kind, **options)
    return body.getvalue()


def odd_pictures() -> dict[str, tuple[bytes, str]]:
    """Return file name -> (bytes, what must come of it: a verdict, or REFUSED)."""
    bright, dark = Image.fromarray(image(230)), Image.fromarray(image(20, 1))
    jpeg, png, bmp = file_of(bright, "JPEG"), file_of(bright, "PNG"), file_of(bright, "BMP")
    wide = np.asarray(bright).astype(np.uint16) * 257
    moving = {"save_all": True, "append_images": [dark]}
    return {
        "truncated.jpg": (jpeg[: len(jpeg) // 2], REFUSED),
        "truncated.png": (png[: len(png) // 2], REFUSED),
        "truncated_by_a_byte.bmp": (bmp[:-1], REFUSED),
        "zero_bytes.png": (b"", REFUSED),
        "zeros.png": (b"\0" * 4096, REFUSED),
        "sixteen_bit_grey.png": (file_of(Image.fromarray(wide), "PNG"), "PASS"),
        "sixteen_bit_grey.tif": (file_of(Image.fromarray(wide), "TIFF"), "PASS"),
        "sixteen_bit_rgb.png": (_rgb16(np.repeat(wide[:, :, None], 3, axis=2)), "PASS"),
        "thirty_two_bit.tif": (file_of(Image.fromarray(wide.astype(np.float32)), "TIFF"), REFUSED),
        "not_a_number.tif": (file_of(Image.fromarray(np.full((16, 16), np.nan, np.float32)), "TIFF"), REFUSED),
        "with_alpha.png": (file_of(_with_alpha(bright, 0), "PNG"), "PASS"),
        "palette_dark.png": (file_of(dark.convert("RGB").quantize(16), "PNG", transparency=0), "REJECT"),
        "turned_by_a_tag.jpg": (file_of(bright, "JPEG", exif=_turned()), "PASS"),
        "one_row.png": (file_of(Image.fromarray(image(230).reshape(1, -1)), "PNG"), "PASS"),
        "cmyk.jpg": (file_of(bright.convert("RGB").convert("CMYK"), "JPEG"), "PASS"),
        "cmyk_dark.tif": (file_of(dark.convert("RGB").convert("CMYK"), "TIFF"), "REJECT"),
        "animated.png": (file_of(bright, "PNG", **moving), REFUSED),
        "animated.webp": (file_of(bright, "WEBP", **moving), REFUSED),
        "animated.gif.png": (file_of(bright, "GIF", **moving), REFUSED),
        "pages.tif": (file_of(bright, "TIFF", **moving), REFUSED),
        "hundred_megapixels.png": (file_of(Image.new("1", (10_000, 10_000), 1), "PNG"), REFUSED),
        "hundred_megapixels_claimed.png": (_claims(10_000, 10_000), REFUSED),
        "four_terapixels_claimed.png": (_claims(2_000_000, 2_000_000), REFUSED),
        "text_bomb.png": (_with_text_bomb(png), REFUSED),
        # Polyglots: what begins as an image is that image, whatever follows; what does not is none, whatever follows.
        "image_and_zip.jpg": (jpeg + _zip(), "PASS"),
        "image_and_page.png": (png + b"<html><script>alert(1)</script></html>", "PASS"),
        "zip_and_image.jpg": (_zip() + jpeg, REFUSED),
        "pdf_and_image.png": (b"%PDF-1.7\n1 0 obj\nstream\n" + png + b"\nendstream", REFUSED),
        "postscript.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n(/etc/passwd) (r) file\n", REFUSED),
        "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16"/>', REFUSED),
        "page_that_begins_as_an_image.bmp": (b"BM<html><body>" + b"x" * 200, REFUSED),
        "another_suffix.jpg": (png, "PASS"),
    }


def _with_alpha(picture: Image.Image, alpha: int) -> Image.Image:
    whole = picture.convert("RGB")
    whole.putalpha(alpha)
    return whole


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _rgb16(pixels: Any) -> bytes:
    # Pillow reads these and cannot write them.
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return _png(pixels.shape[1], pixels.shape[0], 16, 2, rows)


def _claims(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that says it is `width` x `height`."""
    return _png(width, height, 8, 0, b"\0" * 64)


def _with_text_bomb(png: bytes) -> bytes:
    bomb = b"Comment\0\0" + zlib.compress(b"x" * (64 << 20), 9)
    return png[:33] + _chunk(b"zTXt", bomb) + png[33:]


def _zip() -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("evil.py", "print('hello')")
    return body.getvalue()
