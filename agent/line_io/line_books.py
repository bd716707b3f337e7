"""What came of the controller's triggers, kept where it outlives this process: triggers = answered + refused + lost, always.

A process that is killed answers nothing more, so what it left open is lost, and the next one says so. Each change of the counts
is one small write into the page cache, as for frames (`agent.store.running_mark`): it outlives a `kill -9`, though not the
machine. After a power cut the file tells of some moment before it; then nobody knows what was open at the end. The writes have a
thread of their own, so that a disk which takes its time delays no answer; what changed within a write's time is not told of.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent.line_io.desk import Desk
from agent.ports.line import LineCounts

MARK = "line.mark"
KILLED = "lost: killed"
"""Triggers that a process left open."""
_SIZE = 1024
_PATIENCE_S = 2.0


class _Kept(msgspec.Struct, frozen=True):
    kernel: str
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class BooksBefore:
    """What the process before counted, with what it left open as KILLED; {}: there was none, or nobody knows.

    `missed`: how many of these are certain, as the machine has not restarted since: parts that no window counts yet.
    """

    counts: dict[str, int] = field(default_factory=dict)
    missed: int = 0


def flat(counts: LineCounts) -> dict[str, int]:
    """Return the counts in flat names, those by cause as "lost: CAUSE" and "refused: CAUSE"."""
    return {
        "triggers": counts.triggers,
        "answered": counts.answered,
        **{f"lost: {cause}": n for cause, n in sorted(counts.lost.items())},
        **{f"refused: {cause}": n for cause, n in sorted(counts.refused.items())},
        "waiting": counts.waiting,
        "late": counts.late,
        "unasked": counts.unasked,
        "unshown": counts.unshown,
    }


def read_books(path: Path, kernel: bytes) -> BooksBefore:
    """Return what the process before left at `path`; `kernel` names this running of the machine."""
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return BooksBefore()
    left = kept.counts.pop("waiting", 0)
    if left > 0:
        kept.counts[KILLED] = left
    return BooksBefore(kept.counts, left if left > 0 and kept.kernel == kernel.hex() else 0)


class LineBooks:
    """Keeps the books of this process's `desk` at `path`; a disk that refuses is no reason to stop."""

    def __init__(self, desk: Desk, path: Path, kernel: bytes) -> None:
        """Nothing is written before `begin`: what the process before left is there until then. `kernel`: see `read_books`."""
        self._desk, self._path, self._kernel = desk, path, kernel.hex()
        self._ended = False
        self._file = -1
        self._thread = threading.Thread(target=self._work, name="plc-books", daemon=True)

    def begin(self) -> None:
        """Write over what the process before left, and follow the desk."""
        with contextlib.suppress(OSError):
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._keep()
            self._thread.start()

    def close(self) -> None:
        """Keep how it ended."""
        if self._file < 0:
            return
        self._ended = True
        self._desk.look_again()
        self._thread.join(_PATIENCE_S)
        if not self._thread.is_alive():  # else it hangs in the disk, which must not hang who closes it
            self._keep()
            os.close(self._file)
            self._file = -1

    def _work(self) -> None:
        told = -1
        while not self._ended:
            with self._desk.news:
                self._desk.news.wait_for(lambda told=told: self._desk.told != told)  # type: ignore[misc]
                told = self._desk.told
            self._keep()

    def _keep(self) -> None:
        payload = msgspec.json.encode(_Kept(self._kernel, flat(self._desk.counts()))).ljust(_SIZE)
        with contextlib.suppress(OSError):
            os.pwrite(self._file, payload, 0)
