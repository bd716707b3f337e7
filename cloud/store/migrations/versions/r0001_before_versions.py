"""A database of before there were versions, brought to one set of tables: what is missing is added, nothing is taken away.

A column that a table gained has a default on the server's side, so that the rows which are there get it too.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Connection, String, inspect
from sqlalchemy.schema import CreateColumn

from cloud.store.migrations.tables_0001 import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Add the tables, columns and indexes that are missing, and widen texts that grew."""
    connection = op.get_bind()
    metadata.create_all(connection)
    _add_what_is_missing(connection)


def _add_what_is_missing(connection: Connection) -> None:
    found = inspect(connection)
    dialect = connection.dialect
    for table in metadata.sorted_tables:
        here = {column["name"]: column["type"] for column in found.get_columns(table.name)}
        name = dialect.identifier_preparer.format_table(table)
        for column in table.columns:
            wanted = column.type
            if column.name not in here:
                added = CreateColumn(column).compile(dialect=dialect)
                connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN {added}")
            # SQLite takes a text of any length whatever the table says.
            elif dialect.name == "postgresql" and _is_shorter(here[column.name], wanted):
                quoted = dialect.identifier_preparer.format_column(column)
                wider = wanted.compile(dialect=dialect)
                connection.exec_driver_sql(f"ALTER TABLE {name} ALTER COLUMN {quoted} TYPE {wider}")
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def _is_shorter(here: object, wanted: object) -> bool:
    if not isinstance(here, String) or not isinstance(wanted, String):
        return False
    return here.length is not None and wanted.length is not None and here.length < wanted.length
