"""Drift alarms and the retrains they lead to, as the loops see them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cloud.drift.trace import TracePoint
from cloud.ports.records import Cursor
from cloud.ports.series import series_name


@dataclass(frozen=True, slots=True)
class Alarm:
    """A drift alarm of a station's camera; open while `closed_at` is None.

    One that many series share names what they are ("fleet") in the place of a station. `opened_at` is by the cloud's clock;
    `seen_at`, by the station's, is the end of the window that raised it.
    """

    id: int
    station: str
    opened_at: float
    seen_at: float
    closed_at: float | None
    cause: str
    sentence: str
    closed_why: str
    camera: str = ""

    @property
    def series(self) -> str:
        """What drifted."""
        return series_name(self.station, self.camera)


@dataclass(frozen=True, slots=True)
class Retrain:
    """An attempt to mend a series with a new model. `figures` is a JSON object of what the steps measured.

    `alarm` is the one it answers, None where something else called for it (`trigger`).
    """

    id: int
    alarm: int | None
    station: str
    state: str
    reason: str
    run: str
    version: str
    figures: str
    started_at: float
    ended_at: float | None
    camera: str = ""
    trigger: str = "drift"

    @property
    def series(self) -> str:
        """What it was for."""
        return series_name(self.station, self.camera)


@dataclass(frozen=True, slots=True)
class Decided:
    """The latest decision whether to retrain for a series, and since when it stands; what called for it ("": nothing), and why."""

    series: str
    at: float
    go: bool
    trigger: str
    why: str


@dataclass(frozen=True, slots=True)
class Opened:
    """An alarm to be opened; times as in `Alarm`."""

    series: str
    at: float
    seen_at: float
    cause: str
    sentence: str


class AlarmBook(Protocol):
    """Alarms, the detectors' state and retrains."""

    def load_state(self) -> tuple[Cursor, dict[str, bytes]]:
        """Return (how far the summaries were read, detectors' snapshot by series)."""

    def commit(
        self,
        cursor: Cursor,
        snapshots: Mapping[str, bytes],
        opened: Sequence[Opened],
        cleared: Sequence[tuple[str, float, str]],
        settled: Sequence[tuple[str, float, str]] = (),
        points: Mapping[str, Sequence[TracePoint]] | None = None,
    ) -> None:
        """Store the detectors' state with the alarms it opened and cleared (series, at, why) and its points, in one transaction.

        What is opened where an alarm of another cause is open is that alarm from then on. `cleared` ends what the detectors raised,
        not what people's labels said; `settled` ends either.
        """

    def all(self) -> list[Alarm]:
        """Return every alarm, oldest first."""

    def open(self) -> list[Alarm]:
        """Return the alarms that are open."""

    def retrains(self) -> list[Retrain]:
        """Return every retrain, oldest first."""

    def start_retrain(
        self, alarm: Alarm | None, reason: str, now: float, *, series: str = "", trigger: str = "drift"
    ) -> int:
        """Record that an alarm, or without one `series`, is to be mended by a new model; return the retrain's id.

        `series` with an alarm: whose model is mended, where many share the alarm. What it learns is what is labelled now: all of
        the alarm, or without one all of the series that none has learnt.
        """

    def lesson(self, retrain: int) -> Mapping[str, str]:
        """Return what a retrain learns, as it was when it was begun: what each sample was said to be."""

    def leave_out(self, retrain: int, names: Collection[str]) -> None:
        """Record that a retrain does not learn these samples after all."""

    def unlearnt(self, series: str) -> Collection[str]:
        """Return the labelled samples of a series that no retrain has learnt as they are labelled now."""

    def update_retrain(self, retrain: int, **values: str | float) -> None:
        """Change columns of a retrain."""

    def decisions(self) -> list[Decided]:
        """Return the latest decision for each series that one was made for."""

    def note_decision(self, decided: Decided) -> None:
        """Store a decision in the place of the one before."""
