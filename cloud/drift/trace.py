"""The newest evidence of a series against its normal, for a chart: so many points, in as many bytes whatever they hold.

Layout, little-endian: a byte of version, a byte of nothing, u16 points that are there, then `POINTS` records of u32 end of the
window (Unix seconds) and f32 of each of `held`, `inputs`, `outputs`; oldest first, zeros behind the last.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from contract.errors import BadMessage

POINTS = 336
"""Two weeks of hourly windows."""

TRACE_BYTES = 4 + POINTS * 16
_VERSION = 1
_HEAD = struct.Struct("<BBH")
_POINT = np.dtype([("at", "<u4"), ("held", "<f4"), ("inputs", "<f4"), ("outputs", "<f4")])
_LATEST_S = 2**32 - 1
# No wealth is larger (`e_detector`), and no chart goes deeper.
MOST_LOG10, LEAST_LOG10 = 100.0, -20.0


@dataclass(frozen=True, slots=True)
class TracePoint:
    """The evidence after a window that began at `at` (whole Unix seconds, by the station's clock): e-values, as powers of ten.

    `held`: what the fleet weighs, the least over the latest windows; `inputs` of what is seen, `outputs` of what is answered, NaN
    where none are judged yet.
    """

    at: int
    held: float
    inputs: float
    outputs: float


def trace_point(at: float, held: float, inputs: float, outputs: float | None) -> TracePoint | None:
    """Return a point as it can be stored; None where `at` is no time that can be, or the evidence is no number."""
    if not (0.0 <= at <= _LATEST_S and math.isfinite(held) and math.isfinite(inputs)):
        return None
    known = outputs is not None and math.isfinite(outputs)
    return TracePoint(
        int(at), _kept(held), _kept(inputs), _kept(outputs) if known and outputs is not None else math.nan
    )


def with_points(trace: Sequence[TracePoint], more: Iterable[TracePoint]) -> tuple[TracePoint, ...]:
    """Return the newest `POINTS` of both in the order of their times; of two of one time the later given counts."""
    by_time = {point.at: point for point in trace}
    by_time.update((point.at, point) for point in more)
    return tuple(by_time[at] for at in sorted(by_time)[-POINTS:])


def encode_trace(trace: Sequence[TracePoint]) -> bytes:
    """Return up to `POINTS` points, in order, as `TRACE_BYTES` bytes."""
    rows = np.zeros(POINTS, _POINT)
    for number, point in enumerate(trace):
        rows[number] = (point.at, point.held, point.inputs, point.outputs)
    return _HEAD.pack(_VERSION, 0, len(trace)) + rows.tobytes()


def decode_trace(stored: bytes) -> tuple[TracePoint, ...]:
    """Return the points in `stored`.

    Raises:
        BadMessage: these bytes are no trace.
    """
    hint = "the chart starts anew with the next window"
    if len(stored) != TRACE_BYTES:
        raise BadMessage(f"{len(stored)} bytes are no drift trace, which has {TRACE_BYTES}", hint=hint)
    version, _, count = _HEAD.unpack_from(stored)
    if version != _VERSION or count > POINTS:
        raise BadMessage(f"no drift trace: version {version}, {count} points", hint=hint)
    rows = np.frombuffer(stored, _POINT, count, _HEAD.size)
    if not (np.isfinite(rows["held"]).all() and np.isfinite(rows["inputs"]).all()):
        raise BadMessage("a drift trace with evidence that is no number", hint=hint)
    if (np.diff(rows["at"].astype(np.int64)) <= 0).any():
        raise BadMessage("a drift trace whose times are in no order", hint=hint)
    return tuple(TracePoint(*row) for row in rows.tolist())


def _kept(value: float) -> float:
    """Return the f32 that is stored."""
    return float(np.float32(min(max(value, LEAST_LOG10), MOST_LOG10)))
