"""The first stage of the pipeline: each camera is read, decoded and measured on a thread of its own, ahead of the model.

Between a camera and the model stand at most `room` frames. A line does not wait: when there is no room the oldest gives way to
the newest, and every frame that gives way is counted by cause. A source that can wait (a folder) waits instead, and loses
nothing. A camera that hangs, or whose thread dies, holds nothing the other stages need: `restart` opens it afresh.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from agent.decide.causes import Drop
from agent.opening import Opening, close_quietly
from agent.ports.clock import Clock
from agent.ports.frames import Ahead, Captured
from agent.ports.source import Frame, FrameSource
from contract.errors import BadImage, TransientError
from contract.sketches.frame_stats import FrameStats, frame_stats

# A thread that hangs in a driver can be left but not ended. After so many times the camera waits until one of them comes back.
_MOST_LEFT_BEHIND = 5
_OPEN_WITHIN_S = 2.0
_AFTER_FAULT_S = 0.01  # a dead camera must not spin a core
_MOST_MISSED = 100_000  # a larger jump of a trigger count is a counter that was reset


class Capture:
    """One camera's stage. `open_source` is called again for each restart."""

    def __init__(
        self,
        name: str,
        source: FrameSource,
        open_source: Callable[[], FrameSource],
        clock: Clock,
        *,
        room: int = 2,
        judge_one_in: Callable[[], int] = lambda: 1,
        missed: Callable[[], int] = lambda: 0,
    ) -> None:
        """`judge_one_in`: of so many frames one is handed on (a degraded station); 1 is all of them.

        `missed`: parts since the start that were never captured, where somebody else knows of them (the line's controller).
        """
        self.name = name
        self.simulated = source.simulated
        self._source = source
        self._open_source = open_source
        self._clock = clock
        self._room = 1 if source.waits else room
        self._judge_one_in = judge_one_in
        self._missed = missed
        self._waiting: deque[Captured] = deque()
        self._dropped: dict[str, int] = {}
        self._last_trigger: int | None = None
        self._skipped_in_a_row = 0
        self._ended = False
        self._turned_s = clock.monotonic()
        self._thread: threading.Thread | None = None
        self._left_behind: list[tuple[threading.Thread, ...]] = []
        # Set when it joins a queue: one lock for all cameras of a station.
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._left = threading.Condition(self._lock)
        self._stop = threading.Event()
        self.look_ahead: Callable[[FrameStats], Ahead | None] = lambda _stats: None
        """How a frame stands to what is enrolled, asked on this camera's thread; set before `start`."""

    def join(self, arrived: threading.Condition, lock: threading.Lock, stop: threading.Event) -> None:
        """Share the station's lock, and the condition its one taker waits for; before `start`."""
        self._lock, self._arrived, self._stop = lock, arrived, stop
        self._left = threading.Condition(lock)

    def start(self) -> None:
        """Begin to read."""
        self._turned_s = self._clock.monotonic()
        self._thread = threading.Thread(
            target=self._work, args=(self._source,), name=f"capture {self.name}".strip(), daemon=True
        )
        self._thread.start()

    def restart(self) -> None:
        """Leave a thread that hangs or died to itself and go on with the camera opened afresh.

        Raises:
            PlumblineError: it cannot be opened now.
            TransientError: too many threads hang in it already.
        """
        self._left_behind = [left for left in self._left_behind if any(thread.is_alive() for thread in left)]
        if len(self._left_behind) >= _MOST_LEFT_BEHIND:
            raise TransientError(
                f"the camera hangs in each of {len(self._left_behind)} threads that were left to it",
                hint="unplug the camera and plug it in again, or restart the station",
            )
        hung, self._source = self._source, self._opened()
        self._ended = False
        self._last_trigger = None
        # Closing what hangs may hang too.
        closing = threading.Thread(target=close_quietly, args=(hung,), name="camera close", daemon=True)
        closing.start()
        self._left_behind.append((closing,) if self._thread is None else (closing, self._thread))
        self.start()

    def _opened(self) -> FrameSource:
        """Return the camera opened afresh; whoever waits for it also feeds the watchdog, so it does not wait for long."""
        opening = Opening(self._open_source)
        source = opening.take(_OPEN_WITHIN_S)
        if source is None:
            self._left_behind.append((opening.thread,))
            raise TransientError(
                f"it was not opened within {_OPEN_WITHIN_S:g} s", hint="look at its cable or its share"
            )
        return source

    def why_stalled(self, within_s: float) -> str:
        """Return "" while the camera answers (that it has no frame yet is an answer), else what is wrong."""
        if self._ended or self._stop.is_set():
            return ""
        if self._thread is not None and not self._thread.is_alive():
            return "its thread died"
        silent_s = self._clock.monotonic() - self._turned_s
        return f"it has not answered for {silent_s:.0f} s" if silent_s > within_s else ""

    def pop(self) -> Captured | None:
        """Return what waits longest. The caller holds the lock."""
        if not self._waiting:
            return None
        item = self._waiting.popleft()
        if not self._source.waits:
            return item
        self._left.notify()
        if item.frame is None:
            return item
        # What can wait is captured when the line takes it up: reading ahead must not make it late.
        frame = replace(item.frame, captured_at=self._clock.now(), captured_monotonic=self._clock.monotonic())
        return Captured(self.name, frame, None, item.stats, item.ahead)

    def dropped(self) -> Mapping[str, int]:
        """Return the drops since the start by cause; a dict that is replaced, never changed."""
        missed, dropped = self._missed(), self._dropped
        if not missed:
            return dropped
        cause = Drop.MISSED_TRIGGER.value
        return {**dropped, cause: dropped.get(cause, 0) + missed}

    @property
    def ended(self) -> bool:
        """Whether its source has no more to give."""
        return self._ended

    def exhausted(self) -> bool:
        """Return whether nothing waits and nothing will ever come again."""
        return self._ended and not self._waiting

    def close(self, within_s: float) -> None:
        """Let go of the camera; the queue's `stop` was set before."""
        if self._thread is not None:
            self._thread.join(within_s)
        if self._thread is None or not self._thread.is_alive():
            self._source.close()

    def _work(self, source: FrameSource) -> None:
        while not self._stop.is_set() and not source.exhausted():
            item = self._read(source)
            if source is not self._source:
                return  # it hung for so long that another took its place
            self._turned_s = self._clock.monotonic()
            if item is not None and (item.frame is None or self._wanted(item.frame)):
                self._put(self._measured(item), source)
                self._turned_s = self._clock.monotonic()
            if item is not None and item.fault is not None and not isinstance(item.fault, BadImage):
                self._clock.sleep(_AFTER_FAULT_S)
        with self._lock:
            self._ended = True
            self._arrived.notify()

    def _read(self, source: FrameSource) -> Captured | None:
        try:
            frame = source.read()
        except Exception as fault:  # noqa: BLE001 - P6: whatever a camera driver throws is REVIEW, counted and said
            return Captured(self.name, fault=fault)
        return None if frame is None else Captured(self.name, frame)

    def _measured(self, item: Captured) -> Captured:
        """Return `item` with its frame's statistics and what follows from them: here they cost the model's thread nothing."""
        if item.frame is None:
            return item
        try:
            stats = frame_stats(item.frame.pixels)
            return Captured(item.camera, item.frame, None, stats, self.look_ahead(stats))
        except Exception:  # noqa: BLE001 - whoever judges the frame finds the same, says it, and counts it
            return item

    def _wanted(self, frame: Frame) -> bool:
        """Count what the camera itself left out before `frame`; return whether `frame` is to be judged."""
        if frame.skipped:
            self._drop(Drop.SUPERSEDED, frame.skipped)
        if frame.trigger is not None:
            if self._last_trigger is not None:
                missed = frame.trigger - self._last_trigger - 1 - frame.skipped
                if 0 < missed < _MOST_MISSED:
                    self._drop(Drop.MISSED_TRIGGER, missed)
            self._last_trigger = frame.trigger
        one_in = self._judge_one_in()
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row < one_in:
            self._drop(Drop.SKIPPED, 1)
            return False
        self._skipped_in_a_row = 0
        return True

    def _put(self, item: Captured, source: FrameSource) -> None:
        with self._lock:
            while source.waits and len(self._waiting) >= self._room and not self._stop.is_set():
                self._turned_s = self._clock.monotonic()
                self._left.wait(0.2)
            # Once it stops, what was read last joins what waits: all of it is judged before the line ends.
            while len(self._waiting) >= self._room and not self._stop.is_set():
                self._waiting.popleft()
                self._drop(Drop.BACKLOG, 1)
            self._waiting.append(item)
            self._arrived.notify()

    def _drop(self, cause: Drop, count: int) -> None:
        # A new dict: `dropped` is read by another thread.
        self._dropped = {**self._dropped, cause.value: self._dropped.get(cause.value, 0) + count}


