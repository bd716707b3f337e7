"""Messages into the database: commit first, acknowledge after (P1)."""

from __future__ import annotations

import queue
import tempfile
import threading
import time
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.ingest_loop import IngestLoop
from cloud.ports.batch import Batch, Commit, Outcome, named
from cloud.ports.link import Arrival
from contract.codec import encode_control, encode_summary
from contract.errors import StorageFull, TransientError
from contract.messages import Accounting, Command, CommandResult, ReportedState, StationState, Summary
from contract.topics import Channel, topic
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_tables import T0, Tables, commit_batch, open_tables, summary
from tests.fakes.link import RecordingLink


class Desk:
    """An ingest loop, what arrives at it, and what it says in return."""

    def __init__(self, tables: Tables) -> None:
        self.tables, self.link, self.clock = tables, RecordingLink(), HandClock()
        self.queue: queue.Queue[Arrival] = queue.Queue()
        self.done: list[str] = []
        self.commit: Commit = lambda batch, now: commit_batch(tables, batch, now)
        self.loop = IngestLoop(self.queue, self.link, lambda b, n: self.commit(b, n), self.clock.now, self.clock.sleep)

    def arrival(self, name: str, payload: bytes) -> Arrival:
        return Arrival(name, payload, lambda: self.done.append(name))

    def sum(self, message: Summary, station: str = "") -> Arrival:
        return self.arrival(topic(station or message.header.station, Channel.SUMMARY), encode_summary(message))

    def say(
        self, channel: Channel, message: StationState | ReportedState | CommandResult | Command, at: str = "s1"
    ) -> Arrival:
        return self.arrival(topic(at, channel), encode_control(message))

    def dead(self) -> list[tuple[str, bytes]]:
        with self.tables.database.read() as connection:
            return [tuple(row) for row in connection.exec_driver_sql("SELECT reason, payload FROM dead_letters")]


@pytest.fixture
def desk(tables: Tables) -> Desk:
    tables.add_online("s1", "s2")
    return Desk(tables)


def test_one_ack_a_station_and_boot_with_its_sequences_as_ranges(desk: Desk) -> None:
    arriving = [summary("s1", seq) for seq in (5, 1, 2, 3, 5, 9)] + [summary("s2", 4), summary("s1", 1, boot="b2")]
    desk.loop.ingest([desk.sum(each) for each in arriving])
    assert [(a.station, a.boot, a.ranges) for a in desk.link.acks()] == [
        ("s1", "b1", ((1, 3), (5, 5), (9, 9))), ("s2", "b1", ((4, 4),)), ("s1", "b2", ((1, 1),)),
    ]  # fmt: skip
    assert all(a.credit > 0 for a in desk.link.acks()) and len(desk.done) == 8
    assert [(qos, retain) for _, _, qos, retain in desk.link.published] == [(0, False)] * 3
    assert (desk.loop.committed, desk.loop.duplicates) == (7, 1)


def test_a_duplicate_is_acknowledged_again_and_counted_once(desk: Desk) -> None:
    for _ in range(3):
        desk.loop.ingest([desk.sum(summary("s1", 1))])
    assert [a.ranges for a in desk.link.acks()] == [((1, 1),)] * 3
    assert desk.tables.summaries.totals()[0].summaries == 1


@pytest.mark.parametrize("error", [StorageFull("the disk is full"), TransientError("database is locked")])
def test_nothing_is_acknowledged_before_the_commit_and_a_commit_that_fails_is_tried_again(
    desk: Desk, error: TransientError
) -> None:
    commit, failures = desk.commit, 3

    def failing(batch: Batch, now: float) -> Outcome:
        nonlocal failures
        assert desk.done == [] and desk.link.published == []
        if failures:
            failures -= 1
            raise error
        return commit(batch, now)

    desk.commit = failing
    desk.loop.ingest([desk.sum(summary("s1", 1))])
    assert len(desk.done) == 1 and [a.ranges for a in desk.link.acks()] == [((1, 1),)]
    assert desk.clock.now() == HandClock().now() + 3.0


def test_a_loop_that_is_stopped_while_the_disk_is_full_acknowledges_nothing(desk: Desk) -> None:
    def full(batch: Batch, now: float) -> Outcome:
        desk.loop.stop()
        raise StorageFull("the disk is full")

    desk.commit = full
    desk.loop.ingest([desk.sum(summary("s1", 1))])
    assert desk.done == [] and desk.link.published == []


