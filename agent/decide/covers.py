"""Sequence ranges that one summary stands for, so that what was merged away is not taken for lost."""

from __future__ import annotations

from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]


def join(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the same numbers as few inclusive ranges, ascending; neighbours and overlaps become one."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return tuple(joined)


def count(ranges: Iterable[tuple[int, int]]) -> int:
    """Return how many numbers lie in `ranges`, which do not overlap."""
    return sum(last - first + 1 for first, last in ranges)


def to_text(ranges: Ranges) -> str:
    """Return `ranges` as text, "3-5 8-8"; "" for none."""
    return " ".join(f"{first}-{last}" for first, last in ranges)


def from_text(text: str) -> Ranges:
    """Return what `to_text` made; what is none of its words is left out."""
    found = []
    for word in text.split():
        first, _, last = word.partition("-")
        if first.isdecimal() and last.isdecimal():
            found.append((int(first), int(last)))
    return join(found)
