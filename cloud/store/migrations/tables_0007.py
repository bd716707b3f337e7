"""The table of revision 0007 as it made it: frozen, whatever becomes of `cloud.store.tables`."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData, String, Table

_metadata = MetaData()

retrains = Table("retrains", _metadata, Column("id", Integer, primary_key=True))

lessons = Table(
    "lessons",
    _metadata,
    Column("retrain", Integer, ForeignKey("retrains.id"), primary_key=True),
    Column("sample", String(80), primary_key=True),
    Column("truth", String(120), nullable=False),
    Index("lessons_by_sample", "sample"),
)
