"""A disk that returns errors: calls of the operating system fail below one folder, so the code's own handling is tested."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WRITES = frozenset({"create", "write", "fsync", "rename", "make folder", "remove"})
READS = frozenset({"open", "read", "list", "free"})


class FaultyOs:
    """Counts the calls that touch `root` and lets the one numbered `fail_at`, and with `lasting` all after it, fail.

    A write that finds no room leaves half of its bytes behind. `repair` ends it; nothing fails before `arm`.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self._root = str(root)
        self._code, self._hits, self._fail_at, self._lasting, self._armed = 0, frozenset[str](), -1, False, False
        self.steps: list[tuple[str, str]] = []
        self.failed = 0
        self._plain_open = io.open
        patch.setattr(io, "open", self._open)
        patch.setattr(builtins, "open", self._open)
        for name, kind in (
            ("replace", "rename"),
            ("rename", "rename"),
            ("mkdir", "make folder"),
            ("unlink", "remove"),
            ("rmdir", "remove"),
            ("listdir", "list"),
            ("scandir", "list"),
            ("statvfs", "free"),
            ("fsync", "fsync"),
        ):
            patch.setattr(os, name, self._wrapped(getattr(os, name), kind))
        plain_os_open = os.open

        def open_descriptor(path: Any, flags: int, *more: Any, **named: Any) -> int:
            self.step("create" if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else "open", path, named.get("dir_fd"))
            return plain_os_open(path, flags, *more, **named)

        patch.setattr(os, "open", open_descriptor)

    def arm(self, code: int = 0, hits: Set[str] = frozenset(), fail_at: int = -1, *, lasting: bool = False) -> None:
        """Count from 0 again; let call `fail_at`, when it is of a kind in `hits`, fail with `code`."""
        self._code, self._hits, self._fail_at, self._lasting, self._armed = (
            code,
            frozenset(hits),
            fail_at,
            lasting,
            True,
        )
        self.steps, self.failed = [], 0

    def repair(self) -> None:
        """Let nothing fail any more."""
        self._armed = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let a test look at the disk meanwhile."""
        armed, self._armed = self._armed, False
        try:
            yield
        finally:
            self._armed = armed

    def step(self, kind: str, path: Any, folder: int | None = None) -> None:
        """Count one call.

        Raises:
            OSError: it is the one that fails, or one after it.
        """
        if not self._armed:
            return
        place = _place(path, folder)
        if not place.startswith(self._root):
            return
        number = len(self.steps)
        self.steps.append((kind, place.removeprefix(self._root)))
        due = number >= self._fail_at if self._lasting else number == self._fail_at
        if self._fail_at >= 0 and due and kind in self._hits:
            self.failed += 1
            raise OSError(self._code, os.strerror(self._code), place)

    def _wrapped(self, plain: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def call(path: Any, *more: Any, **named: Any) -> Any:
            self.step(kind, path, named.get("dir_fd"))
            return plain(path, *more, **named)

        return call

    def _open(self, file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        inside = self._armed and not isinstance(file, int) and _place(file).startswith(self._root)
        if not inside or mode not in ("rb", "wb", "ab"):
            return self._plain_open(file, mode, *more, **named)
        self.step("open" if mode == "rb" else "create", file)
        raw = _FaultyFile(os.fspath(file), mode.removesuffix("b"))
        raw.faults = self
        return io.BufferedReader(raw) if mode == "rb" else io.BufferedWriter(raw)


class _FaultyFile(io.FileIO):
    faults: FaultyOs
    torn = False

    def readinto(self, buffer: Any) -> Any:
        self.faults.step("read", str(self.name))
        return super().readinto(buffer)

    def readall(self) -> Any:
        self.faults.step("read", str(self.name))
        return super().readall()

    def write(self, data: Any) -> Any:
        if self.torn:
            self.torn = False
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)
        try:
            self.faults.step("write", str(self.name))
        except OSError as error:
            half = bytes(data)[: len(data) // 2]
            if error.errno != errno.ENOSPC or not half:
                raise
            self.torn = True
            return super().write(half)
        return super().write(data)


def _place(path: Any, folder: int | None = None) -> str:
    if isinstance(path, int):
        return _name_of(path)
    text = os.fsdecode(os.fspath(path))
    return f"{_name_of(folder)}/{text}" if folder is not None else text


def _name_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())
