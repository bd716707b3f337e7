"""Numbers and names as they may come from outside: each alias is checked by msgspec while it decodes.

Without them one message can stop a reader for good: NaN in a time is NULL to a database, an integer past 63 bits is an
OverflowError in its driver, and a few counts near 2**63 make its SUM overflow on every query from then on.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from contract.ids import CAMERA_PATTERN

# 2**40: four million sums of the largest still fit 63 bits, and a sequence that counts seconds lasts 34,000 years.
Count = Annotated[int, Meta(ge=0, le=1 << 40)]
"""How many, or the how-manieth."""

# The last second that `datetime` can show.
Moment = Annotated[float, Meta(ge=0.0, le=253_402_300_799.0)]
"""Unix seconds, UTC, until the end of the year 9999."""

Seconds = Annotated[float, Meta(ge=0.0, le=1e12)]
"""A span of time, or a monotonic clock's reading."""

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
"""A probability or a share of a whole."""

Deviations = Annotated[float, Meta(ge=0.0, le=1e6)]
"""A distance in standard deviations."""

Celsius = Annotated[float, Meta(ge=-273.15, le=1e4)]
"""A temperature."""

# \Z and not $, which would let a line end through.
CameraName = Annotated[str, Meta(pattern=rf"\A(?:{CAMERA_PATTERN})?\Z")]
"""A camera of a station; "" for its only or first one."""
