"""Where a model looked: how much each place of an image spoke for the likeliest defect, coarse and small.

It lies in the kept image's file, as text that any PNG reader finds, so it leaves a station only with that image (P8).
Source: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization" (class activation maps).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from contract.errors import BadImage

PNG_KEYWORD = "plumbline activation map"
MAX_SIDE = 64
_Side = Annotated[int, msgspec.Meta(ge=1, le=MAX_SIDE)]


class ActivationMap(msgspec.Struct, frozen=True):
    """`values`: u8, row by row, 0 where nothing speaks for `label` and 255 where most does; the whole covers the whole image."""

    label: Annotated[str, msgspec.Meta(max_length=200)]
    rows: _Side
    columns: _Side
    values: bytes

    def grid(self) -> NDArray[np.uint8]:
        """Return u8[rows,columns]."""
        return np.frombuffer(self.values, np.uint8).reshape(self.rows, self.columns)


def summarise(label: str, evidence: NDArray[np.float32]) -> ActivationMap | None:
    """Return the map of one label's evidence f32[h,w]; None where nothing speaks for it, or some of it is no number.

    Evidence against the label is left out, the rest is told in shares of the largest; more than 64 places a side are joined.
    """
    if evidence.ndim != 2 or evidence.size == 0 or not np.isfinite(evidence).all():
        return None
    for axis in (0, 1):
        if evidence.shape[axis] > MAX_SIDE:
            starts = np.arange(MAX_SIDE) * evidence.shape[axis] // MAX_SIDE
            evidence = np.maximum.reduceat(evidence, starts, axis=axis)
    largest = float(evidence.max())
    if largest <= 0.0:
        return None
    # f64: 255 over the tiniest f32 is none.
    values = np.clip(np.rint(evidence.astype(np.float64) * (255.0 / largest)), 0, 255).astype(np.uint8)
    return ActivationMap(label, values.shape[0], values.shape[1], values.tobytes())


def encode_map(found: ActivationMap) -> str:
    """Return the map as a line of ASCII."""
    return _escaped(msgspec.json.encode(found).decode())


def decode_map(text: str) -> ActivationMap:
    """Return the map in `text`.

    Raises:
        BadImage: it is no map, or contradicts itself.
    """
    try:
        found = msgspec.json.decode(text.encode(), type=ActivationMap)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadImage(f"no activation map: {error}") from error
    if len(found.values) != found.rows * found.columns:
        raise BadImage(f"an activation map of {found.rows}x{found.columns} has {len(found.values)} places")
    return found


def _escaped(text: str) -> str:
    """Return JSON with every character beyond ASCII as \\uXXXX, in surrogate pairs where it takes two."""
    units = text.encode("utf-16-be")
    codes = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(chr(code) if code < 0x80 else f"\\u{code:04x}" for code in codes)
