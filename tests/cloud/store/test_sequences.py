"""Which sequences of a boot are accounted for, against a plain set of numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud.store.sequences import MAX_RANGES, Sequences, sequences_from

RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=20)


@given(RANGES)
def test_what_is_missing_is_what_no_range_settled(ranges: list[tuple[int, int]]) -> None:
    known, settled = Sequences(), set()
    for first, last in ranges:
        known.settle(first, last)
        settled |= set(range(max(first, 1), last + 1))
        highest = max(settled, default=0)
        missing = set(range(1, highest + 1)) - settled
        assert known.highest == highest and known.holes == len(missing)
        assert known.watermark == min(missing, default=highest + 1) - 1
        assert all(known.is_open(seq) == (seq not in settled) for seq in range(1, 45))
        assert known == sequences_from(known.highest, known.to_json())
        assert all(a[1] + 1 < b[0] for a, b in zip(known.missing, known.missing[1:], strict=False)), "ranges lie apart"


def test_holes_without_end_stay_few_and_hide_nothing_that_is_missing() -> None:
    known = Sequences()
    for seq in range(2, 6 * MAX_RANGES, 3):
        known.settle(seq, seq)
    assert len(known.missing) == MAX_RANGES
    assert all(known.is_open(seq) for seq in range(1, 6 * MAX_RANGES) if seq % 3 != 2)
    assert known.watermark == 0
