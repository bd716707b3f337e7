"""The job that keeps the repository alive: snapshot and timestamp signed again at half their life, and how late that is."""

from __future__ import annotations

import logging
from collections.abc import Callable

from cloud.registry.resign_status import Lateness, ResignStatus, resign_status
from cloud.registry.tuf_repository import TufRepository
from contract.errors import PlumblineError

_log = logging.getLogger(__name__)

# A page that is read every second need not read the repository every second.
_FRESH_S = 30.0


class ResignJob:
    """Run `tick` every hour; `status` may be asked from other threads, and judges the files even if the job is dead.

    Args:
        repository: opens the repository with the keys as they are now: a rotation brings new ones while this runs.
        now: Unix seconds.
    """

    def __init__(self, repository: Callable[[], TufRepository], now: Callable[[], float]) -> None:
        self._repository, self._now = repository, now
        self._failure = ""
        self._expires_at: tuple[float, dict[str, float]] | None = None

    def tick(self) -> None:
        """Sign what is half over. A failure is remembered until an attempt succeeds, and raised for the caller to log.

        Raises:
            PlumblineError, OSError: it could not be signed.
        """
        try:
            signed = self._repository().refresh_online(self._now())
        except Exception as error:
            # Whatever went wrong, nothing is signed, and somebody must hear of it before stations do.
            self._failure = _in_words(error)
            raise
        self._failure, self._expires_at = "", None
        if signed:
            _log.info("resign: signed snapshot or timestamp again")
        status = self.status()
        if status.late:
            _log.error("resign: %s", status.in_words())
        elif status.state is Lateness.DUE:
            _log.warning("resign: %s", " ".join(r.sentence for r in status.roles if r.state is Lateness.DUE))

    def status(self) -> ResignStatus:
        """Return how late the repository is. Raises nothing: what cannot be read is a failure too."""
        now = self._now()
        read = self._expires_at
        if read is None or not 0.0 <= now - read[0] < _FRESH_S:
            try:
                read = (now, self._repository().expires_at())
            except (PlumblineError, OSError) as error:
                return resign_status({}, now, self._failure or _in_words(error))
            self._expires_at = read
        return resign_status(read[1], now, self._failure)


def _in_words(error: Exception) -> str:
    return error.one_line() if isinstance(error, PlumblineError) else f"{type(error).__name__}: {error}"
