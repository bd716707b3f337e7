"""The steps by which anything reaches the disk for good. Tests replace this one class to lose power between any two of them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.errors import StorageFull, TransientError

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)


class Disk:
    """The real disk.

    Nothing is durable before `fsync` (a file's bytes) and `fsync_folder` (the names in it) have returned.

    Raises:
        StorageFull: ENOSPC or EDQUOT, from any step.
        TransientError: any other error of the disk, from any step.
    """

    def write(self, path: Path, chunks: Iterable[bytes], *, append: bool = False) -> None:
        """Write `chunks` to `path`, creating it; or add them to its end."""
        with disk_faults(path), path.open("ab" if append else "wb") as file:
            for chunk in chunks:
                file.write(chunk)

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file back to its first `size` bytes."""
        with disk_faults(path):
            os.truncate(path, size)

    def fsync(self, path: Path) -> None:
        """Make a file's bytes durable."""
        with disk_faults(path):
            _sync(path, os.O_RDONLY)

    def fsync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""
        with disk_faults(folder):
            _sync(folder, os.O_RDONLY | os.O_DIRECTORY)

    def rename(self, source: Path, target: Path) -> None:
        """Move a file, or a folder onto no or an empty folder, in one step."""
        with disk_faults(target):
            source.replace(target)

    def make_folder(self, folder: Path) -> None:
        """Make a folder and its parents; one that is there stays."""
        with disk_faults(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def remove(self, path: Path) -> None:
        """Delete a file or a whole folder; one that is not there is no error."""
        with disk_faults(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def free_bytes(self, folder: Path) -> int:
        """Return the bytes an ordinary user may still write."""
        with disk_faults(folder):
            return shutil.disk_usage(folder).free

    def replace(self, path: Path, data: bytes) -> None:
        """Replace a small file for good: at any moment it holds either the old bytes or the new ones, whole."""
        temporary = path.with_name(path.name + ".tmp")
        self.write(temporary, (data,))
        self.fsync(temporary)
        self.rename(temporary, path)
        self.fsync_folder(path.parent)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_kept(path: Path) -> bytes | None:
    """Return what a small file holds; None when there is no such file.

    Not there and not readable just now are two things: what is taken for absent is soon written anew.

    Raises:
        TransientError: it is there, and the disk does not give it.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        if is_absence(error):
            return None
        raise _told(path, error) from error


def is_absence(error: OSError) -> bool:
    """Return whether `error` says that there is no such file, and not that the disk cannot give it just now."""
    return error.errno in _ABSENT


@contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Turn what the operating system says of `path` into StorageFull or TransientError."""
    try:
        yield
    except OSError as error:
        raise _told(path, error) from error


def _told(path: Path, error: OSError) -> TransientError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"no room for '{path}'", hint="free space on this disk")
    return TransientError(
        f"the disk failed at '{path}': {error.strerror or error}", hint="check the disk and its mount"
    )