def test_a_message_that_breaks_the_commit_is_dead_and_the_others_are_stored(desk: Desk) -> None:
    commit = desk.commit

    def breaking(batch: Batch, now: float) -> Outcome:
        if any(s.header.seq == 2 for s, _ in batch.summaries):
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        return commit(batch, now)

    desk.commit = breaking
    desk.loop.ingest([desk.sum(summary("s1", seq)) for seq in (1, 2, 3)])
    assert desk.tables.summaries.totals()[0].summaries == 2 and len(desk.done) == 3
    assert [reason for reason, _ in desk.dead()] == [
        "it cannot be stored: OverflowError: Python int too large to convert to SQLite INTEGER"
    ]
    assert [a.ranges for a in desk.link.acks()] == [((1, 3),)], "one ack, however the batch was taken apart"


@pytest.mark.parametrize(
    "payload", [b"", b"\x00", b"\xff" * 100, b"{}", b"[]", msgspec.msgpack.encode({"header": {"station": "s1"}})]
)
def test_bytes_that_are_no_summary_become_a_dead_letter_and_the_broker_is_told_done(desk: Desk, payload: bytes) -> None:
    desk.loop.ingest([desk.arrival(topic("s1", Channel.SUMMARY), payload), desk.sum(summary("s1", 1))])
    assert [kept for _, kept in desk.dead()] == [payload] and len(desk.done) == 2
    assert desk.tables.summaries.totals()[0].summaries == 1 and desk.loop.dead == 1


def test_a_summary_that_does_not_account_for_every_frame_is_dead_but_acknowledged(desk: Desk) -> None:
    """Its sender and sequence are known: without an ack the station would send it for ever."""
    open_books = msgspec.structs.replace(summary("s1", 4), accounting=Accounting(captured=9, passed=1))
    desk.loop.ingest([desk.sum(open_books)])
    assert [a.ranges for a in desk.link.acks()] == [((4, 4),)]
    assert desk.tables.summaries.totals() == [] and "does not account for every frame" in desk.dead()[0][0]


def test_a_summary_of_a_camera_that_no_station_can_have_is_dead_but_acknowledged(desk: Desk) -> None:
    bad = summary("s1", 4, camera="../left")
    desk.loop.ingest([desk.sum(bad), desk.sum(summary("s1", 5, camera="left"))])
    assert [a.ranges for a in desk.link.acks()] == [((4, 5),)]
    assert "camera" in desk.dead()[0][0] and desk.tables.summaries.totals()[0].summaries == 1


def test_a_station_that_speaks_for_another_is_dead_and_not_acknowledged(desk: Desk) -> None:
    forged = [
        desk.sum(summary("s2", 1), station="s1"),
        desk.say(Channel.STATE, StationState("s2", "b1", False, T0)),
        desk.say(Channel.REPORTED, ReportedState("s2", "b1", T0, "f" * 64, "COMMITTED")),
        desk.say(Channel.RESULT, CommandResult("c1", "s2", True)),
    ]
    desk.loop.ingest(forged)
    assert len(desk.dead()) == 4 and len(desk.done) == 4 and desk.link.acks() == []
    assert all("topic says it is from 's2'" in reason for reason, _ in desk.dead())
    status = {s.station: s for s in desk.tables.stations.status()}
    assert status["s2"].online and status["s2"].bundle == "" and desk.tables.summaries.totals() == []


@pytest.mark.parametrize(
    "name", ["pl/v1/d/s1/up/nothing", "pl/v1/d/S1/up/sum", "pl/v2/d/s1/up/sum", "x", "", topic("s1", Channel.COMMAND)]
)
def test_a_topic_that_is_none_of_ours_is_dead(desk: Desk, name: str) -> None:
    desk.loop.ingest([desk.arrival(name, encode_summary(summary("s1", 1)))])
    assert len(desk.dead()) == 1 and len(desk.done) == 1


def test_a_newer_message_version_is_dead_and_says_which_side_to_update(desk: Desk) -> None:
    newer = summary("s1", 1)
    newer = msgspec.structs.replace(newer, header=msgspec.structs.replace(newer.header, v=2))
    desk.loop.ingest([desk.sum(newer)])
    assert "update this side first" in desk.dead()[0][0]
    assert desk.link.acks() == [], "the station keeps it until this side is updated"


def test_a_summary_that_cannot_be_read_but_says_which_it_is_is_dead_and_acknowledged(desk: Desk) -> None:
    """A count out of its bounds, say: whoever sends it would send it for ever."""
    fields = msgspec.msgpack.decode(encode_summary(summary("s1", 7)))
    fields["accounting"]["captured"] = -1
    unreadable = desk.arrival(topic("s1", Channel.SUMMARY), msgspec.msgpack.encode(fields))
    of_another = desk.arrival(topic("s2", Channel.SUMMARY), msgspec.msgpack.encode(fields))
    desk.loop.ingest([unreadable, of_another])
    assert [(a.station, a.ranges) for a in desk.link.acks()] == [("s1", ((7, 7),))]
    assert len(desk.dead()) == 2 and desk.tables.summaries.totals() == []