class Captures:
    """All cameras of a station as one `agent.ports.frames.FrameQueue`."""

    def __init__(self, captures: Sequence[Capture]) -> None:
        self._captures = tuple(captures)
        self._by_name = {capture.name: capture for capture in captures}
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._stop = threading.Event()
        self._turn = 0
        for capture in captures:
            capture.join(self._arrived, self._lock, self._stop)

    def __iter__(self) -> Iterator[Capture]:
        return iter(self._captures)

    def start(self) -> None:
        """Begin to read every camera."""
        for capture in self._captures:
            capture.start()

    def take(self, within_s: float) -> Captured | None:
        """Return what waits longest, cameras in turn; None when nothing came within `within_s`, or `wake` was called."""
        with self._lock:
            item = self._next()
            if item is None and within_s > 0 and not self._all_exhausted():
                self._arrived.wait(within_s)
                item = self._next()
            return item

    def wake(self) -> None:
        """Let a waiting `take` return at once: there is other news. Any thread."""
        with self._lock:
            self._arrived.notify()

    def dropped(self, camera: str) -> Mapping[str, int]:
        """Return how many captured frames of `camera` never reached `take` since the start, by cause."""
        return self._by_name[camera].dropped()

    def exhausted(self) -> bool:
        """Return whether nothing waits and nothing will ever come again."""
        with self._lock:
            return self._all_exhausted()

    def stop(self) -> None:
        """Stop reading; what waits can still be taken."""
        self._stop.set()
        self.wake()

    def close(self, within_s: float = 2.0) -> None:
        """Let go of every camera."""
        self.stop()
        for capture in self._captures:
            capture.close(within_s)

    def _next(self) -> Captured | None:
        for offset in range(len(self._captures)):
            item = self._captures[(self._turn + offset) % len(self._captures)].pop()
            if item is not None:
                self._turn = (self._turn + offset + 1) % len(self._captures)
                return item
        return None

    def _all_exhausted(self) -> bool:
        return all(capture.exhausted() for capture in self._captures)
