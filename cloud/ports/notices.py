"""What people are told, and the messages on their way to them, as the loops see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cloud.ports.needs import Need, Severity


@dataclass(frozen=True, slots=True)
class Notice:
    """A need that is open, or was. Times are Unix seconds by the cloud's clock.

    `seen_at`: when it was last so, kept to the minute. `told_at`: when its key last went out, of a row before this one perhaps
    (`times_told` is 0 then); `told_severity` how urgent it was said to be, None for never. `members`: the stations that people
    were told of.
    """

    id: int
    need: Need
    opened_at: float
    seen_at: float
    told_at: float | None = None
    times_told: int = 0
    closed_at: float | None = None
    told_severity: Severity | None = None
    members: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LastTold:
    """When a key was last told, of whichever row, and how urgent it was said to be; `over_at`: when it was last said to be over."""

    at: float
    severity: Severity | None
    over_at: float | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent to every channel; `body` is JSON text. `notice`: the key of the notice that it tells of."""

    key: str
    body: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What one look changes, stored whole or not at all.

    `open` are notices that begin (their `id` is not yet), `update` those that go on, `close` those that are over; `outgoing` is
    what is said of any of them.
    """

    open: Sequence[Notice] = ()
    update: Sequence[Notice] = ()
    close: Sequence[Notice] = ()
    outgoing: Sequence[Outgoing] = ()

    def __bool__(self) -> bool:
        return bool(self.open or self.update or self.close or self.outgoing)


@dataclass(frozen=True, slots=True)
class Post:
    """A message on its way to one channel; `tries` that failed so far, the last of them by `error`."""

    id: int
    notice: int
    channel: str
    body: str
    made_at: float
    due_at: float
    tries: int = 0
    sent_at: float | None = None
    error: str = ""


class NoticeBook(Protocol):
    """Notices. Each call is one transaction."""

    def open(self) -> Sequence[Notice]:
        """Return the notices that are open, oldest first."""

    def told_since(self, since: float) -> Mapping[str, LastTold]:
        """Return what was told, or said to be over, at or after `since`, by key."""

    def apply(self, changes: Changes, channels: Sequence[str], now: float) -> None:
        """Store what changed, with a post a channel for each message."""


class PostBox(Protocol):
    """Messages on their way. Each call is one transaction."""

    def due(self, channel: str, now: float, limit: int) -> Sequence[Post]:
        """Return up to `limit` posts of a channel whose time has come, oldest first."""

    def sent(self, post: Post, now: float) -> None:
        """Record that a channel took one."""

    def again(self, post: Post, error: str, due_at: float) -> None:
        """Record that one was not taken, and when to try again."""

    def give_up(self, post: Post, why: str, now: float) -> None:
        """Record that one will never be taken."""
