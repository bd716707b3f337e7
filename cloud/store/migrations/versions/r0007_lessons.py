"""What each retrain learns. Of those of before: what their alarm asked for, or what was labelled of their camera by then."""

from __future__ import annotations

from alembic import op

from cloud.store.migrations.tables_0007 import lessons

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table, and fill it as the program before decided what was learnt."""
    lessons.create(op.get_bind())
    op.execute(
        "INSERT INTO lessons (retrain, sample, truth)"
        " SELECT r.id, s.sample, s.truth FROM retrains r JOIN samples s ON s.alarm = r.alarm"
        " WHERE r.alarm IS NOT NULL AND s.truth IS NOT NULL"
    )
    op.execute(
        "INSERT INTO lessons (retrain, sample, truth)"
        " SELECT r.id, s.sample, s.truth FROM retrains r"
        " JOIN samples s ON s.station = r.station AND s.camera = r.camera"
        " WHERE r.alarm IS NULL AND s.truth IS NOT NULL AND COALESCE(s.labelled_at, 0) <= r.started_at"
    )
