"""The newest evidence of each series, written with the detectors' state."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from cloud.drift.trace import TracePoint, decode_trace, encode_trace, with_points
from cloud.store.database import Database
from cloud.store.operate_tables import drift_traces
from contract.errors import BadMessage

_log = logging.getLogger(__name__)

_AT_ONCE = 500


class DriftTraces:
    """The drift_traces table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, series: str) -> tuple[TracePoint, ...]:
        """Return a series' stored points, oldest first."""
        with self._database.read() as connection:
            return _read(connection, [series]).get(series, ())


def extend_traces(database: Database, connection: Connection, points: Mapping[str, Sequence[TracePoint]]) -> None:
    """Add points to the traces of some series. Added again, they change nothing."""
    known = _read(connection, sorted(points))
    rows = [
        {"series": series, "trace": encode_trace(with_points(known.get(series, ()), points[series]))}
        for series in sorted(points)
    ]
    database.upsert_rows(connection, drift_traces, ["series"], rows)


def _read(connection: Connection, names: Sequence[str]) -> dict[str, tuple[TracePoint, ...]]:
    found = {}
    for start in range(0, len(names), _AT_ONCE):
        query = select(drift_traces).where(drift_traces.c.series.in_(names[start : start + _AT_ONCE]))
        for row in connection.execute(query):
            try:
                found[row.series] = decode_trace(row.trace)
            except BadMessage as error:
                _log.warning("the chart of %s starts anew: %s", row.series, error.one_line())
    return found
