"""What a station of the failure suite produced, as it wrote down itself: one line a summary, before the commit that stores it.

A line whose commit never came is told from the others by the next sequence number of the boot: the process writes that as it
starts, and the reader takes the last one from the database. Each summary also carries a marker, a cause of one dropped frame named
like no other: causes are added up when summaries are merged, so that a marker arrives once whatever became of its summary.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from contract.messages import Accounting, Summary

LEDGER = "produced.jsonl"
DATABASE = "state/agent.sqlite"
MARKER = "m:"


@dataclass(frozen=True, slots=True)
class Produced:
    """One summary as it was added to the outbox."""

    boot: str
    seq: int
    captured: int
    markers: tuple[str, ...]


class LedgerFile:
    """Appends lines that are on the disk when `write` returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, line: dict[str, object]) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)


def markers_of(accounting: Accounting) -> Counter[str]:
    """Return how often each marker is in there."""
    return Counter({name: count for name, count in accounting.dropped.items() if name.startswith(MARKER)})


def markers_in(summaries: Iterable[Summary]) -> Counter[str]:
    """Return how often each marker is in these."""
    found: Counter[str] = Counter()
    for summary in summaries:
        found.update(markers_of(summary.accounting))
    return found


def read_produced(home: Path) -> dict[tuple[str, int], Produced]:
    """Return what the station in `home` durably produced, by (boot, seq). Its process must not be running."""
    found: dict[tuple[str, int], Produced] = {}
    lines = (home / LEDGER).read_text().splitlines() if (home / LEDGER).exists() else []
    for text in lines:
        line = json.loads(text)
        if "next_seq" in line:
            found = _without_uncommitted(found, line["boot"], line["next_seq"])
            continue
        made = Produced(line["boot"], line["seq"], line["captured"], tuple(line["markers"]))
        found[made.boot, made.seq] = made
    boot, next_seq = next_name(home / DATABASE)
    return _without_uncommitted(found, boot, next_seq)


def next_name(database: Path) -> tuple[str, int]:
    """Return (boot, sequence number) of the summary that would be added next."""
    connection = sqlite3.connect(database, timeout=10.0)
    try:
        facts = dict(connection.execute("SELECT name, value FROM memory WHERE name IN ('boot', 'next_seq')"))
    finally:
        connection.close()
    return str(facts["boot"]), int(facts.get("next_seq", 1))


def outbox_depth(home: Path) -> int:
    """Return how many summaries wait in the outbox of the station in `home`, 0 before there is one."""
    if not (home / DATABASE).exists():
        return 0
    connection = sqlite3.connect(home / DATABASE, timeout=10.0)
    try:
        return int(connection.execute("SELECT COUNT(*) FROM outbox").fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # it is being made
    finally:
        connection.close()


def _without_uncommitted(
    found: dict[tuple[str, int], Produced], boot: str, next_seq: int
) -> dict[tuple[str, int], Produced]:
    return {key: made for key, made in found.items() if key[0] != boot or key[1] < next_seq}
