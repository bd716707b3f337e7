"""Keeps how the line's controller stands in the station's durable facts, for who reads them while the station runs or not."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from agent.line_io.line_books import flat
from agent.line_io.plc_loop import PlcLoop
from agent.ports.clock import Clock
from agent.ports.memory import Memory

FACT = "line"
_EVERY_S = 10.0


class LineFact(msgspec.Struct, frozen=True):
    """What is kept: why no verdict reaches the controller ("" for nothing), and `LineCounts` since that start in flat names.

    `before`: those of the process before, where what it left open is lost.
    """

    trouble: str
    counts: dict[str, int]
    before: dict[str, int] = {}


class LineTeller:
    """Writes when something changed, and seldom: each is a write to the disk."""

    def __init__(self, loop: PlcLoop | None, memory: Memory, clock: Clock, before: Mapping[str, int]) -> None:
        """`loop` None: there is no controller any more, and what was kept of one is taken away. `before`: see `LineFact`."""
        self._loop = loop
        self._before = dict(before)
        self._memory = memory
        self._clock = clock
        self._told: str | None = None
        self._trouble: str | None = None
        self._told_s = float("-inf")

    def tell(self, *, last: bool = False) -> None:
        """Keep it, if it is new; `last`: there will be no later call.

        Raises:
            TransientError: the disk refused; it is tried again by the next call.
        """
        if self._loop is None:
            if self._told is None and self._memory.get(FACT):
                self._memory.put(FACT, "")
            self._told = ""
            return
        trouble, now_s = self._loop.why_degraded(), self._clock.monotonic()
        if not last and trouble == self._trouble and now_s - self._told_s < _EVERY_S:
            return
        fact = msgspec.json.encode(LineFact(trouble, flat(self._loop.desk.counts()), self._before)).decode()
        if fact != self._told:
            self._memory.put(FACT, fact)
        self._told, self._trouble, self._told_s = fact, trouble, now_s


def line_of(kept: str) -> dict[str, object]:
    """Return what a status says of the controller: nothing for a station that has none."""
    try:
        fact = msgspec.json.decode(kept, type=LineFact)
    except msgspec.DecodeError:
        return {}
    before = {"triggers_before": fact.before} if fact.before else {}
    return {"controller": fact.trouble or "served", "triggers": fact.counts, **before}
