"""Who may do what, approvals, stages of versions, notices, promises and costs; rollouts with a plan and evidence."""

from __future__ import annotations

from alembic import op

from cloud.store.migrations import tables_0006 as new

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables and add the columns."""
    for table in (
        new.access_tokens,
        new.sessions,
        new.approvals,
        new.version_stages,
        new.version_aliases,
        new.notices,
        new.notice_posts,
        new.slo_hours,
        new.slo_marks,
        new.cost_days,
        new.drift_traces,
        new.review_claims,
    ):
        table.create(op.get_bind())
    # A page of one station must not read every station's rows.
    op.drop_index("summaries_by_age", "summaries")
    op.create_index("summaries_by_age", "summaries", ["level", "filed_at", "station"])
    for name, columns in new.added().items():
        for column in columns:
            op.add_column(name, column)
