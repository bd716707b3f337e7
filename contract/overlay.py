"""A picture of where a model looked: the image in grey, what spoke for the label in orange over it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contract.activation_map import ActivationMap
from contract.preprocess import to_channels

# Orange and grey are told apart by every kind of colour sight.
_COLOUR = (255.0, 140.0, 0.0)
_MOST = 0.65


def overlay(pixels: NDArray[np.uint8], looked: ActivationMap) -> NDArray[np.uint8]:
    """Return u8[H,W,3]: `pixels` (u8[H,W] or u8[H,W,C]) with the map stretched over them."""
    grey = to_channels(pixels, 1)
    size = (grey.shape[1], grey.shape[0])
    stretched = Image.fromarray(np.ascontiguousarray(looked.grid())).resize(size, Image.Resampling.BILINEAR)
    share = np.asarray(stretched, np.float32)[:, :, None] * (_MOST / 255.0)
    blended = grey[:, :, None] * (1 - share) + np.array(_COLOUR, np.float32) * share
    return np.asarray(np.rint(blended), np.uint8)
