"""One aggregator a home: two would share a broker identity and drive the same rollouts."""

from __future__ import annotations

import fcntl
from pathlib import Path

from contract.errors import InvalidConfig


class HomeLock:
    """Held from construction to `close`, and let go by the system when the process dies."""

    def __init__(self, home: Path) -> None:
        """Take the lock.

        Raises:
            InvalidConfig: another aggregator holds it, or the home cannot be written.
        """
        try:
            home.mkdir(parents=True, exist_ok=True)
            self._file = (home / "serve.lock").open("a")
        except OSError as error:
            raise InvalidConfig(
                f"cannot write in {home}: {error.strerror}", hint="check [home] and its rights"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            hint = "stop it, or give this one a home of its own"
            raise InvalidConfig(f"another plumbline-cloud serves from {home}", hint=hint) from error

    def close(self) -> None:
        """Let go."""
        self._file.close()
