"""Brings what waits for one channel to it, in order, until it is taken. What waits is in the database: a restart loses nothing.

At least once: a process that ends between a channel's "taken" and its record sends that message again, with the same id.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from cloud.alerts.channel import Channel
from cloud.ports.notices import Post, PostBox
from contract.errors import PlumblineError, TransientError

_log = logging.getLogger(__name__)

_FIRST_WAIT_S, MOST_WAIT_S = 5.0, 900.0
_AT_ONCE = 20
# Told a day late it is no news: what still lasts is repeated by then.
TOO_OLD_S = 86_400.0


class Delivery:
    """`tick` is called by one thread, its own. `jitter` gives numbers in 0..1."""

    def __init__(
        self,
        channel: Channel,
        posts: PostBox,
        now: Callable[[], float],
        jitter: Callable[[], float],
        first_wait_s: float = _FIRST_WAIT_S,
    ) -> None:
        self._channel, self._posts, self._now, self._jitter = channel, posts, now, jitter
        self._first_wait_s = first_wait_s

    def tick(self) -> None:
        """Send what is due. The first that is not taken ends it: what came later waits behind it."""
        for post in self._posts.due(self._channel.name, self._now(), _AT_ONCE):
            if not self._send(post):
                return

    def _send(self, post: Post) -> bool:
        name, now = self._channel.name, self._now()
        if now - post.made_at > TOO_OLD_S:
            self._give_up(post, f"it is too old; last: {post.error or 'never tried'}")
            return True
        try:
            self._channel.send(post.body)
        except TransientError as error:
            wait_s = min(self._first_wait_s * 2.0 ** min(post.tries, 16), MOST_WAIT_S)
            # Half of it at least: a server that is down is not asked by all at one time.
            self._posts.again(post, error.one_line(), now + wait_s * (0.5 + 0.5 * self._jitter()))
            if post.tries == 0:  # once; it is tried for a day
                _log.warning("notice for '%s' was not taken, trying on: %s", name, error.one_line())
            return False
        except PlumblineError as error:
            self._give_up(post, error.one_line())
            return True
        self._posts.sent(post, self._now())
        return True

    def _give_up(self, post: Post, why: str) -> None:
        _log.error("notice for '%s' is given up: %s", self._channel.name, why)
        self._posts.give_up(post, why, self._now())
