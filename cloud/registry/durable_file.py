"""Files that are whole or absent, whatever moment power is lost at."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from contract.errors import InvalidConfig, StorageFull


def write_durably(path: Path, chunks: Iterable[bytes], *, mode: int = 0o644) -> None:
    """Replace `path` by `chunks`, made durable, in one step; its folder is made when missing.

    Raises:
        StorageFull: it cannot be written.
        InvalidConfig: there is a folder or a device of that name, which would be replaced.
    """
    if path.exists() and not path.is_file():
        raise InvalidConfig(f"'{path}' is there and is no plain file", hint="choose another name")
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        # The mode is set at creation: a private key is never readable by others, not even for a moment.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise StorageFull(
            f"'{path}' cannot be written: {error.strerror or error}", hint="free space, or check the folder's owner"
        ) from error


def remove_durably(path: Path) -> None:
    """Delete a file; one that is not there is deleted already.

    Raises:
        StorageFull: it cannot be deleted.
    """
    try:
        path.unlink()
        fsync_folder(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageFull(
            f"'{path}' cannot be deleted: {error.strerror or error}", hint="check the folder's owner"
        ) from error


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
