"""Differences between two groups of stations, each station one observation: pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import stdtrit


def difference(
    these: Sequence[float], others: Sequence[float], confidence: float, floor2: float = 0.0
) -> tuple[float, float, float]:
    """Return (mean of `these` less mean of `others`, its lower and its upper one-sided bound), each at `confidence`.

    With two or more on both sides it is Welch's t (Welch 1947), which lets the groups spread differently. With one on a side,
    its spread is taken from the other side's, as for a prediction (Student's t with one degree of freedom less than they are).
    `floor2`: a variance of the difference that it has at least, whatever the spread of so few says.

    Raises:
        ValueError: neither side has two.
    """
    n, m = len(these), len(others)
    value = sum(these) / n - sum(others) / m
    if n < 2 and m < 2:
        raise ValueError("no group has two stations")
    if n < 2 or m < 2:
        spread = _variance(others) if n < 2 else _variance(these)
        error2, freedom = spread * (1.0 / n + 1.0 / m), float(max(n, m) - 1)
    else:
        parts = (_variance(these) / n, _variance(others) / m)
        error2 = sum(parts)
        squares = parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1)
        freedom = error2**2 / squares if squares > 0.0 else float(n + m - 2)
    reach = float(stdtrit(freedom, confidence)) * math.sqrt(max(error2, floor2))
    return value, value - reach, value + reach


def _variance(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return sum((x - mean) ** 2 for x in values) / (len(values) - 1)
