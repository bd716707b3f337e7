"""Telling stations which of their cameras drift: while one does, its thresholds promise nothing (DESIGN 3)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence, Set

from cloud.drift.fleet_status import StationDrift, StationPhase
from cloud.ports.alarms import Alarm, AlarmBook
from cloud.ports.link import Link
from cloud.ports.records import CommandLog
from cloud.ports.series import split_series
from cloud.ports.stations import StationBook
from contract.codec import encode_control
from contract.messages import Command
from contract.topics import Channel, topic

COMMAND_VALID_S = 300.0


class DriftNotices:
    """What was told to whom. One thread's."""

    def __init__(
        self,
        stations: StationBook,
        alarms: AlarmBook,
        commands: CommandLog,
        link: Link,
        *,
        seen: Callable[[], Sequence[str]],
        statuses: Callable[[Iterable[str]], Sequence[StationDrift]],
    ) -> None:
        """`seen` returns the series that sent windows, `statuses` how the detectors say that series stand."""
        self._stations, self._alarms, self._commands, self._link = stations, alarms, commands, link
        self._seen, self._statuses = seen, statuses
        # What was told of each series, on which connection of whose: told again when any of it changes.
        self._told: dict[str, tuple[bool, float, int]] = {}

    def tell(self, now: float) -> None:
        """Tell the station of each series that ever drifted whether its alarm is open.

        A notice names its camera, so that the others of the station keep their promise. It is said again when the station,
        the broker or this process comes back; the station takes the same notice twice for one.
        """
        if not self._link.connected():
            return
        online = {s.station: s.state_at for s in self._stations.status() if s.online}
        alarms = self._alarms.all()
        concerned = {alarm.series for alarm in alarms}
        reached = self._series_of(online.keys()) | {series for series in concerned if split_series(series)[0] in online}
        drifted = self._drifted(alarms, reached)
        # An alarm of a cohort or the fleet stands for its series, which have none of their own.
        everybody = bool({alarm.station for alarm in alarms} - set(self._stations.names()))
        for series in sorted(reached if everybody else reached & concerned):
            station, camera = split_series(series)
            news = (series in drifted, online[station], self._link.connections())
            if self._told.get(series) == news:
                continue
            command = Command(
                id=secrets.token_hex(16),
                station=station,
                name="drift",
                expires_at=now + COMMAND_VALID_S,
                arguments={
                    "alarmed": series in drifted,
                    "why": drifted.get(series, ""),
                    **camera_argument(camera),
                },
            )
            self._commands.sent(command, now)
            if self._link.publish(topic(station, Channel.COMMAND), encode_control(command), qos=1, retain=False):
                self._told[series] = news

    def _series_of(self, stations: Set[str]) -> set[str]:
        """Return the series of these stations: those that sent windows, and the only camera's of one that sent none."""
        found = {series for series in self._seen() if split_series(series)[0] in stations}
        return found | (stations - {split_series(series)[0] for series in found})

    def _drifted(self, alarms: Sequence[Alarm], series: Set[str]) -> dict[str, str]:
        """Return which of `series` drift now, with a sentence each: by an alarm of their own, or by one that they share."""
        open_alarms = [alarm for alarm in alarms if alarm.closed_at is None]
        drifted = {alarm.series: alarm.sentence for alarm in open_alarms if alarm.series in series}
        if {alarm.station for alarm in open_alarms} - set(self._stations.names()):
            statuses = self._statuses(sorted(series - drifted.keys()))
            drifted |= {s.station: s.sentence for s in statuses if s.phase is StationPhase.ALARMED}
        return drifted


def camera_argument(camera: str) -> dict[str, str]:
    """Return how a command names a camera: not at all where it is the station's only or first."""
    return {"camera": camera} if camera else {}
