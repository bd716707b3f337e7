"""Turns what needs a person into notices, and notices into messages that wait for their channels (`cloud.alerts`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from cloud.alerts.message import Links, message_of, storm_message
from cloud.needs import Found
from cloud.notice_rules import Decision, NoticeRules, decide
from cloud.ports.needs import Need
from cloud.ports.notices import Changes, Notice, NoticeBook, Outgoing

# What is only seen again is written this often.
_SEEN_EVERY_S = 60.0
KEY_CHARS = 200


class NoticesLoop:
    """`tick` is called by one thread. What was told is in the tables, so that a restart tells nothing twice.

    Args:
        found: returns what needs a person now.
        channels: names of those that each message is for.
    """

    def __init__(
        self,
        book: NoticeBook,
        found: Callable[[], Found],
        channels: Sequence[str],
        links: Links,
        rules: NoticeRules,
        now: Callable[[], float],
    ) -> None:
        self._book, self._found, self._channels = book, found, tuple(channels)
        self._links, self._rules, self._now = links, rules, now
        # Who has just started has not seen yet what is still so.
        self._began = now()
        self._seen: dict[str, float] = {}
        self._written_at = self._began
        # How many messages for many there were one after the other, and when the last one was.
        self._storms, self._storm_at = 0, float("-inf")

    def tick(self) -> None:
        """Look once.

        Raises:
            TransientError: the database cannot be read or written now.
        """
        found, now = self._found(), self._now()
        needs = [_with_key(need) for need in found.needs]
        stored = list(self._book.open())
        opened = [replace(n, seen_at=max(n.seen_at, self._seen.get(n.need.key, self._began))) for n in stored]
        window_s = max(self._rules.cooldown_s, self._rules.storm_s)
        told = self._book.told_since(now - window_s)
        group_s = self._group_s(now)
        decision = decide(opened, needs, found.hidden, told, now, replace(self._rules, group_s=group_s))
        if decision.storm is not None:
            self._storms, self._storm_at = self._storms + 1, now
        changes = self._changes(decision, {n.need.key: n for n in stored}, now)
        if changes:
            self._book.apply(changes, self._channels, now)
        self._seen = {n.need.key: n.seen_at for n in (*decision.opened, *decision.kept)}

    def _group_s(self, now: float) -> float:
        """Return how long what comes waits for company: longer and longer while one storm follows the other."""
        longest_s = max(self._rules.group_s, self._rules.storm_s)
        if not 0.0 <= now - self._storm_at < 2 * longest_s:
            self._storms = 0
        return min(self._rules.group_s * 2.0 ** min(max(self._storms - 1, 0), 16), longest_s)

    def _changes(self, decision: Decision, stored: dict[str, Notice], now: float) -> Changes:
        outgoing = [
            Outgoing(each.notice.need.key, message_of(each, self._links, now).decode()) for each in decision.told
        ]
        begun = list(decision.opened)
        if decision.storm is not None:
            storm = replace(decision.storm, closed_at=now)
            begun.append(storm)
            body = storm_message(storm, decision.grouped, self._links, now).decode()
            outgoing.append(Outgoing(storm.need.key, body))
        fresh = not 0.0 <= now - self._written_at < _SEEN_EVERY_S
        if fresh:
            self._written_at = now
        goes_on = [n for n in decision.kept if fresh or n.times_told != stored[n.need.key].times_told]
        return Changes(begun, goes_on, decision.closed, outgoing)


def _with_key(need: Need) -> Need:
    """Return the need with a key that the table can hold: one that is cut would be another's next time."""
    return need if len(need.key) <= KEY_CHARS else replace(need, key=need.key[:KEY_CHARS])
