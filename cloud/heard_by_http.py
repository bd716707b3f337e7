"""When stations were last heard over HTTP: by their questions for orders and by their reports, which a station with a broker does
not bring that way. Its images and its other questions say nothing of its link: it has them with a broker, too.

Kept in memory: a station that has no broker asks every five minutes (`agent.orders_loop`), so that a server that was started again
knows in a while, and a row need not be written for each question.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from cloud.ports.stations import StationStatus

FRESH_S = 900.0
"""Heard within this time: three times as long as a station without a broker waits between two questions."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """`at`: when last; `since`: when first, without a pause of `FRESH_S` between two times."""

    since: float
    at: float


class HeardByHttp:
    """Thread-safe; it remembers only who showed a token, so no more than there are stations."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._began = now, now()
        self._lock = threading.Lock()
        self._heard: dict[str, _Heard] = {}

    def noting(self, is_token: Callable[[str, str], bool]) -> Callable[[str, str], bool]:
        """Return `is_token` that notes each station whose token it found right."""

        def asked(station: str, token: str) -> bool:
            if not is_token(station, token):
                return False
            now = self._now()
            with self._lock:
                before = self._heard.get(station)
                goes_on = before is not None and abs(now - before.at) < FRESH_S
                self._heard[station] = _Heard(before.since if before is not None and goes_on else now, now)
            return True

        return asked

    def all(self) -> Mapping[str, float]:
        """Return when each was last heard, Unix seconds."""
        with self._lock:
            return {station: heard.at for station, heard in self._heard.items()}

    def fresh(self) -> frozenset[str]:
        """Return who was heard within `FRESH_S`."""
        now = self._now()
        with self._lock:
            # A clock that was set back must not make somebody heard for years.
            return frozenset(station for station, heard in self._heard.items() if abs(now - heard.at) < FRESH_S)

    def reached(self, said: StationStatus) -> StationStatus:
        """Return a station's status as whoever orders it has to take it: one that the broker does not reach is reached while it
        asks over HTTP, since `state_at`; where it asks no more, it has been away since it asked last.

        What it asked before it last left the broker says nothing of now. What the server before this one heard is forgotten: one
        that had reported since it was on the broker last, so over HTTP, is reached for as long as it may take to ask anew.
        """
        now = self._now()
        with self._lock:
            heard = self._heard.get(said.station)
        spoke_before = said.state_at < said.reported_at <= self._began
        if heard is None and not said.online and spoke_before and abs(now - self._began) < FRESH_S:
            return replace(said, online=True, state_at=self._began, asked_at=said.reported_at)
        if said.online or heard is None or heard.at <= said.state_at:
            return said
        if abs(now - heard.at) < FRESH_S:
            return replace(said, online=True, state_at=max(heard.since, said.state_at), asked_at=heard.at)
        return replace(said, state_at=heard.at, asked_at=heard.at)
