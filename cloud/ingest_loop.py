"""Messages from stations into the database: commit first, acknowledge after (P1)."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from cloud.credit import credit, smooth
from cloud.ingest_acks import AckDesk
from cloud.ingest_sort import sort_arrivals
from cloud.ports.batch import Batch, Commit, Named, Outcome, named
from cloud.ports.link import Arrival, Link, take_arrivals
from contract.codec import encode_control
from contract.errors import TransientError
from contract.topics import Channel, topic

_log = logging.getLogger(__name__)

BATCH_SIZE = 200
BATCH_WINDOW_S = 0.1
# A broker that lets few messages be unacknowledged (mosquitto: 20) sends no more before the batch is stored: do not wait for it.
BATCH_PAUSE_S = 0.01
# A station that sends without pause hears of it this often, whatever the number of batches; one that waits hears at once.
ACK_EVERY_S = 0.05
TELL_EVERY_S = 60.0
# What nobody can acknowledge comes again every few seconds, for ever: it is told and stored once, not each time (P5).
_DEAD_REMEMBERED = 1000
# What a queue without a bound is measured against.
_USUAL_CAPACITY = 2_000

_CLONED = "other content is stored under its number: another device counts under the same boot, or it was restored"


@dataclass(slots=True)
class IngestCounts:
    """What a loop did so far. `commit_s` is the time spent in commits, failed ones included."""

    committed: int = 0
    duplicates: int = 0
    conflicts: int = 0
    dead: int = 0
    batches: int = 0
    acks: int = 0
    commit_s: float = 0.0


class IngestLoop:
    """Runs in one thread until `stop`.

    `commit(batch, now)` may be done again after a break in the middle: that changes nothing. A
    batch that cannot be committed now is kept and tried again: nothing is acknowledged meanwhile. One that breaks the commit
    is taken apart, and the message that does it is dead: it must not stop every other station.
    """

    def __init__(
        self,
        arrivals: queue.Queue[Arrival],
        link: Link,
        commit: Commit,
        now: Callable[[], float],
        sleep: Callable[[float], None],
        batch_size: int = BATCH_SIZE,
        batch_window_s: float = BATCH_WINDOW_S,
        traced: Callable[[Batch, float, float], None] | None = None,
    ) -> None:
        self._arrivals, self._link, self._commit = arrivals, link, commit
        self._now, self._sleep = now, sleep
        self._batch_size, self._batch_window_s = batch_size, batch_window_s
        self._traced = traced
        self._stopping = False
        self.counts = IngestCounts()
        self._average_s = 0.0
        self._acks = AckDesk()
        self._acked_at = 0.0
        self._told_dead: dict[int, None] = {}
        self._told_at, self._told = now(), IngestCounts()

    @property
    def committed(self) -> int:
        """Summaries stored."""
        return self.counts.committed

    @property
    def duplicates(self) -> int:
        """Summaries that were stored already."""
        return self.counts.duplicates

    @property
    def dead(self) -> int:
        """Dead letters."""
        return self.counts.dead

    def run(self) -> None:
        """Ingest until stopped."""
        while not self._stopping:
            if arrivals := self._gather():
                self.ingest(arrivals)
            self._acknowledge()
            self._tell()
        self._send_acks(self._now())

    def stop(self) -> None:
        """Finish the batch at hand and return from `run`."""
        self._stopping = True

    def credit(self) -> int:
        """Return how many summaries a station may send before it hears again."""
        return credit(self._arrivals.qsize(), self._arrivals.maxsize or _USUAL_CAPACITY, self._average_s)

    def ingest(self, arrivals: Sequence[Arrival]) -> None:
        """Commit one batch, then acknowledge it: to the broker at once, to the stations at most every `ACK_EVERY_S`."""
        if self._store(arrivals):
            self._acknowledge()

    def _store(self, arrivals: Sequence[Arrival]) -> bool:
        """Commit one batch and settle it with the broker; return whether it was, False when the loop was stopped before."""
        batch = sort_arrivals(arrivals, self._now())
        batch.dead = self._news(batch.dead)
        try:
            outcome = self._commit_patiently(batch)
        except Exception as error:  # noqa: BLE001 - whatever a message does to the database, the loop must go on
            if len(arrivals) > 1:
                # Halves, in order: one bad message among a thousand costs twenty commits, not a thousand.
                middle = len(arrivals) // 2
                return self._store(arrivals[:middle]) and self._store(arrivals[middle:])
            _log.exception("a message on %s cannot be stored", arrivals[0].topic)
            reason = f"it cannot be stored: {type(error).__name__}: {error}"
            batch = Batch(dead=[(arrivals[0].topic, reason[:500], arrivals[0].payload)], refused=batch.keys())
            outcome = self._commit_patiently(batch)
        if outcome is None:
            return False
        lost = self._conflict_letters(batch, outcome.conflicts)
        # Before anybody is told: a station that renumbers its rows must leave a trace of why.
        if lost and self._commit_patiently(Batch(dead=lost)) is None:
            return False
        for arrival in arrivals:
            arrival.done()
        self._acks.add(batch.keys(), outcome.conflicts, outcome.renew)
        self._count(batch, outcome, lost)
        return True

    def _count(self, batch: Batch, outcome: Outcome, lost: list[tuple[str, str, bytes]]) -> None:
        conflicts = len(outcome.conflicts)
        self.counts.committed += outcome.new
        self.counts.conflicts += conflicts
        self.counts.duplicates += max(len(batch.summaries) - outcome.new - conflicts, 0)
        for letter in (*batch.dead, *lost):
            self.counts.dead += 1
            _log.warning("dead letter on %s: %s", letter[0], letter[1])
            self._told_dead[hash(letter)] = None
        while len(self._told_dead) > _DEAD_REMEMBERED:
            del self._told_dead[next(iter(self._told_dead))]

    def _conflict_letters(self, batch: Batch, conflicts: Sequence[Named]) -> list[tuple[str, str, bytes]]:
        if not conflicts:
            return []
        refused = set(conflicts)
        return self._news(
            [
                (topic(summary.header.station, Channel.SUMMARY), _CLONED, payload)
                for summary, payload in batch.summaries
                if named(summary, payload) in refused
            ]
        )

    def _news(self, letters: list[tuple[str, str, bytes]]) -> list[tuple[str, str, bytes]]:
        return [letter for letter in dict.fromkeys(letters) if hash(letter) not in self._told_dead]

    def _acknowledge(self) -> None:
        """Send the acks that wait, unless there was an ack just now and more is to come."""
        if not self._acks:
            return
        now = self._now()
        if 0.0 <= now - self._acked_at < ACK_EVERY_S and not self._arrivals.empty():
            return
        self._send_acks(now)

    def _send_acks(self, now: float) -> None:
        self._acked_at = now
        for ack in self._acks.take(self.credit()):
            self.counts.acks += 1
            self._link.publish(topic(ack.station, Channel.ACK), encode_control(ack), qos=0, retain=False)

    def _commit_patiently(self, batch: Batch) -> Outcome | None:
        """Return what the batch changed, None when the loop was stopped before it could be stored."""
        began = self._now()
        while True:
            try:
                outcome = self._commit(batch, self._now())
            except TransientError as error:
                # Nothing is lost by waiting: the stations keep what is not acknowledged.
                _log.error("cannot store summaries: %s", error.one_line())
                if self._stopping:
                    return None
                self._sleep(1.0)
                continue
            took = max(self._now() - began, 0.0)
            if self._traced is not None:
                self._traced(batch, began, began + took)
            self.counts.batches += 1
            self.counts.commit_s += took
            self._average_s = smooth(self._average_s, took)
            return outcome

    def _gather(self) -> list[Arrival]:
        # Acks that wait for company must not wait for an arrival that may not come.
        arrivals = take_arrivals(self._arrivals, self._batch_size, ACK_EVERY_S if self._acks else 0.5)
        if not arrivals:
            return []
        ends = self._now() + self._batch_window_s
        while len(arrivals) < self._batch_size and (left := ends - self._now()) > 0:
            more = take_arrivals(self._arrivals, self._batch_size - len(arrivals), min(left, BATCH_PAUSE_S))
            if not more:
                break
            arrivals += more
        return arrivals

    def _tell(self) -> None:
        now = self._now()
        if 0.0 <= now - self._told_at < TELL_EVERY_S:
            return
        self._told_at, before, self._told = now, self._told, IngestCounts(**asdict(self.counts))
        batches = self._told.batches - before.batches
        if batches:
            _log.info(
                "ingest: %d committed, %d duplicates, %d conflicts, %d dead, queue %d, %.1f ms a commit, credit %d",
                self._told.committed - before.committed,
                self._told.duplicates - before.duplicates,
                self._told.conflicts - before.conflicts,
                self._told.dead - before.dead,
                self._arrivals.qsize(),
                (self._told.commit_s - before.commit_s) / batches * 1e3,
                self.credit(),
            )
