"""Whether a one-time token enrols anybody, told from memory, so that it can be asked before anybody is refused for asking too much.

A token is 192 random bits (`cloud.provision.desk`): of a thousand that count, somebody who tries a million a second finds one in
some 10^41 years. So what limits keep from happening is no guess but work, and that is bounded here: however many tokens are shown,
the table is read once a second. What is compared are SHA-256 digests, whose comparison's time tells nothing of the tokens.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from fastapi.concurrency import run_in_threadpool

from cloud.api.answers import told_plainly
from cloud.store.access import fingerprint


class RightTokens:
    """One event loop's.

    Args:
        read: returns the SHA-256 (hexadecimal) of every token that enrols somebody now.
        monotonic: seconds that never go back.
        every_s: the table is read no more often.
    """

    def __init__(
        self,
        read: Callable[[], frozenset[str]],
        monotonic: Callable[[], float],
        *,
        every_s: float = 1.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._read, self._monotonic, self._every_s, self._sleep = read, monotonic, every_s, sleep
        self._right: frozenset[str] = frozenset()
        self._read_at = -math.inf
        self._reading = asyncio.Lock()

    async def has(self, token: str, *, for_sure: bool = False) -> bool:
        """Return whether `token` enrols somebody; one that was made within `every_s` may not be known yet.

        `for_sure`: it is, for the table was read since this was asked. That waits for `every_s` at most, and a read; whoever asks
        meanwhile waits for the same read.

        Raises:
            HTTPException: 503, the database cannot be used.
        """
        digest, asked_at = fingerprint(token), self._monotonic()
        if digest in self._right and asked_at - self._read_at < self._every_s:
            return True
        async with self._reading:
            wait_s = self._read_at + self._every_s - self._monotonic()
            if for_sure and wait_s > 0.0 and self._read_at < asked_at:
                await self._sleep(wait_s)
            if self._read_at < asked_at and (for_sure or wait_s <= 0.0):
                # As of its beginning: what is stored while it goes on may not be in it.
                began = self._monotonic()
                with told_plainly():
                    self._right = await run_in_threadpool(self._read)
                self._read_at = began
        return digest in self._right
