"""A database that can no longer be believed: found at start, moved aside, and told of (DESIGN 8, P4)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from agent.store.memory import fact_of, facts_by_camera
from contract.errors import BadMessage
from contract.sketches.reference import decode_reference

_SUFFIX = ".corrupt-"
_QUICK_S = 5.0
_FULL_S = 30.0
_MOST_ROWS, _MOST_ROW_BYTES = 16, 64 << 10


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What was wrong, where the file is now ("" when it was too large to keep), and the facts saved out of it."""

    problem: str
    kept_as: str
    facts: dict[str, str]


def start_sound(
    path: Path, *, unclean: bool, now: float, monotonic: Callable[[], float], keep_bytes: int
) -> Quarantined | None:
    """Check the database at `path` before anything opens it, and quarantine it if it is damaged; None when it is sound.

    After an unclean end it is checked in full, else quickly; either for a bounded time, for a station that does not start
    judges nothing.
    """
    if not path.is_file():
        return None
    problem = check(path, monotonic, thorough=unclean)
    return quarantine(path, problem, now=now, keep_bytes=keep_bytes) if problem else None


def check(path: Path, monotonic: Callable[[], float], *, thorough: bool, within_s: float | None = None) -> str | None:
    """Return what is wrong with the database at `path`; "" for nothing that was found, None when time ran out.

    `thorough` reads every index too (PRAGMA integrity_check), else only every page (PRAGMA quick_check).
    """
    limit_s = within_s if within_s is not None else (_FULL_S if thorough else _QUICK_S)
    until = monotonic() + limit_s
    connection = sqlite3.connect(path, isolation_level=None, timeout=10.0)
    try:
        connection.set_progress_handler(lambda: monotonic() > until, 20_000)
        name = "integrity_check" if thorough else "quick_check"
        found = [str(row[0]) for row in connection.execute(f"PRAGMA {name}(3)")]
    except sqlite3.DatabaseError as error:
        if "interrupted" in str(error):
            return None
        if _is_corruption(error):
            return str(error)
        raise
    finally:
        connection.close()
    return "" if found == ["ok"] else "; ".join(found)[:300]


def is_corruption(error: BaseException) -> bool:
    """Return whether SQLite says that the file itself is damaged: trying again cannot help, a fresh file can."""
    return isinstance(error, sqlite3.DatabaseError) and _is_corruption(error)


def quarantine(path: Path, problem: str, *, now: float, keep_bytes: int) -> Quarantined:
    """Move the database at `path` and its log aside; the next start makes a fresh one, with a boot id of its own.

    At most one is kept, and none over `keep_bytes`: it is evidence, and evidence must not fill the disk.
    """
    facts = _save_facts(path)
    for old in kept(path):
        old.unlink(missing_ok=True)
    stamp = datetime.fromtimestamp(now, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}{_SUFFIX}{stamp}")
    parts = [(path.with_name(path.name + end), aside.with_name(aside.name + end)) for end in ("", "-wal")]
    size = sum(source.stat().st_size for source, _ in parts if source.exists())
    for source, target in parts:
        if not source.exists():
            continue
        if size <= keep_bytes:
            source.rename(target)
        else:
            source.unlink()
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    return Quarantined(problem, aside.name if size <= keep_bytes else "", facts)


def kept(path: Path) -> Sequence[Path]:
    """Return the files of the database quarantined beside `path`."""
    return sorted(path.parent.glob(f"{path.name}{_SUFFIX}*"))


def keep_damaged_row(connection: sqlite3.Connection, boot: str, seq: int, payload: bytes) -> None:
    """Set aside what a damaged row of the outbox held, as evidence; the last few are kept. The caller holds the transaction."""
    connection.execute(
        "INSERT INTO damaged_rows (boot, seq, payload) VALUES (?, ?, ?)", (boot, seq, payload[:_MOST_ROW_BYTES])
    )
    connection.execute("DELETE FROM damaged_rows WHERE id <= (SELECT MAX(id) FROM damaged_rows) - ?", (_MOST_ROWS,))


def _save_facts(path: Path) -> dict[str, str]:
    # A station that enrolled anew on whatever it sees now would call a drift that is under way its normal.
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            found = facts_by_camera(connection, "reference")
        finally:
            connection.close()
    except sqlite3.Error:
        return {}
    return {fact_of("reference", camera): text for camera, text in found.items() if _is_reference(text)}


def _is_reference(text: str) -> bool:
    try:
        decode_reference(text.encode())
    except BadMessage:
        return False
    return True


def _is_corruption(error: sqlite3.DatabaseError) -> bool:
    return any(word in str(error) for word in ("malformed", "not a database", "corrupt"))
