"""A whole fleet for two weeks: table 4 of `bench drift`, and the same where the assumptions are wrong."""

from __future__ import annotations

from collections.abc import Callable

from cloud.drift.simulate import Plant
from cloud.drift.simulated_watch import figures_of, hourly_policy, watch_fleet

_STATIONS, _QUICK_STATIONS = 2_000, 12
_STRESSED = 4
"""One in so many stations of the fleet is enough to see how bad it gets."""


def measure_fleet(say: Callable[[str], None], *, quick: bool) -> dict[str, float]:
    """Return the figures of a fleet as it is assumed, and under stress (`drift.stress_*`): lamps switched on and off, which no
    few harmonics fit, and one window in a hundred thrown far off."""
    stations = _QUICK_STATIONS if quick else _STATIONS
    figures: dict[str, float] = {}
    for key, plant in (
        ("fleet", Plant(stations=stations)),
        ("stress", Plant(stations=stations // _STRESSED, square=True, outliers=0.01)),
    ):
        outcome = watch_fleet(plant, hourly_policy(plant.enrol_days), _progress(say, f"{plant.stations} stations"))
        figures |= {f"drift.{key}_{name}": figure for name, figure in figures_of(outcome).items()}
    return figures


def _progress(say: Callable[[str], None], what: str) -> Callable[[int, int], None]:
    return lambda day, days: say(f"{what}: day {day + 1} of {days}")