def test_what_cannot_be_acknowledged_and_comes_again_and_again_is_one_dead_letter(desk: Desk) -> None:
    for _ in range(5):
        desk.loop.ingest([desk.arrival(topic("s1", Channel.SUMMARY), b"rotten"), desk.arrival("x", b"rotten")])
    assert len(desk.dead()) == 2 and desk.loop.dead == 2 and len(desk.done) == 10
    # What is remembered is bounded.
    desk.loop.ingest([desk.arrival("x", b"%d" % number) for number in range(1200)])
    desk.loop.ingest([desk.arrival("x", b"rotten")])
    assert desk.loop.dead == 1203


def test_births_wills_and_reports_reach_the_status_and_a_stale_will_does_not(desk: Desk) -> None:
    desk.loop.ingest(
        [
            desk.say(Channel.STATE, StationState("s1", "new", True, T0, "0.2", simulated=True)),
            desk.say(Channel.STATE, StationState("s1", "b1", False, T0)),
            desk.say(Channel.REPORTED, ReportedState("s1", "new", T0, "e" * 64, "COMMITTED", "r1-s1")),
        ]
    )
    status = desk.tables.stations.status()[0]
    assert (status.online, status.boot, status.simulated, status.bundle) == (True, "new", True, "e" * 64)
    desk.loop.ingest([desk.say(Channel.STATE, StationState("s1", "new", False, T0))])
    assert not desk.tables.stations.status()[0].online


