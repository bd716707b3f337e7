"""Images that look alike, by a 64-bit perceptual hash: one in training and one in the holdout makes the holdout lie.

The hash is imagehash.phash (discrete cosine transform of a 32 x 32 thumbnail, low 8 x 8 frequencies against their median). Two
hashes are alike up to ALIKE_BITS = 4 differing bits. Measured: none of the 1.6 million pairs of NEU's 1,799 images, all distinct
parts, is nearer than 8 bits; of the 900,000 pairs of the 1,344 magnetic tiles 1,369 are within 4, of which 94 % have numbers of one
shooting (the same tile under another exposure) and 88 have not (0.01 %); at 8 bits 20 % of what fires is of other shootings.

An image of one grey level all over has no frequencies but the mean, so that all such hash alike whatever they show; it gets no
hash (""), is compared with nothing, and is counted in a warning.
Source: Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ALIKE_BITS = 4
# Grey levels, as a standard deviation of the thumbnail: below it, rounding writes the hash.
_FLAT = 1.0
_THUMBNAIL_PX = 32
# Hashes compared at once: 256 x 10,000 distances are 20 MB.
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class AlikePairs:
    """Pairs of rows that look alike and differ in their group: how many, and the first of them."""

    count: int
    first: tuple[tuple[int, int], ...]


def look_of(pixels: NDArray[np.uint8]) -> str:
    """Return the perceptual hash of u8[H,W] or u8[H,W,3] as 16 hex digits; "" for an image without structure."""
    image = Image.fromarray(pixels).convert("L")
    thumbnail = image.resize((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.LANCZOS)
    if float(np.asarray(thumbnail, np.float32).std()) < _FLAT:
        return ""
    import imagehash  # here: it brings wavelets, and the server reads datasets without looks

    return str(imagehash.phash(thumbnail))


def find_alike(looks: Sequence[str], groups: Sequence[int], most_bits: int = ALIKE_BITS, first: int = 3) -> AlikePairs:
    """Return the pairs of images that look alike across groups (e.g. splits); each pair once, in order of rows.

    Args:
        looks: `look_of` each image.
        groups: a number an image; pairs within one are not counted.
    """
    count = 0
    shown: list[tuple[int, int]] = []
    number = np.asarray(groups, np.int64)
    for left, right in _pairs(looks, most_bits):
        across = number[left] != number[right]
        count += int(across.sum())
        rows = np.flatnonzero(across)[: first - len(shown)]
        shown += [(int(left[r]), int(right[r])) for r in rows]
    return AlikePairs(count, tuple(shown))


def group_alike(looks: Sequence[str], groups: Sequence[int], most_bits: int = ALIKE_BITS) -> NDArray[np.int64]:
    """Return i64[N], a group number an image, in which images that look alike, and those of one group, share one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, together = np.unique(np.asarray(groups, np.int64), return_inverse=True)
    together = together.astype(np.int64)
    for left, right in _pairs(looks, most_bits):
        # Block by block, so that a thousand pictures of one part never stand as a million pairs.
        size = int(together.max()) + 1
        links = coo_array((np.ones(len(left), np.int8), (together[left], together[right])), shape=(size, size))
        _, joined = connected_components(links, directed=False)
        together = np.asarray(joined, np.int64)[together]
    return together


def _pairs(looks: Sequence[str], most_bits: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (left rows, right rows), left < right, of a block's pairs that are alike."""
    rows = np.asarray([i for i, look in enumerate(looks) if look], np.int64)
    packed = np.asarray([int(look, 16) for look in looks if look], np.uint64)
    for start in range(0, len(packed), _BLOCK):
        block = packed[start : start + _BLOCK]
        distance = np.bitwise_count(block[:, None] ^ packed[None, start:])
        left, right = np.nonzero(distance <= most_bits)
        later = left < right
        if later.any():
            yield rows[start + left[later]], rows[start + right[later]]
