"""What a process leaves behind when it dies: that it was running, and how many frames each open window had seen (P1).

One file a camera, for each is counted by a thread of its own.

Results are committed in groups, so a `kill -9` loses the last of them. Their number is known all the same: every frame is
counted here with one small write into the page cache, which outlives the process though not the machine. Nothing is flushed
per frame; the kernel writes the one block now and then. Not memory-mapped: a full disk would then be a fatal signal (SIGBUS).
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.decide.causes import Drop
from contract.errors import InvalidConfig
from contract.ids import check_camera_name

_FILE_NAME, _FILE_PREFIX, _FILE_SUFFIX = "running.mark", "running-", ".mark"

_MAGIC = 0x504C4D41524B0002
_HEAD = struct.Struct("=QQQ16s36s")  # magic, running, outbox rows + 1 (0: unknown), boot id, the kernel's boot id
_DROPS = tuple(cause.value for cause in Drop)
# Window, frames, when the first of them was captured or dropped, and how many were dropped by each cause.
_SLOT = struct.Struct(f"=QQd{len(_DROPS)}Q")
# Between the head and the slots: how many frames that the line's controller asked for had their verdict in this process, and how
# many parts were counted as never seen. What the controller was told is settled against it (`agent.line_io.line_books`).
_TOTALS_AT, _TOTALS = 80, struct.Struct("=QQ")
_FIRST_SLOT = 128
_SLOTS = 16
_SIZE = _FIRST_SLOT + _SLOTS * _SLOT.size
_KERNEL_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class OpenCount:
    """A window that was open: frames that had their verdict, those dropped by cause, and when it began (Unix seconds)."""

    frames: int
    started_at: float
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What the last process left.

    `unclean`: it never said goodbye. `exact`: the machine has not restarted since, so `windows` lack nothing. `outbox`: rows
    it knew to be waiting, None when it did not know. Since it started `asked` frames that somebody waited for had their verdict,
    and of `missed` parts there was no frame.
    """

    unclean: bool
    exact: bool = True
    boot: str = ""
    outbox: int | None = None
    windows: dict[int, OpenCount] = field(default_factory=dict)
    asked: int = 0
    missed: int = 0


def mark_name(camera: str) -> str:
    """Return the name of a camera's mark."""
    return f"{_FILE_PREFIX}{camera}{_FILE_SUFFIX}" if camera else _FILE_NAME


def read_marks(folder: Path) -> dict[str, LeftBehind]:
    """Return what lies in `folder` by camera, cameras that the station has no more included; there is one of "" always."""
    left = {"": read_mark(folder / _FILE_NAME)}
    for path in sorted(folder.glob(f"{_FILE_PREFIX}*{_FILE_SUFFIX}")):
        with contextlib.suppress(InvalidConfig):
            camera = check_camera_name(path.name[len(_FILE_PREFIX) : -len(_FILE_SUFFIX)])
            left[camera] = read_mark(path)
    return left


def was_unclean(left: Mapping[str, LeftBehind]) -> bool:
    """Return whether any camera's process never said goodbye."""
    return any(mark.unclean for mark in left.values())


def read_mark(path: Path) -> LeftBehind:
    """Return what lies at `path`; a file that is absent or none of ours says nothing, and counts as a clean end."""
    try:
        payload = path.read_bytes()
    except OSError:
        return LeftBehind(False)
    if len(payload) < _SIZE:
        return LeftBehind(False)
    magic, running, outbox, boot, kernel = _HEAD.unpack_from(payload)
    if magic != _MAGIC:
        return LeftBehind(False)
    asked, missed = _TOTALS.unpack_from(payload, _TOTALS_AT)
    windows: dict[int, OpenCount] = {}
    for slot in range(_SLOTS):
        window, frames, started_at, *counts = _SLOT.unpack_from(payload, _FIRST_SLOT + slot * _SLOT.size)
        dropped = {cause: count for cause, count in zip(_DROPS, counts, strict=True) if count}
        if frames or dropped:
            windows[window] = OpenCount(frames, started_at, dropped)
    return LeftBehind(
        unclean=bool(running),
        exact=kernel == kernel_boot(),
        boot=boot.rstrip(b"\0").decode("ascii", "replace"),
        outbox=outbox - 1 if outbox else None,
        windows=windows,
        asked=asked,
        missed=missed,
    )


@dataclass(slots=True)
class _Count:
    """What of one window is counted so far."""

    started_at: float
    frames: int = 0
    dropped: list[int] = field(default_factory=lambda: [0 for _ in _DROPS])