def test_the_thread_gathers_a_batch_and_stops_when_told(desk: Desk) -> None:
    for seq in range(1, 451):
        desk.queue.put(desk.sum(summary("s1", seq)))
    sizes: list[int] = []
    commit = desk.commit

    def measure(batch: Batch, now: float) -> Outcome:
        sizes.append(len(batch.summaries))
        if sum(sizes) == 450:
            loop.stop()
        return commit(batch, now)

    loop = IngestLoop(desk.queue, desk.link, measure, time.monotonic, time.sleep)
    thread = threading.Thread(target=loop.run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive() and len(desk.done) == sum(sizes) == 450
    assert max(sizes) <= 200 and len(sizes) < 45


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_arrival_order_repetition_and_crash_gives_the_same_totals(data: st.DataObject) -> None:
    sent = [summary(s, seq, passed=seq) for s in ("s1", "s2") for seq in range(1, 6)]
    waves = data.draw(st.lists(st.lists(st.sampled_from(sent), max_size=8), max_size=5))
    acknowledged: set[tuple[str, int]] = set()
    with tempfile.TemporaryDirectory() as folder:
        tables = open_tables(Path(folder) / "cloud.db")
        for wave in [*waves, data.draw(st.permutations(sent))]:
            # Each wave meets a loop that was just started, as after a crash.
            desk = Desk(tables)
            desk.loop.ingest([desk.sum(each) for each in wave] + [desk.arrival("nonsense", b"?")])
            for ack in desk.link.acks():
                acknowledged |= {(ack.station, s) for first, last in ack.ranges for s in range(first, last + 1)}
            stored = {(t.station, t.summaries) for t in tables.summaries.totals()}
            assert all(sum(a == station for a, _ in acknowledged) <= count for station, count in stored)
        totals = tables.summaries.totals()
        tables.database.close()
    assert [(t.summaries, t.passed, t.missing_seqs) for t in totals] == [(5, 15, 0)] * 2
    assert len(acknowledged) == 10


def test_a_conflict_is_told_as_one_and_kept_as_a_dead_letter_and_never_called_done(desk: Desk) -> None:
    stored, cloned = summary("s1", 1), summary("s1", 2, passed=99)
    told_before: list[int] = []

    def commit(batch: Batch, now: float) -> Outcome:
        told_before.append(len(desk.link.published) + len(desk.done))
        outcome = commit_batch(desk.tables, Batch(batch.summaries[:1], dead=batch.dead), now)
        clash = [named(cloned, encode_summary(cloned))] if batch.summaries else []
        return Outcome(outcome.new, conflicts=tuple(clash))

    desk.commit = commit
    desk.loop.ingest([desk.sum(stored), desk.sum(cloned)])
    assert [(a.ranges, a.conflicts) for a in desk.link.acks()] == [(((1, 1),), ((2, 2),))]
    assert [payload for _, payload in desk.dead()] == [encode_summary(cloned)]
    assert "another device counts under the same boot" in desk.dead()[0][0]
    assert told_before == [0, 0], "nobody is told before the letter is stored"
    counts = desk.loop.counts
    assert (counts.committed, counts.conflicts, counts.duplicates, counts.dead) == (1, 1, 0, 1)
    desk.loop.ingest([desk.sum(stored), desk.sum(cloned)])
    assert len(desk.dead()) == 1 and desk.link.acks()[1].conflicts == ((2, 2),), "told again, kept once"


def test_two_clones_in_one_batch_hear_each_of_its_own(desk: Desk) -> None:
    stored, clone = summary("s1", 1), summary("s1", 1, passed=99)
    desk.loop.ingest([desk.sum(stored), desk.sum(clone), desk.sum(clone)])
    crcs = [zlib.crc32(encode_summary(each)) for each in (stored, clone)]
    (ack,) = desk.link.acks()
    assert (ack.ranges, ack.conflicts, ack.contents) == (((1, 1),), ((1, 1),), tuple(crcs))
    assert [payload for _, payload in desk.dead()] == [encode_summary(clone)], "the stored one is no letter"


def test_a_restored_station_is_asked_for_a_new_boot_before_it_sends_a_row(desk: Desk) -> None:
    desk.commit = lambda batch, now: Outcome(renew=(("s1", "b1"),))
    desk.loop.ingest([desk.say(Channel.STATE, StationState("s1", "b1", True, T0, next_seq=3))])
    (ack,) = desk.link.acks()
    assert (ack.station, ack.boot, ack.ranges, ack.conflicts, ack.renew_boot) == ("s1", "b1", (), (), True)


def test_a_station_that_sends_without_pause_hears_of_many_batches_in_one_ack(desk: Desk) -> None:
    """Acks are bounded in rate: the clock stands still here, and more waits in the queue."""
    waits = desk.sum(summary("s1", 9))
    desk.loop.ingest([desk.sum(summary("s1", 1))])
    desk.queue.put(waits)
    for seq in range(2, 6):
        desk.loop.ingest([desk.sum(summary("s1", seq))])
    assert len(desk.link.acks()) == 1 and len(desk.done) == 5, "the broker is told at once"
    desk.queue.get()
    desk.loop.ingest([waits])
    assert [a.ranges for a in desk.link.acks()] == [((1, 1),), ((2, 5), (9, 9))]


def test_credit_falls_while_arrivals_pile_up_and_comes_back(desk: Desk) -> None:
    loop = IngestLoop(queue.Queue(10), desk.link, lambda b, n: Outcome(), desk.clock.now, desk.clock.sleep)
    assert loop.credit() == 100
    for seq in range(10):
        loop._arrivals.put(desk.sum(summary("s1", seq)))
    assert loop.credit() == 1
    for _ in range(10):
        loop._arrivals.get()
    assert loop.credit() == 100

    def slow(batch: Batch, now: float) -> Outcome:
        desk.clock.forward(4.0)
        return Outcome(len(batch.summaries))

    desk.commit = slow
    for seq in range(1, 10):
        desk.loop.ingest([desk.sum(summary("s1", seq))])
    assert [a.credit for a in desk.link.acks()][-1] < 10
    desk.commit = lambda batch, now: Outcome(len(batch.summaries))
    for seq in range(10, 40):
        desk.loop.ingest([desk.sum(summary("s1", seq))])
    assert [a.credit for a in desk.link.acks()][-1] == 100


def test_each_minute_the_log_says_what_was_done_and_stopping_sends_the_acks_that_wait(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    batches = 0

    def commit(batch: Batch, now: float) -> Outcome:
        nonlocal batches
        batches += 1
        desk.clock.forward(0.01 if batches < 3 else 61.0)
        desk.queue.put(desk.arrival("x", b"%d" % batches))  # there is always more
        if batches == 3:
            desk.loop.stop()
        return Outcome(len(batch.summaries))

    desk.commit = commit
    desk.queue.put(desk.sum(summary("s1", 1)))
    desk.loop.run()
    assert "ingest: 1 committed, 0 duplicates, 0 conflicts, 2 dead, queue 1" in caplog.text
    assert [a.ranges for a in desk.link.acks()] == [((1, 1),)]


def test_one_bad_message_among_many_costs_few_commits(desk: Desk) -> None:
    commits = []

    def commit(batch: Batch, now: float) -> Outcome:
        commits.append(len(batch.summaries))
        if any(message.header.seq == 77 for message, _ in batch.summaries):
            raise ValueError("poison")
        return commit_batch(desk.tables, batch, now)

    desk.commit = commit
    desk.loop.ingest([desk.sum(summary("s1", seq)) for seq in range(1, 201)])
    assert len(commits) < 20 and desk.loop.counts.committed == 199 and len(desk.dead()) == 1 and len(desk.done) == 200
