"""python-tuf's cache of metadata, which a refresh changes as a whole or, when it is refused, not at all (OTA-2)."""

from __future__ import annotations

import json
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

_NEXT = "next"
_ROOTS = "root_history"


class TufCache:
    """Metadata files in `folder`. A refresh works on a copy, `stage()`, which replaces them by `promote` or is forgotten.

    Nothing here is fsynced or trusted: torn or foreign files are verified away, and what must not go backwards is in the floors.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder, self._next, self._max_bytes = folder, folder / _NEXT, max_bytes

    def stage(self) -> Path:
        """Return a folder that holds a copy of the cache, for python-tuf to work in.

        Raises:
            OSError: it cannot be written.
        """
        self._remove(self._next)
        (self._next / _ROOTS).mkdir(parents=True)
        for part in ("", _ROOTS):
            for source in self._files(self._folder / part):
                shutil.copyfile(source, self._next / part / source.name)
        return self._next

    def promote(self) -> None:
        """Let the staged files replace the cache's.

        Raises:
            OSError: it cannot be written.
        """
        for part in (_ROOTS, ""):
            self._move(part)

    def promote_newer(self) -> None:
        """Let the staged files replace the cache's where they do not say an older version: what a failed refresh verified.

        What the cache's own files say is not verified here: one whose key is not known, since a root was lost, may yet be
        what a later repository is measured by.

        Raises:
            OSError: it cannot be written.
        """
        self._move(_ROOTS)
        self._move("", newer=True)

    def promote_roots(self) -> None:
        """Let only the staged roots replace the cache's: a chain from the pinned one, it only ever grows.

        Raises:
            OSError: it cannot be written.
        """
        self._move(_ROOTS)

    def forget(self) -> None:
        """Delete what is staged."""
        with suppress(OSError):
            self._remove(self._next)

    def staged_root(self, version: int) -> bytes:
        """Return the bytes of a root that was verified in the staged copy.

        Raises:
            OSError: it is not there.
        """
        return (self._next / _ROOTS / f"{version}.root.json").read_bytes()

    def _move(self, part: str, *, newer: bool = False) -> None:
        place = self._folder / part
        if not place.is_dir():
            self._remove(place)
            place.mkdir()
        for source in self._files(self._next / part):
            target = place / source.name
            if not _is_file(target):
                self._remove(target)
            if not newer or _version(source) >= _version(target):
                source.replace(target)

    def _files(self, folder: Path) -> list[Path]:
        # A cache may hold anything after a power cut: only regular files of a size that metadata has are looked at.
        try:
            entries = list(os.scandir(folder))
        except OSError:
            return []
        return [
            Path(entry.path)
            for entry in entries
            if entry.name.endswith(".json") and _is_file(Path(entry.path)) and entry.stat().st_size <= self._max_bytes
        ]

    @staticmethod
    def _remove(path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _version(path: Path) -> int:
    """Return what a metadata file says its version is; -1 when it says none."""
    try:
        found = json.loads(path.read_bytes())["signed"]["version"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return -1
    return found if isinstance(found, int) else -1


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
