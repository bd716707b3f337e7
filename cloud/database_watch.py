"""Looks every few seconds whether the database can be read and written, and says what an operator has to know of it.

Everything else that people are told stands in tables; of the tables' own absence nothing there can tell.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from cloud.needs import Found, database_need
from contract.errors import PlumblineError

# A look that takes longer is no better than one that failed: a server that is cut off answers nothing for many minutes.
SLOW_S = 20.0
_WHY_CHARS = 300


class DatabaseWatch:
    """`look` is called by a thread of its own, everything else by anybody.

    Args:
        beat: reads and writes a row; raises what is wrong.
        why_lost: says at once why the file is none to write into any more, "" while it is.
        told_after_s: what passes sooner nobody is told of: a server that is started again, a long write.
        away_s: how long the database was away already before this process began.
    """

    def __init__(
        self,
        beat: Callable[[], None],
        why_lost: Callable[[], str],
        monotonic: Callable[[], float],
        *,
        told_after_s: float,
        away_s: float = 0.0,
    ) -> None:
        self._beat, self._why_lost, self._monotonic = beat, why_lost, monotonic
        self._told_after_s = told_after_s
        self._lock = threading.Lock()
        self._why = ""
        self._looking_since: float | None = None
        self._away_since: float | None = monotonic() - away_s if away_s > 0.0 else None

    def look(self) -> None:
        """Look once; it may take as long as a database that does not answer."""
        with self._lock:
            self._looking_since = self._monotonic()
        why = ""
        try:
            self._beat()
        except PlumblineError as error:
            why = error.one_line()
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, the database cannot be used
            why = PlumblineError(f"{type(error).__name__}: {error}").one_line()
        with self._lock:
            self._looking_since, self._why = None, why[:_WHY_CHARS]
            if not why:
                self._away_since = None

    def why(self) -> str:
        """Return why the database cannot be read or written just now, "" while it can. It waits for nothing."""
        return self._state()[0]

    def away_s(self) -> float:
        """Return how long that has been so, 0 while it can."""
        return self._state()[1]

    def found(self) -> Found:
        """Return what somebody must be told of it, for `cloud.notices`."""
        why, away_s = self._state()
        return Found((database_need(why),)) if why and away_s >= self._told_after_s else Found()

    def _state(self) -> tuple[str, float]:
        lost, now = self._why_lost(), self._monotonic()
        with self._lock:
            slow_s = now - self._looking_since if self._looking_since is not None else 0.0
            why = lost or self._why
            if not why and slow_s >= SLOW_S:
                why = f"the database has not answered for {slow_s:.0f} s"
            if not why:
                return "", 0.0
            if self._away_since is None:
                self._away_since = now - slow_s
            return why, now - self._away_since
