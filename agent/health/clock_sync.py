"""Whether the wall clock can be believed."""

from __future__ import annotations

import ctypes
import sys

_TIME_ERROR = 5
_EARLIEST = 1_767_225_600.0  # 2026-01-01: before this release existed


def clock_synced(now: float) -> bool:
    """Return whether the kernel says the clock is synchronised; elsewhere than on Linux, whether `now` is believable.

    Source: adjtimex(2): with modes = 0 it only reads, and returns TIME_ERROR while unsynchronised.
    """
    if now < _EARLIEST:
        return False
    if sys.platform != "linux":
        return True
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return True
    return state not in (-1, _TIME_ERROR)
