"""Drift alarms, the detectors' state, and the retrains they led to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import Connection, select, update

from cloud.drift.causes import Cause
from cloud.drift.trace import TracePoint
from cloud.ports.alarms import Alarm, Decided, Opened, Retrain
from cloud.ports.records import Cursor
from cloud.ports.series import split_series
from cloud.store.audit import write_audit
from cloud.store.database import Database
from cloud.store.drift_traces import extend_traces
from cloud.store.lessons import leave_out, lesson_of, unlearnt_of, write_lesson
from cloud.store.tables import alarms, drift_cursor, drift_state, retrain_decisions, retrains


def read_cursor(connection: Connection) -> Cursor:
    """Return how far the drift watch has read the summaries."""
    row = connection.execute(select(drift_cursor).where(drift_cursor.c.id == 1)).first()
    return Cursor() if row is None else Cursor(row.tx, row.cursor, row.position)


class Alarms:
    """The alarms, drift_state, retrains and retrain_decisions tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load_state(self) -> tuple[Cursor, dict[str, bytes]]:
        """Return (how far the summaries were read, detectors' snapshot by series)."""
        with self._database.read() as connection:
            cursor = read_cursor(connection)
            rows = connection.execute(select(drift_state.c.station, drift_state.c.snapshot)).all()
            return cursor, {row.station: row.snapshot for row in rows}

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
        with self._database.write() as connection:
            place = {"id": 1, "tx": cursor.tx, "cursor": cursor.row, "position": cursor.position}
            connection.execute(self._database.upsert(drift_cursor, "id", place))
            for series, snapshot in snapshots.items():
                values = {"station": series, "snapshot": snapshot}
                connection.execute(self._database.upsert(drift_state, "station", values))
            extend_traces(self._database, connection, points or {})
            for alarm in opened:
                self._raise(connection, alarm)
            for series, at, why in cleared:
                self._close(connection, series, at, why, but=Cause.CONCEPT_SHIFT)
            for series, at, why in settled:
                self._close(connection, series, at, why)

    def close(self, series: str, now: float, why: str) -> None:
        """Close the open alarm of a series, if there is one."""
        with self._database.write() as connection:
            self._close(connection, series, now, why)

    def all(self) -> list[Alarm]:
        """Return every alarm, oldest first."""
        with self._database.read() as connection:
            return [Alarm(**row._mapping) for row in connection.execute(select(alarms).order_by(alarms.c.id))]

    def open(self) -> list[Alarm]:
        """Return the alarms that are open."""
        return [alarm for alarm in self.all() if alarm.closed_at is None]

    def retrains(self) -> list[Retrain]:
        """Return every retrain, oldest first."""
        with self._database.read() as connection:
            return [Retrain(**row._mapping) for row in connection.execute(select(retrains).order_by(retrains.c.id))]

    def start_retrain(
        self, alarm: Alarm | None, reason: str, now: float, *, series: str = "", trigger: str = "drift"
    ) -> int:
        """Record that an alarm, or without one `series`, is to be mended by a new model; return the retrain's id.

        `series` with an alarm: whose model is mended, where many share the alarm. The decision that led to it, and what it learns,
        are stored in the same transaction.
        """
        station, camera = split_series(series or (alarm.series if alarm else ""))
        series = alarm.series if alarm else series
        with self._database.write() as connection:
            row = {
                "alarm": alarm.id if alarm else None,
                "station": station,
                "camera": camera,
                "state": "queued",
                "reason": reason,
                "trigger": trigger,
                "started_at": now,
            }
            key = connection.execute(retrains.insert().values(**row)).inserted_primary_key
            self._note(connection, Decided(series, now, True, trigger, reason))
            write_audit(connection, now, "plumbline", "retrain", f"{series}: {reason}")
            assert key is not None  # an autoincrement insert always has one
            write_lesson(connection, int(key[0]), alarm.id if alarm else None, series)
            return int(key[0])

    def lesson(self, retrain: int) -> dict[str, str]:
        """Return what a retrain learns, as it was when it was begun: what each sample was said to be."""
        with self._database.read() as connection:
            return lesson_of(connection, retrain)

    def leave_out(self, retrain: int, names: Collection[str]) -> None:
        """Record that a retrain does not learn these samples after all."""
        with self._database.write() as connection:
            leave_out(connection, retrain, names)

    def unlearnt(self, series: str) -> set[str]:
        """Return the labelled samples of a series that no retrain has learnt as they are labelled now."""
        with self._database.read() as connection:
            return unlearnt_of(connection, series)

    def update_retrain(self, retrain: int, **values: str | float) -> None:
        """Change columns of a retrain (state, run, version, figures, ended_at)."""
        with self._database.write() as connection:
            connection.execute(update(retrains).where(retrains.c.id == retrain).values(**values))

    def decisions(self) -> list[Decided]:
        """Return the latest decision for each series that one was made for."""
        query = select(retrain_decisions).order_by(retrain_decisions.c.series)
        with self._database.read() as connection:
            return [Decided(**row._mapping) for row in connection.execute(query)]

    def note_decision(self, decided: Decided) -> None:
        """Store a decision in the place of the one before."""
        with self._database.write() as connection:
            self._note(connection, decided)

    def _note(self, connection: Connection, decided: Decided) -> None:
        connection.execute(self._database.upsert(retrain_decisions, "series", asdict(decided)))

    def _raise(self, connection: Connection, alarm: Opened) -> None:
        """Open an alarm, or say of the one that is open what it is now."""
        found = self._open(connection, alarm.series)
        now = {"seen_at": alarm.seen_at, "cause": alarm.cause, "sentence": alarm.sentence}
        if found is None:
            station, camera = split_series(alarm.series)
            connection.execute(alarms.insert().values(station=station, camera=camera, opened_at=alarm.at, **now))
            act = "drift alarm"
        elif found[1] != alarm.cause:
            connection.execute(update(alarms).where(alarms.c.id == found[0]).values(**now))
            act = "drift alarm changed"
        else:
            return
        write_audit(connection, alarm.at, "plumbline", act, f"{alarm.series}: {alarm.sentence}")

    @staticmethod
    def _open(connection: Connection, series: str) -> tuple[int, str] | None:
        """Return (id, cause) of the open alarm of a series."""
        station, camera = split_series(series)
        whose = (alarms.c.station == station, alarms.c.camera == camera)
        query = select(alarms.c.id, alarms.c.cause).where(*whose, alarms.c.closed_at.is_(None))
        row = connection.execute(query).first()
        return None if row is None else (row.id, row.cause)

    def _close(self, connection: Connection, series: str, now: float, why: str, but: Cause | None = None) -> None:
        found = self._open(connection, series)
        if found is not None and (but is None or found[1] != but.value):
            connection.execute(update(alarms).where(alarms.c.id == found[0]).values(closed_at=now, closed_why=why))
            write_audit(connection, now, "plumbline", "alarm closed", f"{series}: {why}")
