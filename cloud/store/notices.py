"""What people are told, and the messages on their way to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import and_, delete, func, or_, select, text, update

from cloud.ports.needs import Need, Severity
from cloud.ports.notices import Changes, LastTold, Notice, Post
from cloud.store.database import Database
from cloud.store.operate_tables import notice_posts, notices

_KEY_CHARS, _KIND_CHARS, _RUNBOOK_CHARS = 200, 40, 80
GAVE_UP = "given up"
_NO_CHANNEL = f"{GAVE_UP}: there is no such channel any more"


class Notices:
    """The notices and notice_posts tables (`cloud.ports.notices.NoticeBook` and `PostBox`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self) -> list[Notice]:
        """Return the notices that are open, oldest first."""
        query = select(notices).where(notices.c.closed_at.is_(None)).order_by(notices.c.id)
        with self._database.read() as connection:
            return [_notice(row._mapping) for row in connection.execute(query)]

    def newest(self, limit: int) -> list[Notice]:
        """Return the newest notices, open or over, newest first."""
        query = select(notices).order_by(notices.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [_notice(row._mapping) for row in connection.execute(query)]

    def told_since(self, since: float) -> Mapping[str, LastTold]:
        """Return what was told, or said to be over, at or after `since`, by key."""
        c = notices.c
        said_over = and_(c.closed_at >= since, c.times_told > 0)
        query = select(c.key, c.told_at, c.told_severity, c.closed_at, c.times_told)
        found: dict[str, LastTold] = {}
        with self._database.read() as connection:
            for row in connection.execute(query.where(or_(c.told_at >= since, said_over)).order_by(c.told_at, c.id)):
                before = found.get(row.key)
                over = row.closed_at if row.times_told else None
                over_at = max((at for at in (over, before.over_at if before else None) if at is not None), default=None)
                found[row.key] = LastTold(row.told_at, _severity(row.told_severity), over_at)
        return found

    def apply(self, changes: Changes, channels: Sequence[str], now: float) -> None:
        """Store what changed, with a post a channel for each message, in one transaction."""
        with self._database.write() as connection:
            ids: dict[str, int] = {}
            for notice in changes.open:
                key = connection.execute(notices.insert().values(**_row(notice))).inserted_primary_key
                assert key is not None  # an autoincrement insert always has one
                ids[notice.need.key] = int(key[0])
            for notice in (*changes.update, *changes.close):
                ids[notice.need.key] = notice.id
                connection.execute(update(notices).where(notices.c.id == notice.id).values(**_row(notice)))
            posts = [
                {"notice": ids[each.key], "channel": channel, "body": each.body, "due_at": now, "made_at": now}
                for each in changes.outgoing
                for channel in channels
            ]
            if posts:
                connection.execute(notice_posts.insert(), posts)

    def due(self, channel: str, now: float, limit: int) -> list[Post]:
        """Return up to `limit` posts of a channel whose time has come, oldest first.

        One that came before another goes out before it: while the oldest waits for its next try, all do. A time that lies further
        ahead than any wait was set by a clock that was set back since.
        """
        c = notice_posts.c
        waiting = select(notice_posts).where(c.channel == channel, c.sent_at.is_(None)).order_by(c.id).limit(limit)
        with self._database.read() as connection:
            found = [Post(**row._mapping) for row in connection.execute(waiting)]
        if found and now < found[0].due_at <= now + MOST_WAIT_S:
            return []
        return found

    def sent(self, post: Post, now: float) -> None:
        """Record that a channel took one."""
        self._change(post, sent_at=now, tries=post.tries + 1, error="")

    def again(self, post: Post, error: str, due_at: float) -> None:
        """Record that one was not taken, and when to try again."""
        self._change(post, tries=post.tries + 1, error=error[:500], due_at=due_at)

    def give_up(self, post: Post, why: str, now: float) -> None:
        """Record that one will never be taken."""
        self._change(post, sent_at=now, tries=post.tries + 1, error=f"{GAVE_UP}: {why}"[:500])

    def forget_channels(self, channels: Sequence[str], now: float) -> int:
        """Give up what waits for channels that are no more; return how many posts."""
        c = notice_posts.c
        gone = update(notice_posts).where(c.sent_at.is_(None), c.channel.not_in(list(channels)))
        with self._database.write() as connection:
            return int(connection.execute(gone.values(sent_at=now, error=_NO_CHANNEL)).rowcount)

    def undelivered(self, made_before: float) -> dict[str, int]:
        """Return how many posts a channel did not take, by channel: those made before a moment that wait, and those given up
        since it last took one.

        A channel that refuses whatever it is sent has nothing that waits.
        """
        c, mine = notice_posts.c, notice_posts.alias()
        of_it = select(func.coalesce(func.max(mine.c.id), 0)).where(mine.c.channel == c.channel)
        last_taken = of_it.where(mine.c.sent_at.is_not(None), mine.c.error == "").scalar_subquery()
        waits = and_(c.sent_at.is_(None), c.made_at < made_before)
        lost = and_(c.error.startswith(GAVE_UP), c.error != _NO_CHANNEL, c.id > last_taken)
        query = select(c.channel, func.count()).where(or_(waits, lost)).group_by(c.channel)
        with self._database.read() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query)}

    def posts_by_end(self) -> dict[tuple[str, str], int]:
        """Return how many posts there are by (channel, "waiting", "sent" or "given up")."""
        c = notice_posts.c
        waits, failed = c.sent_at.is_(None).label("waits"), (c.error != "").label("failed")
        query = select(c.channel, waits, failed, func.count().label("number")).group_by(
            c.channel, text("waits"), text("failed")
        )
        ends: dict[tuple[str, str], int] = {}
        with self._database.read() as connection:
            for row in connection.execute(query):
                end = "waiting" if row.waits else GAVE_UP if row.failed else "sent"
                ends[row.channel, end] = ends.get((row.channel, end), 0) + int(row.number)
        return ends

    def waiting(self, limit: int) -> list[Post]:
        """Return the posts that wait or were given up, newest first."""
        c = notice_posts.c
        query = select(notice_posts).where(or_(c.sent_at.is_(None), c.error != "")).order_by(c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [Post(**row._mapping) for row in connection.execute(query)]

    def prune(self, before: float) -> int:
        """Remove notices that were over before a moment, with their posts; return how many."""
        over = select(notices.c.id).where(notices.c.closed_at < before)
        with self._database.write() as connection:
            connection.execute(delete(notice_posts).where(notice_posts.c.notice.in_(over)))
            return int(connection.execute(delete(notices).where(notices.c.closed_at < before)).rowcount)

    def _change(self, post: Post, **values: Any) -> None:
        with self._database.write() as connection:
            connection.execute(update(notice_posts).where(notice_posts.c.id == post.id).values(**values))


MOST_WAIT_S = 900.0
"""The longest wait between two tries of a post."""


def _row(notice: Notice) -> dict[str, Any]:
    need, said = notice.need, notice.told_severity
    return {
        "key": need.key[:_KEY_CHARS],
        "kind": need.kind[:_KIND_CHARS],
        "severity": need.severity.value,
        "what": need.what,
        "link": need.link,
        "runbook": need.runbook[:_RUNBOOK_CHARS],
        "opened_at": notice.opened_at,
        "seen_at": notice.seen_at,
        "told_at": notice.told_at,
        "times_told": notice.times_told,
        "closed_at": notice.closed_at,
        "told_severity": said.value if said is not None else "",
        "members": msgspec.json.encode(sorted(notice.members)).decode(),
    }


def _notice(row: Any) -> Notice:
    need = Need(row["key"], row["kind"], Severity(row["severity"]), row["what"], row["link"], row["runbook"])
    return Notice(
        row["id"],
        need,
        row["opened_at"],
        row["seen_at"],
        row["told_at"],
        row["times_told"],
        row["closed_at"],
        _severity(row["told_severity"]),
        frozenset(msgspec.json.decode(row["members"], type=list[str])),
    )


def _severity(word: str) -> Severity | None:
    return Severity(word) if word else None
