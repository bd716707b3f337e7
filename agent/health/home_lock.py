"""One agent a home folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from contract.errors import InvalidConfig


class HomeLock:
    """An advisory lock on `home`; the kernel lets go of it when the process dies, however it dies."""

    def __init__(self, home: Path) -> None:
        """Take the lock.

        Raises:
            InvalidConfig: another agent holds it, or the folder cannot be made.
        """
        try:
            home.mkdir(parents=True, exist_ok=True)
            self._file = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise InvalidConfig(
                f"'{home}' cannot be used as home: {error.strerror or error}", hint="name a folder this user may write"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise InvalidConfig(
                f"another agent is running on '{home}'", hint="stop it, or give this one its own home"
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go."""
        os.close(self._file)


def holder_of(home: Path) -> int | None:
    """Return the process that runs on `home`, None when there is none."""
    if not is_locked(home):
        return None
    try:
        return int((home / "lock").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def is_locked(home: Path) -> bool:
    """Return whether an agent is running on `home`."""
    try:
        file = os.open(home / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False
