"""What came of the controller's triggers, kept where it outlives this process: triggers = answered + refused + lost, always.

A process that is killed answers nothing more, so what it left open is lost, and the next one says so. Each change of the counts
is one small write into the page cache, as for frames (`agent.store.running_mark`): it outlives a `kill -9`, though not the
machine. After a power cut the file tells of some moment before it; then nobody knows what was open at the end. The writes have a
thread of their own, so that a disk which takes its time delays no answer; they gather what changes within hundredths of a second.

So a kill finds books that are a little old. They are settled against what the process had counted of the camera's frames, which is
exact (`Counted`): a part whose verdict was recorded is none that was never seen, and a part that a window counts is not told again.
What came of it is kept before anything else is counted, as the next process may be killed before it begins. What a kill may lose
is a trigger that came in those hundredths and had no verdict yet; a part whose image failed in them counts as never seen too. A
verdict that was recorded counts as answered, though nobody knows whether the controller was told it in that instant.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent.line_io.desk import Desk
from agent.ports.line import LineCounts

MARK = "line.mark"
KILLED = "lost: killed"
"""Triggers that a process left open."""
_SIZE = 1024
_PATIENCE_S, _GATHER_S = 2.0, 0.02


class _Kept(msgspec.Struct, frozen=True):
    """`missed`: parts never seen, those of before included; once `settled` these are still to be counted, and nothing is open."""

    kernel: str
    counts: dict[str, int]
    camera: str = ""
    missed: int = 0
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Counted:
    """What a process had counted of its camera's frames at its end: verdicts of `asked` parts, and `missed` ones in its windows."""

    asked: int
    missed: int


@dataclass(frozen=True, slots=True)
class BooksBefore:
    """What the process before counted, with what it left open as KILLED; {}: there was none, or nobody knows.

    `missed`: parts that no window counts yet, as far as that is certain: the machine has not restarted since.
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


CountedOf = Callable[[str], "Counted | None"]
"""Returns what the process before had counted of a camera's frames, None where nobody knows."""


def nobody_knows(_camera: str) -> Counted | None:
    """Return None."""
    return None


def read_books(path: Path, kernel: bytes, counted: CountedOf = nobody_knows) -> BooksBefore:
    """Return what the process before left at `path`; `kernel` names this running of the machine."""
    return _before(_read(path, kernel, counted), kernel)


def settle_books(path: Path, kernel: bytes, counted: CountedOf) -> BooksBefore:
    """Return what `read_books` does, and keep it until this process's books begin; to be called before it counts any frame."""
    kept = _read(path, kernel, counted)
    if kept is not None:
        with contextlib.suppress(OSError), path.open("r+b", buffering=0) as file:
            _write(file.fileno(), kept)
    return _before(kept, kernel)


def _before(kept: _Kept | None, kernel: bytes) -> BooksBefore:
    if kept is None:
        return BooksBefore()
    return BooksBefore(kept.counts, kept.missed if kept.kernel == kernel.hex() else 0)


def _read(path: Path, kernel: bytes, counted: CountedOf) -> _Kept | None:
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if kept.settled:
        return kept
    return _settled(kept, counted(kept.camera) if kept.kernel == kernel.hex() else None)


def _settled(kept: _Kept, counted: Counted | None) -> _Kept:
    counts, told = dict(kept.counts), 0
    left = max(0, counts.pop("waiting", 0))
    missed = left
    if counted is not None:
        # Verdicts that were recorded since: of what was open then, and of what came since.
        told = max(0, counted.asked - counts.get("answered", 0) - counts.get("late", 0))
        since = max(0, told - left)
        counts["triggers"] = counts.get("triggers", 0) + since
        counts["answered"] = counts.get("answered", 0) + told
        left = max(0, left - told)
        missed = max(0, kept.missed + left - counted.missed)
    if left:
        counts[KILLED] = left
    return msgspec.structs.replace(kept, counts=counts, missed=missed, settled=True)


def _write(file: int, kept: _Kept) -> None:
    os.pwrite(file, msgspec.json.encode(kept).ljust(_SIZE), 0)


class LineBooks:
    """Keeps the books of this process's `desk` at `path`; a disk that refuses is no reason to stop."""

    def __init__(self, desk: Desk, path: Path, kernel: bytes) -> None:
        """Nothing is written before `begin`: what the process before left is there until then. `kernel`: see `settle_books`."""
        self._desk, self._path, self._kernel = desk, path, kernel.hex()
        self._ended = threading.Event()
        self._file = -1
        self._thread = threading.Thread(target=self._work, name="plc-books", daemon=True)

    def begin(self) -> None:
        """Write over what the process before left, and follow the desk."""
        with contextlib.suppress(OSError):
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            if not self._keep():
                os.ftruncate(self._file, 0)  # else the next process would be told once more of what this one counts
            self._thread.start()

    def close(self) -> None:
        """Keep how it ended."""
        if self._file < 0:
            return
        self._ended.set()
        self._desk.look_again()
        self._thread.join(_PATIENCE_S)
        if not self._thread.is_alive():  # else it hangs in the disk, which must not hang who closes it
            self._keep()
            os.close(self._file)
            self._file = -1

    def _work(self) -> None:
        told = -1
        while not self._ended.is_set():
            with self._desk.news:
                self._desk.news.wait_for(lambda told=told: self._desk.told != told)  # type: ignore[misc]
            self._ended.wait(_GATHER_S)
            told = self._desk.told
            self._keep()

    def _keep(self) -> bool:
        with self._desk.news:  # else a part may be lost in between
            counts, missed = self._desk.counts(), self._desk.missed
        try:
            _write(self._file, _Kept(self._kernel, flat(counts), self._desk.rules.camera, missed))
        except OSError:
            return False
        return True
