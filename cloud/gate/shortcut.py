"""Does the model look at the part, or at something beside it that gives the label away?

A watermark, a fixture's edge or a timestamp that came with one label teaches a model to look there. Its holdout has the same
mark, so its accuracy shows nothing. Pasting that place of another label's image over an image does: a model that looks at the
part keeps its answer, one that took the shortcut follows the paste. (Covering the border was considered: it takes the mark away,
but many models lose as much to the cover itself, and a mark on one label only is lost among the others.)

The outer quarter of the image is looked at, in eight regions. Marks in the middle are where defects are, and cannot be told
from them so.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


class Region(str, Enum):
    """An outer part of an image: a quarter of its height and width at a corner, half of one of them between two."""

    TOP_LEFT = "top left"
    TOP = "top"
    TOP_RIGHT = "top right"
    LEFT = "left"
    RIGHT = "right"
    BOTTOM_LEFT = "bottom left"
    BOTTOM = "bottom"
    BOTTOM_RIGHT = "bottom right"


# (rows, columns) as shares of height and width.
_NEAR, _MIDDLE, _FAR = (0.0, 0.25), (0.25, 0.75), (0.75, 1.0)
_PLACES = {
    Region.TOP_LEFT: (_NEAR, _NEAR),
    Region.TOP: (_NEAR, _MIDDLE),
    Region.TOP_RIGHT: (_NEAR, _FAR),
    Region.LEFT: (_MIDDLE, _NEAR),
    Region.RIGHT: (_MIDDLE, _FAR),
    Region.BOTTOM_LEFT: (_FAR, _NEAR),
    Region.BOTTOM: (_FAR, _MIDDLE),
    Region.BOTTOM_RIGHT: (_FAR, _FAR),
}


CORNERS = (Region.TOP_LEFT, Region.TOP_RIGHT, Region.BOTTOM_LEFT, Region.BOTTOM_RIGHT)


def mirrors(region: Region) -> tuple[Region, ...]:
    """Return the three regions of the same size elsewhere."""
    return tuple(each for each in Region if each is not region and (each in CORNERS) == (region in CORNERS))


def paste(image: Image, donor: Image, region: Region) -> Image:
    """Return `image` with `region` taken from `donor`, both u8[H,W] or both u8[H,W,C]; sizes may differ (nearest pixels)."""
    rows, columns = (_span(share, size) for share, size in zip(_PLACES[region], image.shape[:2], strict=True))
    pasted = image.copy()
    down, right = (_same(span, *sizes) for span, *sizes in zip((rows, columns), image.shape, donor.shape, strict=False))
    pasted[rows.start : rows.stop, columns.start : columns.stop] = donor[down][:, right]
    return pasted


def _span(share: tuple[float, float], size: int) -> range:
    return range(round(share[0] * size), round(share[1] * size))


def _same(span: range, size: int, donor_size: int) -> NDArray[Any]:
    """Return the donor's places that lie where `span` lies in an image of `size`."""
    return np.minimum((np.asarray(span, np.float64) + 0.5) * donor_size / size, donor_size - 1).astype(np.int64)
