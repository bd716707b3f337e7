"""The schema, one step a change, in the order in which they came; a step that a release had is never edited."""

from __future__ import annotations

import sqlite3

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "0001_results_outbox_samples",
        (
            "CREATE TABLE memory (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
            """CREATE TABLE results (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                window INTEGER NOT NULL,
                captured_at REAL NOT NULL,
                part TEXT NOT NULL,
                verdict TEXT NOT NULL,
                cause TEXT NOT NULL,
                label TEXT NOT NULL,
                confidence REAL NOT NULL,
                latency_ms REAL NOT NULL,
                bundle TEXT NOT NULL,
                asked_cloud INTEGER NOT NULL,
                cloud_answer INTEGER NOT NULL
            )""",
            "CREATE INDEX results_window ON results (window)",
            # AUTOINCREMENT: an id is never used again, so "rows above this id" stays true after deletes.
            """CREATE TABLE outbox (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                boot TEXT NOT NULL,
                seq INTEGER NOT NULL,
                window INTEGER NOT NULL,
                bytes INTEGER NOT NULL,
                sent INTEGER NOT NULL DEFAULT 0,
                payload BLOB NOT NULL,
                UNIQUE (boot, seq)
            )""",
            """CREATE TABLE samples (
                sample TEXT PRIMARY KEY,
                window INTEGER NOT NULL,
                captured_at REAL NOT NULL,
                part TEXT NOT NULL,
                label TEXT NOT NULL,
                confidence REAL NOT NULL,
                verdict TEXT NOT NULL,
                reason TEXT NOT NULL,
                inclusion REAL NOT NULL,
                bytes INTEGER NOT NULL,
                uploaded INTEGER NOT NULL DEFAULT 0
            )""",
            "CREATE INDEX samples_window ON samples (window)",
            """CREATE TABLE totals (
                day INTEGER PRIMARY KEY,
                captured INTEGER NOT NULL,
                passed INTEGER NOT NULL,
                rejected INTEGER NOT NULL,
                review INTEGER NOT NULL
            )""",
        ),
    ),
    (
        "0002_asked_for_and_drops",
        (
            # An image the cloud has asked for and does not have yet is worth more than any other.
            "ALTER TABLE samples ADD COLUMN asked INTEGER NOT NULL DEFAULT 0",
            # What was let go, by cause; `untold` of them the cloud was not told of yet.
            "CREATE TABLE drops (cause TEXT PRIMARY KEY, total INTEGER NOT NULL, untold INTEGER NOT NULL)",
        ),
    ),
    (
        "0003_cameras",
        (
            # Windows are numbered per camera; what was recorded so far is the only camera's, whose name is "".
            "ALTER TABLE results ADD COLUMN camera TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE outbox ADD COLUMN camera TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE samples ADD COLUMN camera TEXT NOT NULL DEFAULT ''",
            # Dropped first: its pages are what the new index is written into, on a disk that may be full.
            "DROP INDEX results_window",
            "CREATE INDEX results_camera_window ON results (camera, window)",
        ),
    ),
    (
        "0004_second_opinions",
        (
            # `told` counts how much of a row the cloud knows: 1 that it was queued, 2 how it ended.
            """CREATE TABLE second_opinions (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                sample TEXT NOT NULL UNIQUE,
                result INTEGER NOT NULL,
                bundle TEXT NOT NULL,
                cause TEXT NOT NULL,
                local_label TEXT NOT NULL,
                state TEXT NOT NULL DEFAULT 'waiting',
                queued_at REAL NOT NULL,
                tries INTEGER NOT NULL DEFAULT 0,
                next_try_at REAL NOT NULL DEFAULT 0,
                label TEXT NOT NULL DEFAULT '',
                confidence REAL NOT NULL DEFAULT 0,
                good REAL NOT NULL DEFAULT 0,
                model TEXT NOT NULL DEFAULT '',
                verdict TEXT NOT NULL DEFAULT '',
                agreed INTEGER NOT NULL DEFAULT 0,
                gone TEXT NOT NULL DEFAULT '',
                detail TEXT NOT NULL DEFAULT '',
                ended_at REAL NOT NULL DEFAULT 0,
                told INTEGER NOT NULL DEFAULT 0
            )""",
            "CREATE INDEX second_opinions_result ON second_opinions (result)",
            "CREATE INDEX second_opinions_waiting ON second_opinions (id) WHERE state = 'waiting'",
            "CREATE INDEX second_opinions_untold ON second_opinions (told) WHERE told < 2",
            # Whatever deletes an image's row, in whatever transaction: nothing waits for an image that is not there.
            """CREATE TRIGGER samples_gone AFTER DELETE ON samples BEGIN
                UPDATE second_opinions SET state = 'gone', gone = 'evicted' WHERE sample = OLD.sample AND state = 'waiting';
            END""",
        ),
    ),
    (
        "0005_novelty",
        ("ALTER TABLE samples ADD COLUMN novelty REAL NOT NULL DEFAULT 0",),
    ),
    (
        "0006_outbox_checked",
        (
            # CRC-32 of the payload; NULL in rows that are older than this. `covers` is kept beside the payload, which may be
            # damaged.
            "ALTER TABLE outbox ADD COLUMN crc INTEGER",
            "ALTER TABLE outbox ADD COLUMN covers TEXT NOT NULL DEFAULT ''",
            "CREATE TABLE damaged_rows (id INTEGER PRIMARY KEY, boot TEXT NOT NULL, seq INTEGER NOT NULL, payload BLOB NOT NULL)",
        ),
    ),
)
SET = "agent"
"""What sqlite-utils knows the steps by (`agent.store.migrations`)."""
_KNOWN = (
    """CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
)""",
    """CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name")""",
)


def make(connection: sqlite3.Connection) -> None:
    """Make every table in a file that has none; what brings older files up to date finds each step done.

    It needs no library: a station would keep one in memory for months, for what its first start did. The caller holds the
    transaction.
    """
    for statement in _KNOWN:
        connection.execute(statement)
    for name, statements in STEPS:
        for statement in statements:
            connection.execute(statement)
        connection.execute(
            'INSERT INTO "_sqlite_migrations" (migration_set, name, applied_at)'
            " VALUES (?, ?, strftime('%Y-%m-%d %H:%M:%f000+00:00', 'now'))",
            (SET, name),
        )
