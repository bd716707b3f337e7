"""What a database holds, for people."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, inspect, select, text

from cloud.store.database import Database
from cloud.store.partitions import partition_names
from cloud.store.schema import HEAD, schema_version
from cloud.store.summary_tables import summaries
from cloud.store.tables import metadata


def view_database(database: Database) -> dict[str, Any]:
    """Return JSON-ready values: url (no password), engine, version ("" for an empty one), newest, bytes, rows, partitions.

    `rows` are counted one by one, so it may take a while.
    """
    engine = database.engine
    with database.read() as connection:
        there = set(inspect(connection).get_table_names())
        version = schema_version(connection)
        rows = {
            name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in metadata.tables.items()
            if name in there
        }
        partitions = {}
        if database.is_postgresql and version == HEAD:
            for name in partition_names(connection):
                partitions[name] = connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
        levels = {}
        if version == HEAD:
            level = summaries.c.level
            found = connection.execute(select(level, func.count()).group_by(level).order_by(level)).all()
            levels = {("as sent", "an hour", "a day")[row[0]]: row[1] for row in found}
        return {
            "url": engine.url.render_as_string(hide_password=True),
            "engine": _engine(connection),
            "version": version,
            "newest": HEAD,
            "bytes": _size(connection),
            "rows": rows,
            "summaries": levels,
            "partitions": partitions,
        }


def _engine(connection: Connection) -> str:
    version = ".".join(map(str, connection.dialect.server_version_info or ()))
    return f"{'PostgreSQL' if connection.dialect.name == 'postgresql' else 'SQLite'} {version}"


def _size(connection: Connection) -> int:
    if connection.dialect.name == "postgresql":
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
    pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar() or 0)
    return pages * int(connection.exec_driver_sql("PRAGMA page_size").scalar() or 0)
