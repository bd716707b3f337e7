"""A chart's points: of fixed size, the newest ones, in whatever order they came."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.drift.trace import (
    LEAST_LOG10,
    MOST_LOG10,
    POINTS,
    TRACE_BYTES,
    TracePoint,
    decode_trace,
    encode_trace,
    trace_point,
    with_points,
)
from contract.errors import BadMessage

FLOATS = st.floats(LEAST_LOG10, MOST_LOG10, width=32)
MADE = st.builds(trace_point, st.integers(0, 2**32 - 1).map(float), FLOATS, FLOATS, st.none() | FLOATS).map(
    lambda point: point or pytest.fail("a point that can be stored was refused")
)
MANY = st.lists(MADE, max_size=40)


def same(one: tuple[TracePoint, ...], other: tuple[TracePoint, ...]) -> bool:
    """Compare where NaN is itself."""
    return repr(one) == repr(other)


@given(MANY)
def test_what_is_encoded_is_read_back_and_has_one_size(points: list[TracePoint]) -> None:
    trace = with_points((), points)
    stored = encode_trace(trace)
    assert len(stored) == TRACE_BYTES and same(decode_trace(stored), trace)


@given(MANY, MANY)
def test_points_that_come_again_change_nothing_and_pieces_come_to_the_whole(
    first: list[TracePoint], more: list[TracePoint]
) -> None:
    trace = with_points(with_points((), first), more)
    assert same(with_points(trace, more), trace) and same(with_points((), [*first, *more]), trace)
    assert [point.at for point in trace] == sorted({point.at for point in [*first, *more]})


@given(st.integers(POINTS, 3 * POINTS), st.randoms(use_true_random=False))
def test_the_newest_are_kept(count: int, random: object) -> None:
    points = [TracePoint(at, 0.5, 0.5, math.nan) for at in range(count)]
    random.shuffle(points)  # type: ignore[attr-defined]
    trace: tuple[TracePoint, ...] = ()
    for start in range(0, count, 50):
        trace = with_points(trace, points[start : start + 50])
    assert [point.at for point in trace] == list(range(count - POINTS, count))
    assert len(encode_trace(trace)) == TRACE_BYTES


@given(st.floats(), st.floats(), st.floats(), st.none() | st.floats())
def test_whatever_the_numbers_a_point_can_be_stored_or_there_is_none(
    at: float, held: float, inputs: float, outputs: float | None
) -> None:
    point = trace_point(at, held, inputs, outputs)
    if point is None:
        assert not (0 <= at < 2**32 and math.isfinite(held) and math.isfinite(inputs))
    else:
        assert same(decode_trace(encode_trace((point,))), (point,))
        assert LEAST_LOG10 <= point.held <= MOST_LOG10


@given(st.binary(max_size=TRACE_BYTES + 8))
def test_bytes_that_are_no_trace_are_refused(stored: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_trace(stored[: TRACE_BYTES - 1])


@pytest.mark.parametrize("spoilt", [b"\x02\x00\x00\x00", b"\x01\x00\xff\xff", b"\x01\x00\x02\x00"])
def test_a_trace_that_contradicts_itself_is_refused(spoilt: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_trace(spoilt + bytes(TRACE_BYTES - 4))


def test_evidence_that_is_no_number_is_refused() -> None:
    stored = bytearray(encode_trace((TracePoint(5, 1.0, 1.0, 1.0),)))
    stored[8:12] = np.float32(math.nan).tobytes()
    with pytest.raises(BadMessage, match="no number"):
        decode_trace(bytes(stored))
