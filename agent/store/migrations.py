"""The schema, one migration a change; applied ones are never edited."""

from __future__ import annotations

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

migrations = Migrations("agent")


@migrations(name="0001_results_outbox_samples")
def _results_outbox_samples(db: Database) -> None:
    for statement in (
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
    ):
        db.execute(statement)


@migrations(name="0002_asked_for_and_drops")
def _asked_for_and_drops(db: Database) -> None:
    for statement in (
        # An image the cloud has asked for and does not have yet is worth more than any other.
        "ALTER TABLE samples ADD COLUMN asked INTEGER NOT NULL DEFAULT 0",
        # What was let go, by cause; `untold` of them the cloud was not told of yet.
        "CREATE TABLE drops (cause TEXT PRIMARY KEY, total INTEGER NOT NULL, untold INTEGER NOT NULL)",
    ):
        db.execute(statement)


@migrations(name="0003_cameras")
def _cameras(db: Database) -> None:
    for statement in (
        # Windows are numbered per camera; what was recorded so far is the only camera's, whose name is "".
        "ALTER TABLE results ADD COLUMN camera TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE outbox ADD COLUMN camera TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE samples ADD COLUMN camera TEXT NOT NULL DEFAULT ''",
        # Dropped first: its pages are what the new index is written into, on a disk that may be full.
        "DROP INDEX results_window",
        "CREATE INDEX results_camera_window ON results (camera, window)",
    ):
        db.execute(statement)


@migrations(name="0004_second_opinions")
def _second_opinions(db: Database) -> None:
    for statement in (
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
    ):
        db.execute(statement)


@migrations(name="0005_novelty")
def _novelty(db: Database) -> None:
    db.execute("ALTER TABLE samples ADD COLUMN novelty REAL NOT NULL DEFAULT 0")


@migrations(name="0006_outbox_checked")
def _outbox_checked(db: Database) -> None:
    for statement in (
        # CRC-32 of the payload; NULL in rows that are older than this. `covers` is kept beside the payload, which may be damaged.
        "ALTER TABLE outbox ADD COLUMN crc INTEGER",
        "ALTER TABLE outbox ADD COLUMN covers TEXT NOT NULL DEFAULT ''",
        "CREATE TABLE damaged_rows (id INTEGER PRIMARY KEY, boot TEXT NOT NULL, seq INTEGER NOT NULL, payload BLOB NOT NULL)",
    ):
        db.execute(statement)
