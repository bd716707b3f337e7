"""What came of the controller's triggers, kept where it outlives this process: triggers = answered + refused + lost, always.

A process that is killed answers nothing more, so what it left open is lost, and the next one says so. Each change of the counts
is one small write into the page cache, as for frames (`agent.store.running_mark`): it outlives a `kill -9`, though not the
machine. After a power cut the file tells of some moment before it; then nobody knows what was open at the end.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent.ports.line import LineCounts

MARK = "line.mark"
KILLED = "lost: killed"
"""Triggers that a process left open."""
_SIZE = 1024


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


class LineMark:
    """The books of this process at `path`. One writer at a time; a disk that refuses is no reason to stop."""

    def __init__(self, path: Path, kernel: bytes) -> None:
        """Open it; what the process before left was read by now, and is there until `keep`. `kernel`: see `read_books`."""
        self._kernel = kernel.hex()
        self._file = -1
        with contextlib.suppress(OSError):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def keep(self, counts: LineCounts) -> None:
        """Keep these."""
        if self._file >= 0:
            payload = msgspec.json.encode(_Kept(self._kernel, flat(counts))).ljust(_SIZE)
            with contextlib.suppress(OSError):
                os.pwrite(self._file, payload, 0)

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
