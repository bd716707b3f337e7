"""A file system of a few MiB, full or not as a test wants it."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path


class SmallDisk:
    """A tmpfs at `path`, made where this account may."""

    def __init__(self, path: Path, mib: int) -> None:
        """Mount it.

        Raises:
            PermissionError: only root may.
        """
        self.path = path
        path.mkdir(parents=True)
        made = subprocess.run(
            ("mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0777", "tmpfs", str(path)),
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise PermissionError(made.stderr)
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Take every byte that is left."""
        with self._ballast.open("wb", buffering=0) as file:
            for size in (1 << 16, 1 << 12):
                try:
                    while file.write(os.urandom(size)) == size:
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Give it back."""
        self._ballast.unlink()

    def unmount(self) -> None:
        """Take it away, whoever still has files there."""
        subprocess.run(("umount", "-l", str(self.path)), check=True)
