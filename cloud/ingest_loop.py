"""Messages from stations into the database: commit first, acknowledge after (P1)."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterable, Sequence

from cloud.ports.batch import Batch, Commit, Outcome
from cloud.ports.link import Arrival, Link
from contract.codec import SummaryKey, decode_control, decode_summary, decode_summary_key, encode_control
from contract.errors import BadMessage, TransientError
from contract.messages import Ack, CommandResult, ReportedState, StationState, Summary
from contract.sketches.wire import from_wire
from contract.topics import Channel, parse_topic, topic

_log = logging.getLogger(__name__)

BATCH_SIZE = 200
BATCH_WINDOW_S = 0.1
# How many summaries a station may send before the next ack; issue 6 lets load decide.
CREDIT = 100
# What nobody can acknowledge comes again every few seconds, for ever: it is told and stored once, not each time (P5).
_DEAD_REMEMBERED = 1000


def sort_arrivals(arrivals: Sequence[Arrival]) -> Batch:
    """Return what the arrivals say. What is no message of ours, or speaks for another station, is dead, with the reason."""
    batch = Batch()
    for arrival in arrivals:
        try:
            _sort_one(arrival, batch)
        except BadMessage as error:
            batch.dead.append((arrival.topic, error.one_line(), arrival.payload))
    return batch


def acks_for(keys: Iterable[SummaryKey], credit: int) -> list[Ack]:
    """Return one ack a (station, boot), its sequences as ranges."""
    seqs: dict[tuple[str, str], set[int]] = {}
    for key in keys:
        seqs.setdefault((key.station, key.boot), set()).add(key.seq)
    return [Ack(station, boot, _ranges(sorted(found)), credit) for (station, boot), found in seqs.items()]


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
    ) -> None:
        self._arrivals, self._link, self._commit = arrivals, link, commit
        self._now, self._sleep = now, sleep
        self._stopping = False
        self.committed = 0
        self.duplicates = 0
        self.dead = 0
        self._told_dead: dict[int, None] = {}

    def run(self) -> None:
        """Ingest until stopped."""
        while not self._stopping:
            arrivals = self._gather()
            if arrivals:
                self.ingest(arrivals)

    def stop(self) -> None:
        """Finish the batch at hand and return from `run`."""
        self._stopping = True

    def ingest(self, arrivals: Sequence[Arrival]) -> None:
        """Commit one batch, then acknowledge it."""
        batch = sort_arrivals(arrivals)
        batch.dead = [letter for letter in batch.dead if hash(letter) not in self._told_dead]
        try:
            outcome = self._commit_patiently(batch)
        except Exception as error:  # noqa: BLE001 - whatever a message does to the database, the loop must go on
            if len(arrivals) > 1:
                for arrival in arrivals:
                    self.ingest([arrival])
                return
            _log.exception("a message on %s cannot be stored", arrivals[0].topic)
            reason = f"it cannot be stored: {type(error).__name__}: {error}"
            batch = Batch(
                dead=[(arrivals[0].topic, reason[:500], arrivals[0].payload)],
                refused=batch.keys(),
            )
            outcome = self._commit_patiently(batch)
        if outcome is None:
            return
        for arrival in arrivals:
            arrival.done()
        for ack in acks_for(batch.keys(), CREDIT):
            self._link.publish(topic(ack.station, Channel.ACK), encode_control(ack), qos=0, retain=False)
        self.committed += outcome.new
        self.duplicates += len(batch.summaries) - outcome.new
        self.dead += len(batch.dead)
        for letter in batch.dead:
            _log.warning("dead letter on %s: %s", letter[0], letter[1])
            self._told_dead[hash(letter)] = None
        while len(self._told_dead) > _DEAD_REMEMBERED:
            del self._told_dead[next(iter(self._told_dead))]

    def _commit_patiently(self, batch: Batch) -> Outcome | None:
        """Return what the batch changed, None when the loop was stopped before they could be stored."""
        while True:
            try:
                return self._commit(batch, self._now())
            except TransientError as error:
                # Nothing is lost by waiting: the stations keep what is not acknowledged.
                _log.error("cannot store summaries: %s", error.one_line())
                if self._stopping:
                    return None
                self._sleep(1.0)

    def _gather(self) -> list[Arrival]:
        try:
            arrivals = [self._arrivals.get(timeout=0.5)]
        except queue.Empty:
            return []
        ends = self._now() + BATCH_WINDOW_S
        while len(arrivals) < BATCH_SIZE and (left := ends - self._now()) > 0:
            try:
                arrivals.append(self._arrivals.get(timeout=left))
            except queue.Empty:
                break
        return arrivals


def _sort_one(arrival: Arrival, batch: Batch) -> None:
    station, channel = parse_topic(arrival.topic)
    said_by: str
    if channel is Channel.SUMMARY:
        try:
            summary = decode_summary(arrival.payload)
            said_by = summary.header.station
            if said_by == station:
                _check_summary(summary)
                batch.summaries.append((summary, arrival.payload))
        except BadMessage:
            if (key := decode_summary_key(arrival.payload)) is not None and key.station == station:
                batch.refused.append(key)
            raise
    elif channel is Channel.STATE:
        state = decode_control(arrival.payload, StationState)
        said_by = state.station
        if said_by == station:
            batch.states.append(state)
    elif channel is Channel.REPORTED:
        report = decode_control(arrival.payload, ReportedState)
        said_by = report.station
        if said_by == station:
            batch.reports.append(report)
    elif channel is Channel.RESULT:
        result = decode_control(arrival.payload, CommandResult)
        said_by = result.station
        if said_by == station:
            batch.results.append(result)
    else:
        raise BadMessage(f"'{channel.value}' is for stations, not for the cloud")
    if said_by != station:
        raise BadMessage(f"a message on '{station}'s topic says it is from '{said_by[:63]}'")


def _check_summary(summary: Summary) -> None:
    """Raise BadMessage for a summary that later steps could not rely on: they must never stumble over what is stored."""
    if not summary.accounting.closes():
        raise BadMessage(f"summary {summary.header.seq} of '{summary.header.station}' does not account for every frame")
    if summary.window is not None:
        from_wire(summary.window)


def _ranges(seqs: Sequence[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for seq in seqs:
        if ranges and seq == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    return tuple(ranges)
