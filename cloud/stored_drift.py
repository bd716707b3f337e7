"""The drift of every series across restarts: windows in, alarms out, each stored with all the detectors' state that it came of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from cloud.drift.causes import Cause
from cloud.drift.fleet import FleetDrift
from cloud.drift.fleet_status import DriftEvent, EventKind
from cloud.drift.observation import WindowRecord
from cloud.drift.policy import DriftPolicy
from cloud.drift.trace import TracePoint
from cloud.label_watch import LabelWatch
from cloud.ports.alarms import AlarmBook, Opened
from cloud.ports.records import Cursor
from cloud.ports.series import series_name
from cloud.unsaved import Unsaved
from contract.codec import decode_summary
from contract.errors import BadMessage, SketchMismatch
from contract.sketches.wire import from_wire

_log = logging.getLogger(__name__)


class StoredDrift:
    """Keeps `fleet`, the detectors, and `alarms`, what is stored of them, in step. Its owner lets in one thread at a time."""

    def __init__(
        self,
        policy: DriftPolicy,
        cohorts: Mapping[str, Sequence[str]],
        *,
        alarms: AlarmBook,
        labels: LabelWatch,
        now: Callable[[], float],
    ) -> None:
        """`cohorts`: see `FleetDrift`."""
        self._policy, self._cohorts, self._alarms, self._labels, self._now = policy, cohorts, alarms, labels, now
        self._cursor = Cursor()
        self._untold: list[DriftEvent] = []
        self._load()

    @property
    def last_read(self) -> Cursor:
        """The last row of the summaries that was observed."""
        return self._cursor

    def newest_points(self, series: str) -> list[TracePoint]:
        """Return the points of a series' chart that are not stored yet."""
        return list(self._points.get(series, ()))

    def observe(self, rows: Sequence[tuple[Cursor, bytes]]) -> list[Opened]:
        """Take in summaries that follow `last_read`; return the alarms they opened."""
        try:
            return self._observe(rows)
        except BaseException:
            # An alarm that could not be stored would be known here and nowhere else: go on from what is stored.
            self._load()
            raise

    def add_alarms(self, opened: Sequence[Opened]) -> None:
        """Store alarms that the detectors know nothing of."""
        self._keep([], opened, [])

    def re_enrol(self, series: str, cameras: Sequence[str], reason: str, now: float) -> None:
        """Let `cameras`, whose alarm `series` is, learn their normal anew, all at once; the alarm is closed."""
        told = [event for camera in cameras for event in self.fleet.re_enrol(camera, reason, now)]
        # What one of them is told while the next has yet to follow was over before anybody could read it.
        events = [event for event in told if event.subject not in (series, *cameras)]
        settled = [(each, now, reason) for each in sorted({series, *cameras})]
        seen = set(self.fleet.stations())
        self._keep(seen.intersection(cameras), self._opened(events, now), _cleared(events, now), settled)

    def tell_untold(self) -> None:
        """Store what became true while nobody watched: other cohorts in the config, say."""
        if self._untold:
            now = self._now()
            self._keep([], self._opened(self._untold, now), _cleared(self._untold, now))
            self._untold = []

    def _observe(self, rows: Sequence[tuple[Cursor, bytes]]) -> list[Opened]:
        events: list[DriftEvent] = []
        now = self._now()
        for cursor, payload in rows:
            before, self._cursor = self._cursor, cursor
            try:
                summary = decode_summary(payload)
                if summary.window is None:
                    continue
                h, window = summary.header, from_wire(summary.window)
                series = series_name(h.station, h.camera)
                self._unsaved.saw(series, before, now)
                self._labels.saw(cursor.position, h, window)
                record = WindowRecord(
                    series, h.boot, h.seq, h.started_at, h.ended_at, window, h.monotonic_s, h.clock_synced
                )
                events += self.fleet.observe(record)
                if (point := self.fleet.trace_point(series)) is not None:
                    self._points.setdefault(series, []).append(point)
            except (BadMessage, SketchMismatch) as error:
                # Stored by a version that let it through: one window less must not end the watch over every station.
                _log.error("summary row %d is left out of the drift watch: %s", cursor.row, error.one_line())
        opened, cleared = self._opened(events, now), _cleared(events, now)
        # An alarm is stored with all that it came of: other stations' evidence may be part of it.
        self._keep(self._unsaved.all() if opened or cleared else self._unsaved.due(now), opened, cleared)
        return opened

    def _load(self) -> None:
        self.fleet = FleetDrift(self._policy, self._cohorts)
        self._unsaved: Unsaved[Cursor] = Unsaved()
        # What charts show of windows whose state is not stored yet; read again after a restart, as those are.
        self._points: dict[str, list[TracePoint]] = {}
        self._cursor, snapshots = self._alarms.load_state()
        self._recorded = self._cursor
        unread = set()
        for series, snapshot in snapshots.items():
            try:
                self.fleet.restore_station(snapshot)
            except BadMessage as error:
                # Of an older version as a rule. Its open alarm, if it has one, stays open: that a person must settle.
                _log.warning("%s is learnt anew: %s", series, error.one_line())
                unread.add(series)
        # What people's labels opened the detectors know nothing of.
        raised = [a.series for a in self._alarms.open() if a.cause != Cause.CONCEPT_SHIFT.value]
        resume: Callable[[Iterable[str]], Sequence[DriftEvent] | None] = self.fleet.resume
        self._untold = list(resume(series for series in raised if series not in unread) or ())

    def _opened(self, events: Sequence[DriftEvent], now: float) -> list[Opened]:
        kinds = (EventKind.ALARM_RAISED, EventKind.SHARED_ALARM_RAISED)
        return [Opened(e.subject, now, e.at, e.cause.value, self._sentence(e)) for e in events if e.kind in kinds]

    def _sentence(self, event: DriftEvent) -> str:
        """Return the event's sentence; that of a label shift also says which label's share moved, where that can be told."""
        if event.kind is not EventKind.ALARM_RAISED or event.cause is not Cause.LABEL_SHIFT or not event.evidence:
            return event.sentence
        # What built up slowly is sure over more windows than those that crossed the margin in a row.
        spans = (event.evidence[0].windows, 6, 12)
        moved = next(filter(None, (self._labels.moved_share(event.subject, span) for span in spans)), "")
        return f"{event.sentence}; {moved}" if moved else event.sentence

    def _keep(
        self,
        series: Iterable[str],
        opened: Sequence[Opened],
        cleared: Sequence[tuple[str, float, str]],
        settled: Sequence[tuple[str, float, str]] = (),
    ) -> None:
        saving = set(series)
        read = self._unsaved.read_up_to(self._cursor, saving)
        if not (saving or opened or cleared or settled) and read == self._recorded:
            return
        self._labels.keep(saving)
        snapshots = {each: self.fleet.snapshot_station(each) for each in sorted(saving & set(self.fleet.stations()))}
        points = {each: self._points[each] for each in sorted(saving & self._points.keys())}
        self._alarms.commit(read, snapshots, opened, cleared, settled, points)
        self._recorded = read
        for each in points:
            del self._points[each]
        self._unsaved.saved(saving)


def _cleared(events: Sequence[DriftEvent], now: float) -> list[tuple[str, float, str]]:
    """Return what the events ended; not what one of them raised again."""
    kinds = (EventKind.ALARM_CLEARED, EventKind.SHARED_ALARM_CLEARED)
    last = {e.subject: e for e in events if e.kind is not EventKind.ENROLLED}
    return [(e.subject, now, e.sentence) for e in last.values() if e.kind in kinds]
