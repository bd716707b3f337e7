"""One-time tokens and certificates of stations."""

from __future__ import annotations

from alembic import op

from cloud.store.migrations.tables_0003 import certificates, enrol_tokens

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the two tables."""
    for table in (enrol_tokens, certificates):
        table.create(op.get_bind())
