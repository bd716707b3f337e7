"""Summaries as the watch over a rollout reads them: counts by column, and payloads only where it asks for latency."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from sqlalchemy import func, or_, select, text

from cloud.ports.records import Cursor
from cloud.ports.rollout_evidence import SpotCounts, WindowRow
from cloud.review.label_choice import is_right
from cloud.store.database import Database
from cloud.store.summary_tables import summaries
from cloud.store.tables import again, samples
from contract.codec import decode_summary
from contract.errors import PlumblineError
from contract.sketches.label_counts import LATENCY_BINS, MIN_LATENCY_US
from contract.sketches.wire import from_wire

# As in `cloud.store.summaries`: only what no running transaction can come before.
_SETTLED = "tx < (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint"
_EDGE = (1e8 / MIN_LATENCY_US) ** (1.0 / LATENCY_BINS)
_CENTRES = MIN_LATENCY_US * _EDGE ** (np.arange(LATENCY_BINS) + 0.5)


class RolloutEvidenceRows:
    """Reads the summaries and samples tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, at: float) -> Cursor:
        """Return where to read from to see every summary that is filed at `at` or later, and maybe some before it."""
        c = summaries.c
        first = c.tx if self._database.is_postgresql else c.id
        recent = (c.level == 0, c.filed_at >= at)
        last = select(func.max(first))
        with self._database.read() as connection:
            found = connection.execute(select(func.min(first)).where(*recent)).scalar()
            if found is None:
                # Nothing is so new: begin after all there is.
                found = (connection.execute(last).scalar() or 0) + 1
        return Cursor(int(found) - 1, (1 << 63) - 1) if self._database.is_postgresql else Cursor(0, int(found) - 1)

    def rows(self, cursor: Cursor, limit: int) -> Sequence[WindowRow]:
        """Return up to `limit` summaries after `cursor`, in an order in which nothing ever appears before what was read."""
        c = summaries.c
        query = select(
            c.tx, c.id, c.station, c.bundle, c.started_at, c.ended_at, c.passed, c.rejected, c.decided
        ).limit(limit)
        if self._database.is_postgresql:
            query = query.where(text("(tx, id) > (:tx, :row)").bindparams(tx=cursor.tx, row=cursor.row), text(_SETTLED))
            query = query.order_by(c.tx, c.id)
        else:
            query = query.where(c.id > cursor.row).order_by(c.id)
        with self._database.read() as connection:
            found = connection.execute(query).all()
        return [WindowRow(Cursor(tx, row, cursor.position), row, *others) for tx, row, *others in found]

    def latencies(self, rows: Collection[int]) -> dict[int, tuple[float, int]]:
        """Return (mean us a frame, frames) of the summaries named that tell: from the middles of their histograms' bins."""
        if not rows:
            return {}
        c = summaries.c
        with self._database.read() as connection:
            payloads = connection.execute(select(c.id, c.payload).where(c.id.in_(sorted(rows)))).all()
        told: dict[int, tuple[float, int]] = {}
        for row, payload in payloads:
            try:
                window = decode_summary(bytes(payload)).window
                counts = from_wire(window).latency_histogram() if window is not None else None
            except PlumblineError:
                continue  # what cannot be read now was accepted by another version: it tells nothing
            if counts is not None and (frames := int(counts.sum())):
                told[int(row)] = (float((_CENTRES * counts).sum() / frames), frames)
        return told

    def labelled(self, since: float) -> dict[tuple[str, str], SpotCounts]:
        """Return by (station, bundle) what people say of the frames drawn at random since then."""
        c = samples.c
        # Whether an answer is one of several that a truth names is not the database's to say: it counts, for each pair of them.
        query = select(c.station, c.bundle, c.label, c.truth, func.count()).outerjoin(again, again.c.sample == c.sample)
        said = or_(c.truth.is_not(None), again.c.why.is_not(None))
        query = query.where(said, c.reason == "audit", c.captured_at >= since)
        query = query.group_by(c.station, c.bundle, c.label, c.truth)
        found: dict[tuple[str, str], SpotCounts] = {}
        with self._database.read() as connection:
            for station, bundle, label, truth, count in connection.execute(query):
                so_far = found.get((station, bundle), SpotCounts())
                found[station, bundle] = SpotCounts(
                    so_far.labelled + (count if truth is not None else 0),
                    so_far.right + (count if is_right(label, truth) else 0),
                    so_far.disputed + (count if truth is None else 0),
                )
        return found
