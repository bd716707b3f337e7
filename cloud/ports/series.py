"""What drift is watched on: a series is what one camera of a station sees.

A station's only or first camera ("") is the series of the station's own name; another is "STATION/CAMERA". Neither a station's
nor a camera's name holds a "/", so each series is read back as what it was made of.
"""

from __future__ import annotations

from contract.ids import MAX_CAMERA_CHARS, MAX_STATION_CHARS

MAX_SERIES_CHARS = MAX_STATION_CHARS + 1 + MAX_CAMERA_CHARS


def series_name(station: str, camera: str) -> str:
    """Return the series of a station's camera."""
    return f"{station}/{camera}" if camera else station


def split_series(series: str) -> tuple[str, str]:
    """Return (station, camera) of a series."""
    station, _, camera = series.partition("/")
    return station, camera