class RunningMark:
    """The mark of one camera in this process. `count` and `count_dropped` belong to the camera's thread, the rest to the recorder.

    A disk that refuses is no reason to stop: what cannot be counted here is merely not told after a crash.
    """

    def __init__(self, path: Path, boot: str) -> None:
        """Say that a process of this `boot` is running; durable when it returns, if the disk allows."""
        self._windows: dict[int, _Count] = {}
        self._asked = self._missed = 0
        self._file = -1
        head = _HEAD.pack(_MAGIC, 1, 0, boot.encode("ascii")[:16], kernel_boot())
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            os.pwrite(self._file, head.ljust(_SIZE, b"\0"), 0)
            os.fsync(self._file)
        except OSError:
            self._let_go()

    def count(self, window: int, captured_at: float, *, asked: bool = False) -> None:
        """Count one captured frame of `window`; `asked`: the line's controller waits for its verdict."""
        counted = self._of(window, captured_at)
        counted.frames += 1
        self._write_slot(window, counted)
        if asked:
            self._asked += 1
            self._write(_TOTALS_AT, _TOTALS.pack(self._asked, self._missed))

    def count_dropped(self, window: int, cause: str, count: int, at: float) -> None:
        """Count frames of `window` that were dropped before anybody judged them."""
        if cause in _DROPS:
            counted = self._of(window, at)
            counted.dropped[_DROPS.index(cause)] += count
            self._write_slot(window, counted)
        if cause == Drop.MISSED_TRIGGER.value:
            self._missed += count
            self._write(_TOTALS_AT, _TOTALS.pack(self._asked, self._missed))

    def closed(self, window: int, outbox_rows: int) -> None:
        """Note that `window` is stored whole, and how many summaries wait."""
        self._windows.pop(window, None)
        self._write(_FIRST_SLOT + window % _SLOTS * _SLOT.size, _SLOT.pack(window, 0, 0.0, *(0 for _ in _DROPS)))
        self.waiting(outbox_rows)

    def waiting(self, outbox_rows: int) -> None:
        """Note how many summaries wait."""
        self._write(16, struct.pack("=Q", outbox_rows + 1))

    def goodbye(self) -> None:
        """Say that everything judged is stored, and let go."""
        self._write(8, struct.pack("=Q", 0))
        if self._file >= 0:
            with contextlib.suppress(OSError):  # the next start then checks the database in full: slower, never wrong
                os.fsync(self._file)
        self._let_go()

    def close(self) -> None:
        """Let go without a goodbye, as a crash would."""
        self._let_go()

    def _of(self, window: int, at: float) -> _Count:
        counted = self._windows.get(window)
        if counted is None:
            counted = self._windows[window] = _Count(at)
        return counted

    def _write_slot(self, window: int, counted: _Count) -> None:
        slot = _SLOT.pack(window, counted.frames, counted.started_at, *counted.dropped)
        self._write(_FIRST_SLOT + window % _SLOTS * _SLOT.size, slot)

    def _write(self, offset: int, payload: bytes) -> None:
        if self._file < 0:
            return
        try:
            os.pwrite(self._file, payload, offset)
        except OSError:
            return

    def _let_go(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class RunningMarks:
    """The marks of every camera of this process: `count` is called by each camera's own thread, the rest by the recorder."""

    def __init__(self, folder: Path, boot: str, cameras: Sequence[str] = ("",)) -> None:
        """Say that a process of this `boot` is running; what a camera left that is no more is told by now, and goes."""
        gone = read_marks(folder).keys() - set(cameras)
        for camera in gone:
            with contextlib.suppress(OSError):
                (folder / mark_name(camera)).unlink(missing_ok=True)
        self._marks = {camera: RunningMark(folder / mark_name(camera), boot) for camera in cameras}

    def count(self, camera: str, window: int, captured_at: float, *, asked: bool = False) -> None:
        """Count one captured frame of a camera's `window`; `asked`: the line's controller waits for its verdict."""
        self._marks[camera].count(window, captured_at, asked=asked)

    def count_dropped(self, camera: str, window: int, cause: str, count: int, at: float) -> None:
        """Count frames of a camera's `window` that were dropped."""
        self._marks[camera].count_dropped(window, cause, count, at)

    def closed(self, camera: str, window: int, outbox_rows: int) -> None:
        """Note that a camera's `window` is stored whole, and how many summaries wait."""
        for other, mark in self._marks.items():
            if other == camera:
                mark.closed(window, outbox_rows)
            else:
                mark.waiting(outbox_rows)

    def goodbye(self) -> None:
        """Say that everything judged is stored, and let go."""
        for mark in self._marks.values():
            mark.goodbye()

    def close(self) -> None:
        """Let go without a goodbye, as a crash would."""
        for mark in self._marks.values():
            mark.close()


def kernel_boot() -> bytes:
    """Return 36 bytes that name this running of the machine: they change when it starts anew. Zeros where unknown."""
    try:
        return _KERNEL_BOOT.read_bytes().strip()[:36].ljust(36, b"\0")
    except OSError:
        return b"\0" * 36
