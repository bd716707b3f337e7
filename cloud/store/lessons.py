"""What each retrain learns: written down as it is begun, so that every label is learnt once, whenever it came to be known.

A label's own date says nothing of that: one may be imported weeks after it was given, from a clock that runs ahead or behind, or
be committed while a retrain is begun. So what was learnt is named, sample by sample, with what it was said to be.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, literal, select

from cloud.ports.series import split_series
from cloud.store.tables import lessons, retrains, samples

_AT_ONCE = 500


def write_lesson(connection: Connection, retrain: int, alarm: int | None, series: str) -> None:
    """Write down what a retrain learns: all labels of its alarm, or without one all of `series` that none has learnt."""
    whose = samples.c.alarm == alarm if alarm is not None else _unlearnt(series)
    found = select(literal(retrain), samples.c.sample, samples.c.truth).where(whose, samples.c.truth.is_not(None))
    connection.execute(lessons.insert().from_select(["retrain", "sample", "truth"], found))


def lesson_of(connection: Connection, retrain: int) -> dict[str, str]:
    """Return what a retrain learns: what each sample was said to be."""
    query = select(lessons.c.sample, lessons.c.truth).where(lessons.c.retrain == retrain)
    return {row.sample: row.truth for row in connection.execute(query)}


def leave_out(connection: Connection, retrain: int, names: Collection[str]) -> None:
    """Record that a retrain does not learn these samples after all."""
    wanted = sorted(names)
    for start in range(0, len(wanted), _AT_ONCE):
        some = lessons.c.sample.in_(wanted[start : start + _AT_ONCE])
        connection.execute(delete(lessons).where(lessons.c.retrain == retrain, some))


def unlearnt_of(connection: Connection, series: str) -> set[str]:
    """Return the labelled samples of a series that no retrain has learnt as they are labelled now."""
    query = select(samples.c.sample).where(samples.c.truth.is_not(None), _unlearnt(series))
    return {row.sample for row in connection.execute(query)}


def _unlearnt(series: str) -> ColumnElement[bool]:
    """Return the condition of samples of `series` that were not learnt, or as something else by the last that learnt them."""
    station, camera = split_series(series)
    # Of any series and any cause: labels of several answer an alarm that they share.
    last: Select[tuple[str]] = (
        select(lessons.c.truth)
        .join(retrains, retrains.c.id == lessons.c.retrain)
        .where(lessons.c.sample == samples.c.sample, retrains.c.ended_at.is_not(None), retrains.c.state != "failed")
        .order_by(lessons.c.retrain.desc())
        .limit(1)
    )
    learnt = func.coalesce(last.correlate(samples).scalar_subquery(), "")
    return and_(samples.c.station == station, samples.c.camera == camera, learnt != samples.c.truth)
