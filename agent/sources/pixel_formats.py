"""The bytes of a V4L2 buffer to pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.sources.image_file import MAX_PIXELS, read_image
from contract.errors import BadImage

U8 = NDArray[np.uint8]

# V4L2's four-character codes -> bytes a pixel; 0: compressed.
PIXEL_FORMATS = {"GREY": 1, "YUYV": 2, "MJPG": 0, "JPEG": 0, "BGR3": 3, "RGB3": 3}


def to_pixels(data: bytes, width: int, height: int, stride: int, pixel_format: str) -> U8:
    """Return the pixels of one buffer: u8[H,W] for GREY and grey JPEGs, else u8[H,W,3] in RGB; always a copy.

    Args:
        data: what the driver filled; more than the image needs is padding.
        stride: bytes from one row to the next; 0: rows follow each other without padding.
        pixel_format: a key of PIXEL_FORMATS.
    Raises:
        BadImage: too few bytes (the cable was pulled amid a frame), a torn JPEG, or another format.
    """
    if pixel_format in ("MJPG", "JPEG"):
        return read_image(data, "the camera's JPEG")
    bytes_a_pixel = PIXEL_FORMATS.get(pixel_format)
    if bytes_a_pixel is None:
        raise BadImage(f"pixel format '{pixel_format}' is not supported", hint=f"one of {', '.join(PIXEL_FORMATS)}")
    if width < 1 or height < 1 or width * height > MAX_PIXELS or (pixel_format == "YUYV" and width % 2):
        raise BadImage(
            f"the camera announces {width} x {height} {pixel_format} pixels", hint="set source.width and height"
        )
    row = width * bytes_a_pixel
    step = stride or row
    # The last row needs no padding behind it.
    if step < row or len(data) < step * (height - 1) + row:
        raise BadImage(
            f"a frame of {width} x {height} {pixel_format} has only {len(data)} bytes", hint="check the camera's cable"
        )
    raw = np.frombuffer(data, np.uint8)
    rows: U8 = np.lib.stride_tricks.as_strided(raw, (height, row), (step, 1), writeable=False)
    if pixel_format == "GREY":
        return rows.copy()
    if pixel_format == "RGB3":
        return rows.reshape(height, width, 3).copy()
    if pixel_format == "BGR3":
        return np.ascontiguousarray(rows.reshape(height, width, 3)[:, :, ::-1])
    return _yuyv_to_rgb(rows)


def _yuyv_to_rgb(rows: U8) -> U8:
    """Return u8[H,W,3] of u8[H,2W] (Y0 U Y1 V ...), ITU-R BT.601, luma 16..235: V4L2's default for YUYV.

    Source: ITU-R BT.601-7; coefficients times 2**16, rounded.
    """
    luma = (rows[:, 0::2].astype(np.int32) - 16) * 76309 + 32768
    blue = np.repeat(rows[:, 1::4].astype(np.int32) - 128, 2, axis=1)
    red = np.repeat(rows[:, 3::4].astype(np.int32) - 128, 2, axis=1)
    rgb = np.empty((*luma.shape, 3), np.uint8)
    rgb[:, :, 0] = np.clip((luma + 104597 * red) >> 16, 0, 255)
    rgb[:, :, 1] = np.clip((luma - 25675 * blue - 53279 * red) >> 16, 0, 255)
    rgb[:, :, 2] = np.clip((luma + 132201 * blue) >> 16, 0, 255)
    return rgb
