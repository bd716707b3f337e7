"""Who is served first where lines wait for some answers and nobody waits for others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from contract.errors import DeadlinePassed

RETRY_AFTER_S = 30
_LOOK_EVERY_S = 0.02


class LinesFirst:
    """Lets deferred requests through one at a time, and only while no line waits. One event loop's.

    A deferred request waits up to `patience_s` for its turn, and at most `most_waiting` do: each holds an image in memory.
    """

    def __init__(self, *, patience_s: float = 5.0, most_waiting: int = 8) -> None:
        self._patience_s = patience_s
        self._most_waiting = most_waiting
        self._urgent = 0
        self._waiting = 0
        self._deferred = False

    @asynccontextmanager
    async def turn(self, *, deferred: bool) -> AsyncIterator[None]:
        """Hold a turn for the block.

        Raises:
            DeadlinePassed: a deferred request's turn did not come.
        """
        if deferred:
            await self._wait_for_turn()
            self._deferred = True
        else:
            self._urgent += 1
        try:
            yield
        finally:
            if deferred:
                self._deferred = False
            else:
                self._urgent -= 1

    async def _wait_for_turn(self) -> None:
        if self._waiting >= self._most_waiting:
            raise DeadlinePassed("too many deferred requests wait", hint="ask again later")
        self._waiting += 1
        try:
            for _ in range(max(1, round(self._patience_s / _LOOK_EVERY_S))):
                if not self._urgent and not self._deferred:
                    return
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            self._waiting -= 1
        raise DeadlinePassed("lines were served first all the while", hint="ask again later")
