"""The tables of revision 0005 as it made them: frozen, whatever becomes of `cloud.store.tables`."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, MetaData, String, Table

_metadata = MetaData()

labels = Table(
    "labels",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("sample", String(80), nullable=False),
    Column("labeller", String(120), nullable=False),
    Column("label", String(120), nullable=False),
    Column("at", Float, nullable=False),
    Column("kind", String(8), nullable=False, default="label", server_default="label"),
    Column("note", String(80), nullable=False, default="", server_default=""),
    Index("labels_by_sample", "sample"),
    Index("labels_by_time", "at"),
)

again = Table(
    "again",
    _metadata,
    Column("sample", String(80), primary_key=True),
    Column("why", String(16), nullable=False),
)
