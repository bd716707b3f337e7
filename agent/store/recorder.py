"""Group commit: one thread takes results off a bounded queue and commits them together (P1, P5)."""

from __future__ import annotations

import errno
import queue
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from agent.ports.log import Log
from agent.ports.recorder import Result, Sample
from agent.store.database import transaction
from agent.store.opinions import Opinions
from agent.store.outbox import Outbox
from agent.store.quarantine import is_corruption
from agent.store.recovery import set_last_closed_window
from agent.store.results import add_results
from agent.store.retention import Retention
from agent.store.running_mark import RunningMark
from agent.store.samples import Samples
from contract.errors import StorageFull
from contract.messages import SampleNote, Summary


@dataclass(frozen=True, slots=True)
class _Recorded:
    result: Result
    sample: Sample | None


@dataclass(frozen=True, slots=True)
class _Closed:
    window: int
    summary: Summary


_MOST_AT_ONCE = 512

_Item: TypeAlias = "_Recorded | _Closed"


class GroupRecorder:
    """Commits every `batch` results or `linger_s`, whichever is first; a window's end commits at once.

    While the disk refuses, it keeps its batch and tries again: the queue fills, `record` says False, `healthy` says False.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        outbox: Outbox,
        samples: Samples,
        log: Log,
        *,
        queue_size: int = 512,
        batch: int = 64,
        linger_s: float = 0.1,
        keep_rows: int = 1_000_000,
        retention: Retention | None = None,
        mark: RunningMark | None = None,
        opinions: Opinions | None = None,
    ) -> None:
        """`linger_s` is what a crash may lose: those frames are told as undecided when `mark` counts them.

        `opinions`: where kept frames wait for a second opinion.
        """
        self._connection = connection
        self._outbox = outbox
        self._samples = samples
        self._log = log
        self._queue: queue.Queue[_Item] = queue.Queue(queue_size)
        # Pixels are the heavy part of an item: half the queue may hold them, the other half never does.
        self._sample_room = queue_size // 2
        self._batch = batch
        self._linger_s = linger_s
        self._retention = retention or Retention(connection, outbox, samples, keep_rows=keep_rows)
        self._mark = mark
        self._opinions = opinions
        self._healthy = True
        self._shed = False
        self._images_refused = 0
        # The producer's count, and what the recorder's thread has told of it.
        self._images_crowded_out = 0
        self._crowded_out_told = 0
        self.corrupt = False
        """Whether SQLite found the file itself damaged: only a restart, which quarantines it, can help."""
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)

    def start(self) -> None:
        """Start the thread; it owns the connection from here on."""
        self._thread.start()

    def stop(self, within_s: float) -> bool:
        """Commit what is queued and stop; return whether everything was committed in time."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(within_s)
        return not self._thread.is_alive() and self._queue.empty() and self._healthy

    def record(self, result: Result, sample: Sample | None) -> bool:
        """Queue one result and its sample; False when there is no room: count the frame as undecided."""
        if self._mark is not None:
            self._mark.count(result.window, result.captured_at)
        if sample is not None and self._queue.qsize() >= self._sample_room:
            self._images_crowded_out += 1
            sample = None
        return self._put(_Recorded(result, sample))

    def close_window(self, window: int, summary: Summary) -> bool:
        """Queue the end of `window`: results and outbox row become durable together. False: no room, try again later."""
        return self._put(_Closed(window, summary))

    def has_room(self) -> bool:
        """Return whether the next item will be taken: only the caller adds, so room seen stays."""
        return not self._queue.full()

    def healthy(self) -> bool:
        """Return whether the last commit reached the disk."""
        return self._healthy

    def _put(self, item: _Item) -> bool:
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            return False
        if isinstance(item, _Closed) or self._queue.qsize() >= self._batch:
            self._wake.set()
        return True

    def _work(self) -> None:
        while True:
            items = self._gather()
            if not items:
                if self._stopping.is_set():
                    return
                continue
            while not self._try_commit(items):
                if self._stopping.wait(0.5):
                    # One more try, then the process may end: what is lost here was never acknowledged to anyone.
                    self._try_commit(items)
                    return

    def _gather(self) -> list[_Item]:
        """Return what came within `linger_s` of the first item, or sooner once there is a batch or a window's end."""
        items: list[_Item] = []
        try:
            items.append(self._queue.get(timeout=0.2))
            # One wait for the batch, not one for each item: a timed get costs tens of microseconds.
            if not self._stopping.is_set() and not isinstance(items[0], _Closed):
                self._wake.wait(self._linger_s)
            self._wake.clear()
            while not isinstance(items[-1], _Closed) and len(items) < _MOST_AT_ONCE:
                items.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return items

    def _try_commit(self, items: Sequence[_Item]) -> bool:
        try:
            self._commit(items)
        except (sqlite3.Error, OSError) as error:
            self._healthy = False
            self.corrupt = self.corrupt or is_corruption(error)
            self._log.fault("recorder", f"results cannot be stored, every verdict is REVIEW until they can: {error}")
            self._make_emergency_room(error)
            return False
        self._shed = False
        if not self._healthy:
            self._healthy = True
            self._log.say("results are stored again")
        return True

    def _make_emergency_room(self, error: sqlite3.Error | OSError) -> None:
        """Give images up for results, once an outage: what fills the disk may be others, and they would take it all."""
        if self._shed or not ("full" in str(error) or getattr(error, "errno", None) == errno.ENOSPC):
            return
        self._shed = True
        try:
            freed = self._retention.shed()
        except (sqlite3.Error, OSError) as failed:
            self._log.fault("recorder", f"no room could be made: {failed}")
            return
        if freed:
            self._log.say(f"the disk is full: {freed >> 10} KiB of the least valued images were given up for results")

    def _commit(self, items: Sequence[_Item]) -> None:
        recorded = [item for item in items if isinstance(item, _Recorded)]
        kept = self._write_samples(recorded)
        closed = [item for item in items if isinstance(item, _Closed)]
        gone: list[str] = []
        refused, crowded_out = self._images_refused, self._images_crowded_out
        with transaction(self._connection):
            ids = add_results(self._connection, [item.result for item in recorded])
            for place, note, size_bytes in kept:
                result = recorded[place].result
                self._samples.add(note, result.window, size_bytes)
                if self._opinions is not None:
                    self._opinions.queue(ids[place], result, note)
            if closed:
                self._retention.count("images (the disk refused them)", refused)
                self._retention.count("images (the queue was full)", crowded_out - self._crowded_out_told)
                for item in closed:
                    self._outbox.add(self._complete(item), item.window)
                    set_last_closed_window(self._connection, item.window)
                gone = self._retention.make_room()
        self._samples.remove(gone)
        if closed:
            self._images_refused -= refused
            self._crowded_out_told = crowded_out
        if self._mark is not None:
            for item in closed:
                self._mark.closed(item.window, self._outbox.depth())

    def _complete(self, item: _Closed) -> Summary:
        told = self._retention.tell()
        note = "; ".join(filter(None, (item.summary.note, told)))
        return msgspec.structs.replace(
            item.summary,
            samples=self._samples.notes_of(item.window),
            note=note,
            opinions=self._opinions.tell() if self._opinions is not None else None,
        )

    def _write_samples(self, items: Sequence[_Recorded]) -> list[tuple[int, SampleNote, int]]:
        """Write the images; return (place in `items`, note, size in bytes) of each that could be."""
        kept: list[tuple[int, SampleNote, int]] = []
        for place, item in enumerate(items):
            if item.sample is None:
                continue
            try:
                size_bytes = self._samples.write(item.sample.note, item.sample.pixels)
            except StorageFull as error:
                # An image we could not keep is not worth a verdict.
                self._log.fault("samples", error.one_line())
                self._images_refused += 1
                continue
            kept.append((place, item.sample.note, size_bytes))
        return kept
