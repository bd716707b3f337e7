"""What is kept beside an unfinished download."""

from __future__ import annotations

from pathlib import Path

import msgspec

from agent.update.sealed import unseal


class DownloadNote(msgspec.Struct, frozen=True):
    """The file's whole size, the server's name for its content, and the bytes taken from the network so far."""

    size_bytes: int
    etag: str = ""
    spent: int = 0


def read_note(path: Path) -> DownloadNote | None:
    """Return what is noted at `path`; None when nothing whole is."""
    try:
        return unseal(path.read_bytes(), DownloadNote)
    except OSError:
        return None
