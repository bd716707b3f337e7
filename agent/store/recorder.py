"""Group commit: one thread takes results off a bounded queue and commits them together (P1, P5)."""

from __future__ import annotations

import errno
import queue
import sqlite3
import threading
from collections.abc import Sequence

import msgspec

from agent.ports.log import Log
from agent.ports.recorder import AwaitsStorage, Result, Sample
from agent.store.database import transaction
from agent.store.line_queue import Closed, Item, LineQueue, Recorded
from agent.store.opinions import Opinions
from agent.store.outbox import Outbox
from agent.store.quarantine import is_corruption
from agent.store.recovery import set_last_closed_window
from agent.store.results import add_results
from agent.store.retention import Retention
from agent.store.running_mark import RunningMarks
from agent.store.samples import Samples
from contract.errors import StorageFull
from contract.messages import SampleNote, Summary

_MOST_AT_ONCE = 512
# A kept frame of a megapixel is a megabyte until it is written: they are not gathered for as long as results are.
_MOST_PIXEL_BYTES = 4 << 20
# What a disk does, or a machine without memory: the same batch is tried until it is taken.
_CIRCUMSTANCES = (OSError, MemoryError, sqlite3.OperationalError, sqlite3.InternalError)
_TRIES_BEFORE_BLAMING_AN_ITEM = 3
_BARE = "sketches and notes of this window could not be stored: see the station's journal"


