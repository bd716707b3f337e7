"""The boot id in force: (boot, seq) names a summary for ever, so a second device that counts under it needs another (DESIGN 5).

`claim_boot` finds a clone or a restored backup at the start, where the file's inode, machine or life tells. What that cannot see
(a disk image, two machines alike) the cloud does: then a fresh boot begins in a running process. The functions here read and
write the fact in the caller's transaction, so every connection sees the same.
"""

from __future__ import annotations

import secrets
import sqlite3

from agent.store.memory import put_fact

_KEPT = 8


def current_boot(connection: sqlite3.Connection) -> str:
    """Return the boot in force, "" where none was claimed yet."""
    return _fact(connection, "boot")


def earlier_boots(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Return the boots that this file itself has left behind while running: what is marked with one of them is its own."""
    return tuple(_fact(connection, "renewed_from").split())


def begin_boot(connection: sqlite3.Connection, old: str) -> str:
    """Put a fresh boot in the place of `old`; its sequence begins at 1. The caller holds the transaction."""
    boot = secrets.token_hex(8)
    put_fact(connection, "renewed_from", " ".join([*earlier_boots(connection), old][-_KEPT:]))
    put_fact(connection, "boot", boot)
    put_fact(connection, "next_seq", "1")
    return boot


def next_seq(connection: sqlite3.Connection) -> int:
    """Return the sequence number that the next new summary gets."""
    return int(_fact(connection, "next_seq") or 1)


def draw_seq(connection: sqlite3.Connection) -> int:
    """Return the next sequence number, which nobody else gets. The caller holds the transaction."""
    seq = next_seq(connection)
    put_fact(connection, "next_seq", str(seq + 1))
    return seq


def claimed_above(connection: sqlite3.Connection) -> int:
    """Return the highest row id there was when this process claimed the file: a copy made before may hold those rows too."""
    return int(_fact(connection, "claimed_above") or 0)


def _fact(connection: sqlite3.Connection, name: str) -> str:
    row = connection.execute("SELECT value FROM memory WHERE name = ?", (name,)).fetchone()
    return str(row[0]) if row else ""
