"""Dialling, and dialling again: full jitter, so that ten thousand stations do not come back as one (DESIGN 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from scripts.fleet.connection import Connection

_FIRST_S, _MOST_S, _DIAL_WITHIN_S = 0.5, 30.0, 20.0
_REFUSED_FOR_S, _MOST_AT_ONCE = 0.2, 100


@dataclass(slots=True)
class Door:
    """Where the broker is; `shut` while the network to it is down.

    Ten thousand refused dials take this one process longer than an outage lasts, where each real station has a machine of its own.
    So one refusal is everybody's for a moment, one of them tries whether it still holds, and few dial at a time.
    """

    host: str
    port: int
    shut: bool = False
    dialling: int = 0
    refused_s: float | None = None

    def is_refusing(self, now_s: float) -> bool:
        """Return whether a dial would be refused, as far as is known."""
        if self.shut or self.refused_s is None:
            return self.shut
        return self.dialling > 0 or now_s - self.refused_s < _REFUSED_FOR_S


class Reconnect:
    """One station's way to its broker. Waits a random time up to half a second, doubled for each failure, 30 s at most."""

    def __init__(self, door: Door, make: Callable[[], Connection], random: Random) -> None:
        self._door, self._make, self._random = door, make, random
        self._failures = 0
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._dialling: asyncio.Task[None] | None = None

    def now(self) -> None:
        """Dial."""
        self._timer = None
        loop = asyncio.get_running_loop()
        if self._stopped:
            return
        if self._door.is_refusing(loop.time()):
            self.later()
        elif self._door.dialling >= _MOST_AT_ONCE:
            self._timer = loop.call_later(self._random.uniform(0.0, _REFUSED_FOR_S), self.now)
        else:
            self._door.dialling += 1
            self._dialling = loop.create_task(self._dial())

    def later(self) -> None:
        """Dial after a random while; a second call changes nothing."""
        if self._stopped or self._timer is not None:
            return
        wait_s = self._random.uniform(0.0, min(_FIRST_S * 2.0**self._failures, _MOST_S))
        self._failures = min(self._failures + 1, 16)
        self._timer = asyncio.get_running_loop().call_later(wait_s, self.now)

    def succeeded(self) -> None:
        """Begin with short waits again."""
        self._failures = 0

    def stop(self) -> None:
        """Dial no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._dialling is not None:
            self._dialling.cancel()

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(
                loop.create_connection(self._make, self._door.host, self._door.port), timeout=_DIAL_WITHIN_S
            )
        except (OSError, asyncio.TimeoutError) as error:
            if isinstance(error, ConnectionRefusedError):
                self._door.refused_s = loop.time()
            self.later()
        else:
            self._door.refused_s = None
        finally:
            self._door.dialling -= 1
