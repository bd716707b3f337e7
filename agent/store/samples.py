"""Images kept for review: PNG files beside the database, one row each, bounded by count and bytes."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.store.database import storage_faults
from agent.store.png import encode_png
from contract.activation_map import PNG_KEYWORD, ActivationMap, encode_map
from contract.errors import StorageFull
from contract.messages import SampleNote

_COLUMNS = "sample, captured_at, part, label, confidence, verdict, reason, inclusion, novelty"
# Files take whole blocks.
_ON_DISK = "(bytes + 4095) / 4096 * 4096"
_WHY = "CASE WHEN uploaded THEN 'uploaded' WHEN asked THEN 'asked-for' ELSE reason END"
_BY_VALUE = (
    "CASE WHEN uploaded THEN 0 WHEN asked THEN 4 WHEN reason IN ('hard', 'novel') THEN 3 WHEN reason = 'audit' THEN 2 ELSE 1 END,"
    " captured_at"
)
_PLAIN = re.compile(r"[a-z0-9_-]{1,80}")


class Samples:
    """The kept images over one connection; another thread uses another `Samples` on its own connection."""

    def __init__(
        self, connection: sqlite3.Connection, folder: Path, *, max_count: int = 2_000, max_bytes: int = 256 << 20
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._max_count = max_count
        self._max_bytes = max_bytes

    def write(self, note: SampleNote, pixels: NDArray[np.uint8], looked: ActivationMap | None = None) -> int:
        """Write the image of `note` (u8[H,W] or u8[H,W,3]) as a PNG file, and where the model looked in it; return its bytes.

        Raises:
            StorageFull: the disk has no room.
        """
        png = encode_png(pixels, {PNG_KEYWORD: encode_map(looked)} if looked else {})
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._path(note.sample).write_bytes(png)
        except OSError as error:
            raise StorageFull(
                f"a sample cannot be kept in '{self._folder}': {error}", hint="free disk space"
            ) from error
        return len(png)

    def add(self, note: SampleNote, window: int, size_bytes: int, camera: str = "") -> None:
        """Insert the row of an image written in `window` of `camera`. The caller holds the transaction."""
        self._connection.execute(
            f"INSERT OR REPLACE INTO samples ({_COLUMNS}, window, bytes, camera)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                note.sample,
                note.captured_at,
                note.part,
                note.label,
                note.confidence,
                note.verdict,
                note.reason,
                note.inclusion,
                note.novelty,
                window,
                size_bytes,
                camera,
            ),
        )

    def notes_of(self, camera: str, window: int) -> tuple[SampleNote, ...]:
        """Return the notes of the samples kept in `window` of `camera`, oldest first."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM samples WHERE window = ? AND camera = ? ORDER BY captured_at, sample",
            (window, camera),
        )
        return tuple(SampleNote(*row) for row in rows)

    def find(self, sample: str) -> tuple[SampleNote, bytes] | None:
        """Return a kept sample's note and its PNG, or None: never kept, or evicted since."""
        with storage_faults("looking a sample up"):
            row = self._connection.execute(f"SELECT {_COLUMNS} FROM samples WHERE sample = ?", (sample,)).fetchone()
        if row is None:
            return None
        try:
            return SampleNote(*row), self._path(sample).read_bytes()
        except OSError:
            return None

    def mark_uploaded(self, sample: str) -> None:
        """Note that the cloud has this image."""
        with storage_faults("noting an upload"):
            self._connection.execute("UPDATE samples SET uploaded = 1 WHERE sample = ?", (sample,))

    def mark_asked(self, names: Sequence[str]) -> None:
        """Note that the cloud has asked for these images: they stay until it has them, as long as anything else can go."""
        with storage_faults("noting a request"):
            self._connection.executemany(
                "UPDATE samples SET asked = 1 WHERE sample = ? AND asked = 0", [(n,) for n in names]
            )

    def evict(self, *, max_bytes: int | None = None) -> list[str]:
        """Delete the rows over budget; return their names. Delete the files (`remove`) once that is committed."""
        return [name for name, _ in self.evict_by_value(max_bytes=max_bytes)]

    def evict_by_value(self, *, max_bytes: int | None = None) -> list[tuple[str, str]]:
        """Delete the rows over budget; return (name, why it was kept). The caller holds the transaction.

        By value, oldest first in each: what the cloud already has (and people may have labelled there) loses nothing by going;
        then frames kept for a fault; then the random audit; then frames the model was unsure of, the hard ones, and novel ones;
        last those the cloud has asked for and does not have yet.
        """
        limit = self._max_bytes if max_bytes is None else min(self._max_bytes, max_bytes)
        count, size = self._connection.execute(f"SELECT COUNT(*), COALESCE(SUM({_ON_DISK}), 0) FROM samples").fetchone()
        if count <= self._max_count and size <= limit:
            return []
        gone: list[tuple[str, str]] = []
        rows = self._connection.execute(
            f"SELECT sample, {_ON_DISK}, {_WHY} FROM samples ORDER BY {_BY_VALUE} LIMIT 256"
        )
        for sample, size_bytes, why in rows.fetchall():
            if count <= self._max_count and size <= limit:
                break
            gone.append((sample, why))
            count, size = count - 1, size - size_bytes
        self._connection.executemany("DELETE FROM samples WHERE sample = ?", [(name,) for name, _ in gone])
        return gone

    def used_bytes(self) -> int:
        """Return what the kept images take on the disk."""
        return int(self._connection.execute(f"SELECT COALESCE(SUM({_ON_DISK}), 0) FROM samples").fetchone()[0])

    def shed(self, size_bytes: int) -> int:
        """Delete the least valued files, about `size_bytes` of them, without writing to a database that has no room.

        Their rows say what went at the next start (`sweep`) or when they are looked up. Returns how many bytes were freed.
        """
        freed = 0
        for sample, size in self._connection.execute(f"SELECT sample, {_ON_DISK} FROM samples ORDER BY {_BY_VALUE}"):
            if freed >= size_bytes:
                break
            path = self._path(sample)
            if path.exists():
                path.unlink()
                freed += size
        return freed

    def remove(self, names: list[str]) -> None:
        """Delete the files of evicted samples."""
        for name in names:
            self._path(name).unlink(missing_ok=True)

    def sweep(self) -> int:
        """Delete files without a row (a crash between file and commit), and rows without a file; return how many files."""
        files = {path.stem: path for path in self._folder.glob("*.png")} if self._folder.is_dir() else {}
        known = {str(row[0]) for row in self._connection.execute("SELECT sample FROM samples")}
        for name in files.keys() - known:
            files[name].unlink(missing_ok=True)
        self._connection.executemany("DELETE FROM samples WHERE sample = ?", [(n,) for n in known - files.keys()])
        return len(files.keys() - known)

    def _path(self, sample: str) -> Path:
        # Names are ours, but a request for one comes over the wire.
        name = sample if _PLAIN.fullmatch(sample) else "-"
        return self._folder / f"{name}.png"
