"""The file of an SQLite database while it is open: whether it is still where the next start will look for it.

SQLite goes on writing into a file that was moved or deleted, and says nothing. What was stored then, and acknowledged to the
stations (P1), would be gone with the process.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

_Stamp = tuple[int, int]


class DatabaseFile:
    """Remembers which file (device and inode) was opened. One that is None, or was never `opened`, is never missed."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._opened: _Stamp | None = None

    def opened(self) -> None:
        """Note that what is at the path now is what everything is written to."""
        if self._path is not None:
            # A name that SQLite reads as a URI is no path.
            with contextlib.suppress(FileNotFoundError):
                self._opened = self._stamp(self._path)

    def why_lost(self) -> str:
        """Return why nothing should be written any more, "" for no reason. It costs one look at the folder."""
        if self._path is None or self._opened is None:
            return ""
        try:
            if self._stamp(self._path) == self._opened:
                return ""
        except (FileNotFoundError, NotADirectoryError):
            return f"the database {self._path} was moved away or deleted"
        except OSError as error:
            return f"the database {self._path} cannot be looked at any more: {error.strerror}"
        return f"another file took the place of the database {self._path}"

    @staticmethod
    def _stamp(path: Path) -> _Stamp:
        # Never opened to ask its descriptor: closing that would let go of SQLite's own locks (fcntl(2), "advisory locks").
        found = path.stat()
        return found.st_dev, found.st_ino
