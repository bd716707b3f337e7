"""`contract.sketches.wire.from_wire`'s checks on the windows of a whole batch at once, without making the windows.

One window costs it some forty calls into numpy, most of the time an ingest worker has; a batch of 200 costs about as many.
What is sound here is sound there (a test holds the two against each other); whatever looks unsound is handed to `from_wire`,
whose word counts and whose reason is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import BadMessage
from contract.sketches.distinct import MAX_RANK, REGISTERS
from contract.sketches.histogram import BINS
from contract.sketches.moments import FIXED_LIMIT, N_STATISTICS
from contract.sketches.projection import FOURIER_SCALE
from contract.sketches.window import MAX_FRAMES, MAX_LABELS, READABLE_FEATURES, WindowWire, layout
from contract.sketches.wire import from_wire

_WIDTHS = (1, 2, 4, 8)
_MAX_TEXT = 128
_LIMITS = (
    ("projection", FIXED_LIMIT),
    ("fourier", FOURIER_SCALE),
    ("moments2", FIXED_LIMIT * FIXED_LIMIT),
    ("projection2", FIXED_LIMIT * FIXED_LIMIT),
)
# Below so many windows of one shape there is nothing to win.
_LEAST = 4

# Any integer type whose values fit int64: they are compared with int64, and only widened where windows differ in width.
_Ints = NDArray[Any]
_Flags = NDArray[np.bool_]


def window_faults(windows: Sequence[WindowWire | None]) -> dict[int, str]:
    """Return index -> reason for each window that `from_wire` refuses; None stands for no window, and is sound."""
    by_shape: dict[tuple[int, bool], list[int]] = {}
    doubtful: list[int] = []
    for index, window in enumerate(windows):
        if window is not None:
            if _may_be_sound(window):
                by_shape.setdefault((window.identity.labels, window.identity.features >= 2), []).append(index)
            else:
                doubtful.append(index)
    for (labels, products), indices in by_shape.items():
        if len(indices) < _LEAST:
            doubtful += indices
            continue
        group = [window for index in indices if (window := windows[index]) is not None]
        sound = _sound(group, labels, products)
        doubtful += [index for index, fine in zip(indices, sound.tolist(), strict=True) if not fine]
    faults: dict[int, str] = {}
    for index in sorted(doubtful):
        if (window := windows[index]) is not None:
            try:
                from_wire(window)
            except BadMessage as error:
                faults[index] = error.one_line()
    return faults


def _may_be_sound(window: WindowWire) -> bool:
    """Whether identity and sizes are as they must be, and there are frames (an empty window has rules of its own)."""
    identity = window.identity
    if not (
        identity.features in READABLE_FEATURES
        and 1 <= identity.labels <= MAX_LABELS
        and 0 <= identity.seed < 1 << 63
        and len(identity.reference) <= _MAX_TEXT
        and len(identity.artefact) <= _MAX_TEXT
        and 0 < window.frames <= MAX_FRAMES
    ):
        return False
    sections = window.sections
    for name, size in _sizes(identity.labels, identity.features >= 2):
        packed = sections.get(name)
        if not packed or packed[0] not in _WIDTHS or len(packed) != 1 + size * packed[0]:
            return False
    return True


@lru_cache(maxsize=64)
def _sizes(labels: int, products: bool) -> tuple[tuple[str, int], ...]:
    parts = [(part.name, part.stop - part.start) for part in layout(labels).values()]
    parts += [("range", 2 * N_STATISTICS), ("distinct", REGISTERS)]
    return tuple(part for part in parts if products or part[0] != "products")


def _sound(group: Sequence[WindowWire], labels: int, products: bool) -> _Flags:
    """Return which windows of one shape pass every check of values, bool[len(group)]."""
    count = len(group)
    fine: _Flags = np.ones(count, np.bool_)
    frames = np.array([window.frames for window in group], np.int64)
    values = {
        name: _column(group, name, size, name in _signed(labels), fine) for name, size in _sizes(labels, products)
    }
    with np.errstate(all="ignore"):
        histograms = values["histograms"].reshape(count, N_STATISTICS, BINS).sum(axis=2, dtype=np.float64)
        fine &= (histograms == frames[:, None]).all(axis=1)
        answers = [values[name].sum(axis=1, dtype=np.float64) for name in ("labels", "confidence", "latency")]
        fine &= (answers[0] == answers[1]) & (answers[1] == answers[2]) & (answers[0] <= frames)
        registers = values["distinct"]
        seen = (registers > 0).sum(axis=1)
        fine &= (registers.max(axis=1) <= MAX_RANK) & (seen > 0) & (seen <= frames)
        low, high = values["range"][:, :N_STATISTICS], values["range"][:, N_STATISTICS:]
        fine &= ((low <= high) & (low >= -FIXED_LIMIT) & (high <= FIXED_LIMIT)).all(axis=1)
        total, many = values["moments"], frames[:, None]
        fine &= ((total >= low * many) & (total <= high * many)).all(axis=1)
        for name, limit in (*_LIMITS, *([("products", FIXED_LIMIT * FIXED_LIMIT)] if products else [])):
            most = limit * frames
            fine &= (values[name].max(axis=1) <= most) & (values[name].min(axis=1) >= -most)
    return fine


@lru_cache(maxsize=64)
def _signed(labels: int) -> frozenset[str]:
    return frozenset(part.name for part in layout(labels).values() if part.signed) | {"range"}


def _column(group: Sequence[WindowWire], name: str, size: int, signed: bool, fine: _Flags) -> _Ints:
    """Return one section of every window, int[len(group), size]; clears `fine` where a value passes 63 bits."""
    packed = [window.sections[name] for window in group]
    kind = "i" if signed else "u"
    first = packed[0][0]
    if first < 8 and all(each[0] == first for each in packed):
        raw = np.frombuffer(b"".join(packed), np.uint8).reshape(len(group), -1)
        return np.ascontiguousarray(raw[:, 1:]).view(f"<{kind}{first}")
    widths = np.array([each[0] for each in packed])
    found = np.empty((len(group), size), np.int64)
    for width in set(widths.tolist()):
        here = np.flatnonzero(widths == width)
        raw = np.frombuffer(b"".join([packed[index] for index in here]), np.uint8).reshape(len(here), -1)
        read = np.ascontiguousarray(raw[:, 1:]).view(f"<{kind}{width}")
        if read.dtype == np.uint64:
            fine[here[(read > np.uint64(np.iinfo(np.int64).max)).any(axis=1)]] = False
        found[here] = read.astype(np.int64)
    return found
