"""Labels while nothing drifts: a few audit frames of every camera a day, or nobody would notice that answers became wrong.

At set times the newest audit frame is asked for, whatever is on it: so the frames that people label are as random as the audit.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloud.ports.samples import SampleBook
from cloud.ports.series import split_series
from cloud.ports.stations import StationBook
from cloud.sample_requests import SampleRequests

_LOOK_EVERY_S = 60.0
_DAY_S = 86_400.0


class SpotChecks:
    """Asks for `per_day` frames of every camera a day; for none at 0. One thread's."""

    def __init__(self, stations: StationBook, samples: SampleBook, requests: SampleRequests, per_day: int) -> None:
        self._stations = stations
        self._samples, self._requests, self._per_day = samples, requests, per_day
        self._looked_at = 0.0

    def ask(self, series: Iterable[str], now: float) -> None:
        """Ask for a frame of each series that is due and whose station is online; a look a minute is enough."""
        if self._per_day <= 0 or 0.0 <= now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        asked = self._samples.spot_checked()
        online = {status.station for status in self._stations.status() if status.online}
        for each in series:
            station, camera = split_series(each)
            last = asked.get((station, camera), 0.0)
            if station not in online or 0.0 <= now - last < _DAY_S / self._per_day:
                continue
            # No older than a day: a station keeps frames for so long and no longer.
            newest = self._samples.newest_audit(station, camera, now - _DAY_S)
            if newest is not None:
                self._requests.ask(station, camera, [newest], None, now)