class GroupRecorder:
    """Commits every `batch` results, a few megabytes of kept frames or `linger_s`, whichever is first; a window's end at once.

    While the disk refuses, it keeps its batch and tries again: the queue fills, `record` says False, `healthy` says False.
    What no disk explains is held to be one item's fault: the batch is stored without it, which is counted and said.
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
        mark: RunningMarks | None = None,
        producers: int = 1,
        opinions: Opinions | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            linger_s: what a crash may lose: those frames are told as undecided when `mark` counts them.
            producers: how many threads record.
            opinions: where kept frames wait for a second opinion.
        """
        self._connection = connection
        self._outbox = outbox
        self._samples = samples
        self._log = log
        self._queue = LineQueue(queue_size, producers=producers)
        self._batch = batch
        self._linger_s = linger_s
        self._retention = retention or Retention(connection, outbox, samples, keep_rows=keep_rows)
        self._mark = mark
        self._opinions = opinions
        self._awaiting: AwaitsStorage | None = None
        # Rows of the batch in hand that are on the disk already, by the identity of their results.
        self._rows: dict[int, int] = {}
        self._healthy = True
        self._shed = False
        self._images_refused = 0
        self._unstorable = 0
        self._disk_refuses = False
        self.faults = 0
        """Errors that nothing here foresaw, counted by the outermost guard."""
        self._crowded_out_told = 0
        self.corrupt = False
        """Whether SQLite found the file itself damaged: only a restart, which quarantines it, can help."""
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)

    def tell_stored(self, awaiting: AwaitsStorage) -> None:
        """Have results stored by themselves, before images and windows, and `awaiting` told; to be called before `start`."""
        self._awaiting = awaiting

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
            self._mark.count(result.camera, result.window, result.captured_at, asked=result.asked > 0)
        waiting = self._queue.put_result(result, sample)
        full = waiting >= self._batch or self._queue.pixel_bytes >= _MOST_PIXEL_BYTES
        if full or (self._awaiting is not None and self._awaiting.awaits(result)):
            self._wake.set()
        return waiting > 0

    def dropped(self, camera: str, window: int, cause: str, count: int, at: float) -> None:
        """Note drops where a crash does not forget them; their window's summary tells of them otherwise."""
        if self._mark is not None:
            self._mark.count_dropped(camera, window, cause, count, at)

    def close_window(self, window: int, summary: Summary) -> bool:
        """Queue the end of `window` of the camera in the summary's header. False: no room, try again later; never after
        `has_room` said yes to this producer.
        """
        taken = self._queue.put_end(window, summary)
        if taken:
            self._wake.set()
        return taken

    def has_room(self) -> bool:
        """Return whether the caller's next window end will be taken, whatever the other producers do meanwhile."""
        return self._queue.has_room()

    def healthy(self) -> bool:
        """Return whether the last commit reached the disk."""
        return self._healthy

    def _work(self) -> None:
        while self._store_next():
            pass

    def _store_next(self) -> bool:
        """Store what comes next; return whether there may be more. Returns, so that no batch is held while the next gathers."""
        items = self._gather()
        if not items:
            return not self._stopping.is_set()
        self._rows.clear()
        tries = 0
        while items and not self._try_commit(items):
            tries += 1
            stopping = self._stopping.wait(0.5)
            if not self._disk_refuses and (stopping or tries >= _TRIES_BEFORE_BLAMING_AN_ITEM):
                items = self._without_the_unstorable(items)
            if items and stopping:
                # One more try, then the process may end: what is lost here was never acknowledged to anyone.
                self._try_commit(items)
                return False
        return True

    def _gather(self) -> list[Item]:
        """Return what came within `linger_s` of the first item, or sooner once there is a batch or a window's end."""
        items: list[Item] = []
        try:
            items.append(self._queue.get(0.2))
            # One wait for the batch, not one for each item: a timed get costs tens of microseconds.
            if not self._stopping.is_set() and not isinstance(items[0], Closed):
                self._wake.wait(self._linger_s)
            self._wake.clear()
            while not isinstance(items[-1], Closed) and len(items) < _MOST_AT_ONCE:
                items.append(self._queue.get(0.0))
            if self._awaiting is not None and not self._queue.empty():
                self._wake.set()  # what is left behind a window's end may be awaited, and its word was cleared
        except queue.Empty:
            pass
        return items

    def _try_commit(self, items: Sequence[Item]) -> bool:
        try:
            self._commit(items)
        except Exception as error:  # noqa: BLE001 - P6: a recorder that died would lose every verdict from then on
            self._healthy = False
            # SQLite's plain DatabaseError is what it says when it has no better word.
            self._disk_refuses = isinstance(error, _CIRCUMSTANCES) or type(error) is sqlite3.DatabaseError
            self.corrupt = self.corrupt or is_corruption(error)
            self.faults += not self._disk_refuses
            what = f"{error}" if self._disk_refuses else f"{type(error).__name__}: {error}"
            self._log.fault("recorder", f"results cannot be stored, every verdict is REVIEW until they can: {what}")
            if self._disk_refuses:
                self._make_emergency_room(error)
            return False
        self._shed = self._disk_refuses = False
        if not self._healthy:
            self._healthy = True
            self._log.say("results are stored again")
        return True

    def _without_the_unstorable(self, items: Sequence[Item]) -> list[Item]:
        """Store `items` one by one and let go of a result that fails alone; return those still to be stored, in order.

        A window's end is never let go of: it carries the counts of every frame in it, and is at worst stored bare.
        """
        for at, item in enumerate(items):
            bare: Item
            if isinstance(item, Closed):
                bare = Closed(item.window, msgspec.structs.replace(item.summary, window=None, note=_BARE))
            else:
                bare = Recorded(item.result, None)
            if self._try_commit([item]):
                continue
            if not self._disk_refuses and self._try_commit([bare]):
                self._unstorable += isinstance(item, Recorded)
                continue
            if self._disk_refuses or isinstance(item, Closed):
                return list(items[at:])
            self._unstorable += 1
        return []

    def _make_emergency_room(self, error: Exception) -> None:
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

    def _commit(self, items: Sequence[Item]) -> None:
        recorded = [item for item in items if isinstance(item, Recorded)]
        if self._awaiting is not None:
            self._store_results(self._awaiting, [item.result for item in recorded])
        kept, refused = self._write_samples(recorded)
        closed = [item for item in items if isinstance(item, Closed)]
        gone: list[str] = []
        refused, crowded_out, unstorable = (
            self._images_refused + refused,
            self._queue.images_crowded_out,
            self._unstorable,
        )
        with transaction(self._connection):
            ids = self._ids_of([item.result for item in recorded])
            for place, note, size_bytes in kept:
                result = recorded[place].result
                self._samples.add(note, result.window, size_bytes, result.camera)
                if self._opinions is not None:
                    self._opinions.queue(ids[place], result, note)
            if closed:
                self._retention.count("images (the disk refused them)", refused)
                self._retention.count("images (the queue was full)", crowded_out - self._crowded_out_told)
                self._retention.count("result rows (they could not be stored)", unstorable)
                for item in closed:
                    self._outbox.add(self._complete(item), item.window)
                    set_last_closed_window(self._connection, item.window, item.camera)
                gone = self._retention.make_room()
        self._samples.remove(gone)
        # Only what was committed is told, and a batch that is tried again refuses its images again.
        self._images_refused = 0 if closed else refused
        if closed:
            self._crowded_out_told = crowded_out
            self._unstorable -= unstorable
        if self._mark is not None:
            for item in closed:
                self._mark.closed(item.camera, item.window, self._outbox.depth())

    def _store_results(self, awaiting: AwaitsStorage, results: Sequence[Result]) -> None:
        """Store `results` alone, and say so: nothing that is slower, or that may fail, comes before."""
        fresh = [result for result in results if id(result) not in self._rows]
        if fresh:
            with transaction(self._connection):
                ids = add_results(self._connection, fresh)
            self._rows.update(zip(map(id, fresh), ids, strict=True))
            awaiting.stored(fresh)

    def _ids_of(self, results: Sequence[Result]) -> Sequence[int]:
        """Return the rows of `results`, which are added unless they are there. The caller holds the transaction."""
        if self._awaiting is None:
            return add_results(self._connection, results)
        return [self._rows[id(result)] for result in results]

    def _complete(self, item: Closed) -> Summary:
        told = self._retention.tell()
        note = "; ".join(filter(None, (item.summary.note, told)))
        return msgspec.structs.replace(
            item.summary,
            samples=self._samples.notes_of(item.camera, item.window),
            note=note,
            opinions=self._opinions.tell() if self._opinions is not None else None,
        )

    def _write_samples(self, items: Sequence[Recorded]) -> tuple[list[tuple[int, SampleNote, int]], int]:
        """Return (place in `items`, note, size in bytes) of each image written, and how many could not be."""
        kept: list[tuple[int, SampleNote, int]] = []
        refused = 0
        for place, item in enumerate(items):
            if item.sample is None:
                continue
            try:
                size_bytes = self._samples.write(item.sample.note, item.sample.pixels, item.sample.looked)
            except Exception as error:  # noqa: BLE001 - an image we could not keep is not worth a verdict
                said = error.one_line() if isinstance(error, StorageFull) else f"{type(error).__name__}: {error}"
                self._log.fault("samples", f"an image is not kept: {said}")
                refused += 1
                continue
            kept.append((place, item.sample.note, size_bytes))
        return kept, refused
