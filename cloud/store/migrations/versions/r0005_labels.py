"""Every act of a labeller, and what another person should see. The label that a frame has is its first act."""

from __future__ import annotations

from alembic import op

from cloud.store.migrations.tables_0005 import again, labels

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the two tables, and fill one."""
    for table in (labels, again):
        table.create(op.get_bind())
    op.execute(
        "INSERT INTO labels (sample, labeller, label, at)"
        " SELECT sample, COALESCE(labeller, ''), truth, COALESCE(labelled_at, 0) FROM samples WHERE truth IS NOT NULL"
        " ORDER BY labelled_at, sample"
    )
