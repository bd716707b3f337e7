"""A PostgreSQL database that was restored into another server, whose transactions are counted from a lower number.

Rows of "later" transactions would never be settled there, and new ones would lie before the cursor of the drift watch: unread for
ever. Found when the database is opened, they are numbered anew: 0 what was read, 1 what was not (real ones begin at 3).
"""

from __future__ import annotations

from sqlalchemy import Connection, text

_NEXT = "(pg_snapshot_xmax(pg_current_snapshot())::text)::bigint"
_HIGHEST = f"""SELECT greatest((SELECT tx FROM summaries ORDER BY tx DESC LIMIT 1), (SELECT max(tx) FROM drift_cursor), 0)
>= {_NEXT}"""
_RENUMBER = """UPDATE summaries SET tx = CASE WHEN (summaries.tx, summaries.id) <=
(SELECT coalesce(max(c.tx), -1), coalesce(max(c.cursor), 0) FROM drift_cursor c) THEN 0 ELSE 1 END"""


def is_of_another_server(connection: Connection) -> bool:
    """Return whether rows bear numbers of transactions that this server has not begun yet."""
    return bool(connection.execute(text(_HIGHEST)).scalar())


def number_anew(connection: Connection) -> None:
    """Give every row of the log a number that lies before all transactions to come, and the cursor its place among them."""
    connection.execute(text("LOCK TABLE summaries IN SHARE ROW EXCLUSIVE MODE"))
    if is_of_another_server(connection):  # still: another process may have been first
        connection.execute(text(_RENUMBER))
        last = "SELECT coalesce(max(id), 0) FROM summaries WHERE tx = 0"
        connection.execute(text(f"UPDATE drift_cursor SET tx = 0, cursor = ({last})"))
