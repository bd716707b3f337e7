"""Conditions that come true in their time; the machine may stall for seconds."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(what: Callable[[], object], within_s: float = 90.0) -> None:
    """Wait until `what()` holds."""
    until = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
