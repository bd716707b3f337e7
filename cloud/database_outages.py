"""Tells people that the database is away, and that it is back, from memory; and puts what is over on record once it can be."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from cloud.database_watch import DatabaseWatch
from cloud.notices import NoticesLoop
from cloud.outage_book import OutageBook
from cloud.ports.notices import Changes, NoticeBook

_log = logging.getLogger(__name__)


class DatabaseOutages:
    """`tick` is called by one thread. It reads nothing of the tables, and writes to them only while they are there.

    Args:
        loop: tells by `book` what `watch` has found.
        tables: where notices stand that are over.
    """

    def __init__(
        self, watch: DatabaseWatch, loop: NoticesLoop, book: OutageBook, tables: NoticeBook, now: Callable[[], float]
    ) -> None:
        self._watch, self._loop, self._book, self._tables, self._now = watch, loop, book, tables, now
        self._said = ""

    def tick(self) -> None:
        """Look at what was found, once."""
        why, away_s = self._watch.why(), self._watch.away_s()
        if bool(why) != bool(self._said):
            _log.log(logging.ERROR if why else logging.INFO, "the database: %s", why or "it can be used again")
        self._said = why
        self._book.note_away(self._now() - away_s if why else None)
        self._loop.tick()
        if why:
            return
        for notice in self._book.unrecorded():
            self._tables.apply(Changes(open=(replace(notice, id=0),)), (), self._now())
            self._book.note_recorded(notice)
