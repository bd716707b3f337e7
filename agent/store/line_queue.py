"""The queue between the lines and the recorder's thread: results in places of one kind, window ends in places of another."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import TypeAlias

from agent.ports.recorder import Result, Sample
from contract.messages import Summary


@dataclass(frozen=True, slots=True)
class Recorded:
    """A result and its image, if one is to be kept."""

    result: Result
    sample: Sample | None


@dataclass(frozen=True, slots=True)
class Closed:
    """The end of a window, and what is shipped of it."""

    window: int
    summary: Summary

    @property
    def camera(self) -> str:
        """Whose window it is."""
        return self.summary.header.camera


Item: TypeAlias = "Recorded | Closed"

# Window ends that may wait, some 11 KB each, beyond those which the producers have seen room for: at least so many, and more
# in a longer queue, at one for so many results.
_LEAST_ENDS, _RESULTS_AN_END = 32, 64


class LineQueue:
    """First in, first out, bounded, for several producers and one taker.

    Window ends have places of their own. `has_room` says yes while as many of them are free as there are producers: each of
    the others may have been told the same and will use one, so the last is the caller's.
    """

    def __init__(self, size: int, *, producers: int) -> None:
        """`size`: how many results may wait."""
        # Bounded by the counts below, for its items are of two kinds.
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._size = size
        self._producers = producers
        self._counting = threading.Lock()
        self._results = 0
        self._end_places = producers + max(_LEAST_ENDS, size // _RESULTS_AN_END)
        self._pixel_bytes = 0
        self.images_crowded_out = 0
        """Images that found half the queue full: pixels are the heavy part of an item, the other half never holds any."""

    @property
    def pixel_bytes(self) -> int:
        """How many bytes of pixels wait: what makes the queue heavy."""
        return self._pixel_bytes

    def put_result(self, result: Result, sample: Sample | None) -> int:
        """Queue a result; return how many wait now, 0 when there was no room for it."""
        with self._counting:
            if sample is not None and self._results >= self._size // 2:
                self.images_crowded_out += 1
                sample = None
            if self._results >= self._size:
                return 0
            self._results += 1
            self._pixel_bytes += sample.pixels.nbytes if sample is not None else 0
            waiting = self._results
        self._queue.put(Recorded(result, sample))
        return waiting

    def put_end(self, window: int, summary: Summary) -> bool:
        """Queue a window's end; False when there was no place: never after `has_room` said yes to this producer."""
        with self._counting:
            if self._end_places <= 0:
                return False
            self._end_places -= 1
        self._queue.put(Closed(window, summary))
        return True

    def has_room(self) -> bool:
        """Return whether the caller's next window end will be taken, whatever the other producers do meanwhile."""
        with self._counting:
            return self._results < self._size and self._end_places >= self._producers

    def get(self, within_s: float) -> Item:
        """Take the oldest item, waiting at most `within_s`, 0 for not at all.

        Raises:
            queue.Empty: there is none.
        """
        item = self._queue.get(timeout=within_s) if within_s > 0 else self._queue.get_nowait()
        with self._counting:
            if isinstance(item, Closed):
                self._end_places += 1
            else:
                self._results -= 1
                self._pixel_bytes -= item.sample.pixels.nbytes if item.sample is not None else 0
        return item

    def empty(self) -> bool:
        """Return whether nothing waits."""
        return self._queue.empty()
