"""Pixels to a model's input: the ONE implementation that training, gate and device share (DESIGN 2)."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contract.errors import BadImage


class PreprocessSpec(msgspec.Struct, frozen=True):
    """How pixels become a tensor.

    The image is made grey (channels=1) or RGB (channels=3), resized to `height` x `width` by an antialiased triangle
    filter, then scaled per channel: (value / 255 - mean) / std. `layout` is "NCHW" or "NHWC". `dtype` is "float32", or
    "uint8" for models that take raw bytes (mean and std are then ignored).
    """

    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str = "NCHW"
    dtype: str = "float32"


def to_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Return `pixels` as u8[H,W] (channels=1, ITU-R 601 luma) or u8[H,W,3].

    Args:
        pixels: u8[H,W], u8[H,W,1] or u8[H,W,3].
    Raises:
        BadImage: another dtype or shape, or no pixels.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.size == 0:
        raise BadImage(f"pixels must be u8[H,W] or u8[H,W,C], not {pixels.dtype}{list(pixels.shape)}")
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 3):
        raise BadImage(f"pixels have {pixels.shape[2]} channels", hint="convert to grey or RGB")
    grey = pixels if pixels.ndim == 2 else pixels[:, :, 0] if pixels.shape[2] == 1 else None
    if channels == 1:
        return grey if grey is not None else np.asarray(Image.fromarray(pixels).convert("L"))
    return np.repeat(grey[:, :, None], 3, axis=2) if grey is not None else pixels


def resize(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return u8[H,W] or u8[H,W,3] resized by Pillow's antialiased triangle filter (two passes, each rounded to u8)."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def preprocess(pixels: NDArray[np.uint8], spec: PreprocessSpec) -> NDArray[np.float32] | NDArray[np.uint8]:
    """Return the model's input for one image: [1,C,h,w] ("NCHW") or [1,h,w,C] ("NHWC"), float32 or uint8 as the spec says.

    Args:
        pixels: u8[H,W], u8[H,W,1] or u8[H,W,3].
    Raises:
        BadImage: the pixels have another dtype or shape.
    """
    small = _small(np.ascontiguousarray(pixels), spec)
    if spec.dtype == "uint8":
        return np.ascontiguousarray(small[None] if spec.layout == "NHWC" else small.transpose(2, 0, 1)[None])
    # One multiply and one add: x * (1 / 255 / std) + (-mean / std).
    std = np.asarray(spec.std, np.float32)
    scale, shift = np.float32(1 / 255) / std, np.asarray(spec.mean, np.float32) / std
    chw = (spec.channels, *small.shape[:2])
    tensor = np.empty((1, *chw) if spec.layout == "NCHW" else (1, *chw[1:], chw[0]), np.float32)
    # Plane by plane: many times as fast as numpy's broadcasting over a last axis of three, and the same numbers.
    for channel, plane in enumerate(tensor[0] if spec.layout == "NCHW" else tensor[0].transpose(2, 0, 1)):
        np.multiply(small[:, :, channel], scale[channel], out=plane)
        plane -= shift[channel]
    return tensor


def _small(pixels: NDArray[np.uint8], spec: PreprocessSpec) -> NDArray[np.uint8]:
    """Return u8[h,w,C] of the spec's size and channels."""
    if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 1):
        # Grey stays one channel until it is small: channels are resized independently, so three equal ones stay equal.
        grey = resize(to_channels(pixels, 1), spec.height, spec.width)[:, :, None]
        return np.broadcast_to(grey, (*grey.shape[:2], spec.channels))
    small = resize(to_channels(pixels, spec.channels), spec.height, spec.width)
    return small if small.ndim == 3 else small[:, :, None]
