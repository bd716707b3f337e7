"""Windows to and from the wire: each section at the narrowest integer width, and nothing believed on the way in.

A section is one byte (1, 2, 4 or 8: the width) and then little-endian integers. Sections a reader does not know are skipped,
so a newer sender is understood; a missing one is refused.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contract.errors import BadMessage
from contract.sketches.distinct import MAX_RANK, REGISTERS
from contract.sketches.moments import FIXED_LIMIT, N_STATISTICS
from contract.sketches.projection import FOURIER_SCALE
from contract.sketches.window import (
    MAX_FRAMES,
    MAX_LABELS,
    READABLE_FEATURES,
    SketchIdentity,
    Window,
    WindowWire,
    layout,
    sums_size,
)

_WIDTHS = (1, 2, 4, 8)
_MAX_TEXT = 128
_RANGE = "range"
_DISTINCT = "distinct"


def to_wire(window: Window) -> WindowWire:
    """Return `window` packed for the wire."""
    sections = {
        part.name: _pack(window.sums[part.start : part.stop], part.signed)
        for part in layout(window.identity.labels).values()
        if part.name != "products" or window.identity.features >= 2
    }
    sections[_RANGE] = _pack(np.concatenate((window.mins, window.maxs)), signed=True)
    sections[_DISTINCT] = _pack(window.registers.astype(np.int64), signed=False)
    return WindowWire(window.identity, window.frames, sections)


def wire_bytes(wire: WindowWire) -> int:
    """Return how many bytes the sections of `wire` hold, before compression."""
    return sum(map(len, wire.sections.values()))


def from_wire(wire: WindowWire) -> Window:
    """Return the window in `wire`, checked so that every accessor and merge of it is safe and it says nothing impossible.

    Raises:
        BadMessage: an unusable identity, a missing section, a wrong size, or a value no station could have summed.
    """
    _check_identity(wire.identity)
    frames = wire.frames
    if not 0 <= frames <= MAX_FRAMES:
        raise BadMessage(f"a window of {frames} frames", hint=f"a window holds 0 to {MAX_FRAMES}")
    sums = np.empty(sums_size(wire.identity.labels), np.int64)
    for part in layout(wire.identity.labels).values():
        if part.name == "products" and wire.identity.features < 2:
            sums[part.start : part.stop] = 0
            continue
        sums[part.start : part.stop] = _unpack(wire, part.name, part.stop - part.start, part.signed)
    ranges = _unpack(wire, _RANGE, 2 * N_STATISTICS, signed=True)
    registers = _unpack(wire, _DISTINCT, REGISTERS, signed=False)
    if int(registers.max()) > MAX_RANK:
        raise BadMessage("section 'distinct' holds an impossible rank")
    window = Window(
        wire.identity,
        frames,
        sums,
        ranges[:N_STATISTICS].copy(),
        ranges[N_STATISTICS:].copy(),
        registers.astype(np.uint8),
    )
    _check_counts(window)
    _check_sums(window)
    return window


def _check_identity(identity: SketchIdentity) -> None:
    if identity.features not in READABLE_FEATURES:
        raise BadMessage(
            f"sketch features version {identity.features} is none of {READABLE_FEATURES}", hint="update the older side"
        )
    if not 1 <= identity.labels <= MAX_LABELS:
        raise BadMessage(f"a window of {identity.labels} labels", hint=f"a model has 1 to {MAX_LABELS}")
    if not 0 <= identity.seed < 1 << 63:
        raise BadMessage("a sketch seed outside 0..2**63")
    if len(identity.reference) > _MAX_TEXT or len(identity.artefact) > _MAX_TEXT:
        raise BadMessage("a sketch identity with an overlong digest")


def _check_counts(window: Window) -> None:
    frames = window.frames
    if (window.histograms().astype(np.float64).sum(axis=1) != frames).any():
        raise BadMessage("a statistic's histogram does not count every frame once")
    answers = [float(window.section(name).astype(np.float64).sum()) for name in ("labels", "confidence", "latency")]
    if not answers[0] == answers[1] == answers[2] or answers[0] > frames:
        raise BadMessage("labels, confidences and latencies do not count the same answers")
    if int((window.registers > 0).sum()) > frames or (frames > 0 and not window.registers.any()):
        raise BadMessage("section 'distinct' does not fit the number of frames")


def _check_sums(window: Window) -> None:
    frames = window.frames
    if frames == 0:
        crossed = (window.mins == FIXED_LIMIT).all() and (window.maxs == -FIXED_LIMIT).all()
        if not crossed or window.sums.any():
            raise BadMessage("an empty window with sums")
        return
    low, high = window.mins, window.maxs
    if (low > high).any() or (low < -FIXED_LIMIT).any() or (high > FIXED_LIMIT).any():
        raise BadMessage("a statistic's least value exceeds its greatest, or its limits")
    total = window.section("moments")
    if (total < low * frames).any() or (total > high * frames).any():
        raise BadMessage("a statistic's mean lies outside its range")
    limits = (
        ("projection", FIXED_LIMIT),
        ("fourier", FOURIER_SCALE),
        ("moments2", FIXED_LIMIT * FIXED_LIMIT),
        ("projection2", FIXED_LIMIT * FIXED_LIMIT),
        ("products", FIXED_LIMIT * FIXED_LIMIT),
    )
    for name, limit in limits:
        values = window.section(name)
        if (values > limit * frames).any() or (values < -limit * frames).any():
            raise BadMessage(f"section '{name}' holds a sum that so few frames cannot reach")


def _pack(values: NDArray[np.int64], signed: bool) -> bytes:
    low, high = int(values.min()), int(values.max())
    for width in _WIDTHS:
        bits = 8 * width
        fits = -(1 << (bits - 1)) <= low and high < 1 << (bits - 1) if signed else high < 1 << bits
        if fits:
            break
    return bytes((width,)) + values.astype(f"<{'i' if signed else 'u'}{width}").tobytes()


def _unpack(wire: WindowWire, name: str, size: int, signed: bool) -> NDArray[np.int64]:
    packed = wire.sections.get(name)
    if packed is None:
        raise BadMessage(f"a window without section '{name}'")
    if not packed or packed[0] not in _WIDTHS or len(packed) != 1 + size * packed[0]:
        raise BadMessage(f"section '{name}' has {len(packed)} bytes for {size} integers")
    values = np.frombuffer(packed, f"<{'i' if signed else 'u'}{packed[0]}", offset=1)
    if values.dtype == np.uint64 and (values > np.uint64(np.iinfo(np.int64).max)).any():
        raise BadMessage(f"section '{name}' holds an integer past 63 bits")
    return values.astype(np.int64)
