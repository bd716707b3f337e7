"""Times as people say them, and as they are."""

from __future__ import annotations

from datetime import datetime, timezone


def ago(now: float, at: float) -> str:
    """Return how long before `now` something was, both Unix seconds: "5 min ago"; "never" for 0."""
    return "never" if at <= 0 else f"{lasting(max(0.0, now - at))} ago"


def lasting(seconds: float) -> str:
    """Return how long something lasts in its largest unit: "90 s" is "2 min"."""
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"


def exact(at: float) -> str:
    """Return Unix seconds as a date and time of day in UTC."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
