"""What people are told of the database's absence, kept in memory and in one small file of the home: the tables are what is away.

The file outlives a restart, so that one in the middle of an outage tells nothing twice, and the server that finds the database
again says that it is over. Where it cannot be written (the same disk is full), memory alone has to do.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from cloud.alerts.delivery import MOST_WAIT_S
from cloud.ports.notices import Changes, LastTold, Notice, Post
from cloud.registry.durable_file import write_durably
from contract.errors import PlumblineError

_log = logging.getLogger(__name__)

FILE = "database-outage.json"
_MOST_OVER, _MOST_POSTS = 20, 100


class _Kept(msgspec.Struct):
    next_id: int = 1
    recorded: int = 0
    away_since: float | None = None
    opened: bool = False
    never_made: bool = False
    notices: list[Notice] = []
    posts: list[Post] = []


class OutageBook:
    """`cloud.ports.notices.NoticeBook` and `PostBox` of a few notices. Thread-safe."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._writes = True
        self._kept = self._read()

    @property
    def away_since(self) -> float | None:
        """When the database was first seen to be away (Unix seconds), None while it is there."""
        return self._kept.away_since

    @property
    def lost_since(self) -> float | None:
        """As `away_since`, of a database that was there before: None where what is away could never be made."""
        return None if self._kept.never_made else self._kept.away_since

    def note_away(self, since: float | None, *, made: bool = True) -> None:
        """Remember since when the database is away, None for not at all. What is remembered already stays.

        `made`: as far as can be seen it was there once; that it was opened from this home before is remembered, too.
        """
        with self._lock:
            kept = self._kept
            before = (kept.away_since, kept.opened, kept.never_made)
            was_not_there = not kept.opened if kept.away_since is None else kept.never_made
            never_made = since is not None and not made and was_not_there
            if (since is None) != (kept.away_since is None):
                kept.away_since = since
            kept.opened, kept.never_made = kept.opened or since is None, never_made
            if before != (kept.away_since, kept.opened, kept.never_made):
                self._write()

    def open(self) -> list[Notice]:
        """Return the notices that are open, oldest first."""
        with self._lock:
            return [notice for notice in self._kept.notices if notice.closed_at is None]

    def unrecorded(self) -> list[Notice]:
        """Return those that are over and that `note_recorded` was not told of, oldest first."""
        with self._lock:
            return [n for n in self._kept.notices if n.closed_at is not None and n.id > self._kept.recorded]

    def note_recorded(self, notice: Notice) -> None:
        """Remember that one, and all before it, stand in the tables."""
        with self._lock:
            self._kept.recorded = notice.id
            self._write()

    def told_since(self, since: float) -> Mapping[str, LastTold]:
        """Return what was told, or said to be over, at or after `since`, by key."""
        found: dict[str, LastTold] = {}
        with self._lock:
            for notice in self._kept.notices:
                over = notice.closed_at if notice.times_told else None
                if notice.told_at is not None and max(notice.told_at, over or 0.0) >= since:
                    found[notice.need.key] = LastTold(notice.told_at, notice.told_severity, over)
        return found

    def apply(self, changes: Changes, channels: Sequence[str], now: float) -> None:
        """Keep what changed, with a post a channel for each message."""
        with self._lock:
            kept = self._kept
            ids: dict[str, int] = {}
            for notice in changes.open:
                ids[notice.need.key] = kept.next_id
                kept.notices.append(replace(notice, id=kept.next_id))
                kept.next_id += 1
            for notice in (*changes.update, *changes.close):
                ids[notice.need.key] = notice.id
                kept.notices[:] = [notice if each.id == notice.id else each for each in kept.notices]
            over = [each for each in kept.notices if each.closed_at is not None]
            for each in over[:-_MOST_OVER]:
                kept.notices.remove(each)
            for message in changes.outgoing:
                for channel in channels:
                    kept.posts.append(Post(kept.next_id, ids[message.key], channel, message.body, now, now))
                    kept.next_id += 1
            del kept.posts[:-_MOST_POSTS]
            self._write()

    def due(self, channel: str, now: float, limit: int) -> list[Post]:
        """Return up to `limit` posts of a channel whose time has come, oldest first; none while the oldest waits."""
        with self._lock:
            waiting = [post for post in self._kept.posts if post.channel == channel][:limit]
        # A time that lies further ahead than any wait was set by a clock that was set back since.
        return [] if waiting and now < waiting[0].due_at <= now + MOST_WAIT_S else waiting

    def sent(self, post: Post, now: float) -> None:
        """Forget one that a channel took."""
        self._change(post.id, None)

    def again(self, post: Post, error: str, due_at: float) -> None:
        """Remember that one was not taken, and when to try again."""
        self._change(post.id, replace(post, tries=post.tries + 1, error=error[:500], due_at=due_at))

    def give_up(self, post: Post, why: str, now: float) -> None:
        """Forget one that will never be taken; `cloud.alerts.delivery` has logged why."""
        self._change(post.id, None)

    def _change(self, post: int, changed: Post | None) -> None:
        with self._lock:
            put = [changed] if changed is not None else []
            self._kept.posts = [new for each in self._kept.posts for new in (put if each.id == post else [each])]
            self._write()

    def _read(self) -> _Kept:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return _Kept()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            _log.warning("what was told of the database cannot be read from %s: %s", self._file, error)
            return _Kept()

    def _write(self) -> None:
        try:
            write_durably(self._file, [msgspec.json.encode(self._kept)])
            self._writes = True
        except PlumblineError as error:
            if self._writes:
                _log.warning("what is told of the database is kept in memory alone: %s", error.one_line())
            self._writes = False
