"""Vectors inside stored state: f64 as little-endian bytes, which a Struct holds and compares as it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def to_bytes(values: Vector) -> bytes:
    """Return `values`, flattened."""
    return np.asarray(values, "<f8").tobytes()


def from_bytes(stored: bytes) -> Vector:
    """Return the flat vector of what `to_bytes` gave, read-only."""
    return np.frombuffer(stored, "<f8")
