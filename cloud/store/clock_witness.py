"""Whether the cloud's clock can be believed before anything is given up for its age: the stations' clocks are asked.

A clock that says 2100 for an hour would have every row dropped. Stations whose clock is synced have none of this machine's faults.
"""

from __future__ import annotations

import logging

from sqlalchemy import select

from cloud.store.database import Database
from cloud.store.summary_tables import summaries
from contract.codec import decode_summary
from contract.errors import BadMessage

_log = logging.getLogger(__name__)

# Longer than a plant stands still. A clock that is ahead by less makes rows coarser early, and drops few.
MOST_AHEAD_S = 90 * 86_400.0
_NEWEST_ROWS = 200
_AGAIN_S = 60.0


class ClockWitness:
    """Holds the cloud's clock against the newest windows whose station's clock is synced."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._newest = float("-inf")
        self._asked_at: float | None = None
        self._answer = True
        self._told = False

    def believes(self, now: float) -> bool:
        """Return whether `now` (Unix seconds, by the cloud's clock) can be right: within 90 days of the newest such window.

        It is believed where there is none: nobody knows better. Asked every few seconds, it reads the newest 200 rows only
        when it would not believe, and once a minute at most.
        """
        if now - self._newest <= MOST_AHEAD_S:
            self._told = False
            return True
        if self._asked_at is None or not 0.0 <= now - self._asked_at < _AGAIN_S:
            self._asked_at, newest = now, self._newest_told()
            self._newest = float("-inf") if newest is None else newest
            self._answer = newest is None or now - newest <= MOST_AHEAD_S
            if not self._answer and not self._told:
                days = (now - self._newest) / 86_400.0
                _log.warning("no old rows are merged or dropped: the clock is %.0f days past the newest window", days)
            self._told = not self._answer
        return self._answer

    def _newest_told(self) -> float | None:
        c = summaries.c
        order = (c.tx.desc(), c.id.desc()) if self._database.is_postgresql else (c.id.desc(),)
        with self._database.read() as connection:
            payloads = connection.execute(select(c.payload).order_by(*order).limit(_NEWEST_ROWS)).scalars().all()
        found = []
        for payload in payloads:
            try:
                header = decode_summary(bytes(payload)).header
            except BadMessage:
                continue  # stored by another version
            if header.clock_synced:
                found.append(header.ended_at)
        return max(found, default=None)
