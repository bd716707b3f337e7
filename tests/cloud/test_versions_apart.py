"""A cloud a version behind its stations, or a version ahead: what it can read it stores as it came, the rest it keeps for later."""

from __future__ import annotations

import msgspec
import pytest

from cloud.dead_replay import ReplayEnd, replay
from cloud.ports.batch import Batch, Commit, Outcome
from cloud.ports.records import Cursor
from contract.codec import decode_summary, encode_summary
from contract.topics import Channel, topic
from tests.cloud.test_ingest_loop import Desk
from tests.fakes.cloud_tables import Tables, summary
from tests.golden.examples import STATION, examples
from tests.golden.write import path_of, read

CHANNELS = {
    "summary": Channel.SUMMARY,
    "station_state": Channel.STATE,
    "reported_state": Channel.REPORTED,
    "command_result": Channel.RESULT,
}


@pytest.fixture
def desk(tables: Tables) -> Desk:
    tables.add_online(STATION, "s1")
    return Desk(tables)


@pytest.mark.parametrize("writer", ["newer", "older"])
@pytest.mark.parametrize("name", CHANNELS)
def test_a_message_of_a_neighbouring_version_is_taken(desk: Desk, name: str, writer: str) -> None:
    payload = read(path_of(name, examples()[name], writer))
    desk.loop.ingest([desk.arrival(topic(STATION, CHANNELS[name]), payload)])
    assert desk.dead() == [] and len(desk.done) == 1
    if name == "summary":
        (_, stored), *more = desk.tables.summaries.after(Cursor(), 10)
        assert stored == payload and not more, "as it was sent, fields of tomorrow included"
        assert [a.ranges for a in desk.link.acks()] == [((17, 17),)]
        assert decode_summary(stored).header.seq == 17


def test_version_2_is_dead_once_and_not_acknowledged_and_stored_after_the_upgrade(desk: Desk) -> None:
    old = summary("s1", 4)
    newer = encode_summary(msgspec.structs.replace(old, header=msgspec.structs.replace(old.header, v=2)))
    name = topic("s1", Channel.SUMMARY)
    for _ in range(3):
        desk.loop.ingest([desk.arrival(name, newer)])
    assert [payload for _, payload in desk.dead()] == [newer] and desk.link.acks() == [] and len(desk.done) == 3
    still = replay(name, newer, desk.commit, desk.clock.now())
    assert still.end is ReplayEnd.DEAD and "update this side first" in still.why

    # The upgrade: this side reads what the letter says.
    understood = encode_summary(old)
    commit: Commit = desk.commit
    assert replay(name, understood, commit, desk.clock.now()).end is ReplayEnd.STORED
    assert replay(name, understood, commit, desk.clock.now()).end is ReplayEnd.DUPLICATE
    assert desk.tables.summaries.totals()[0].summaries == 1


def test_a_replay_says_why_it_did_not_help(desk: Desk) -> None:
    now, name = desk.clock.now(), topic("s1", Channel.SUMMARY)
    whole = encode_summary(msgspec.structs.replace(summary("s1", 1), note="x" * 9000))
    cut = replay(name, whole[:4096], desk.commit, now)
    assert (cut.end, cut.why) == (ReplayEnd.DEAD, "it was cut when it was stored")
    birth = read(path_of("station_state", examples()["station_state"]))
    state = replay(topic(STATION, Channel.STATE), birth, desk.commit, now)
    assert state.end is ReplayEnd.DEAD and "newer ones have come" in state.why

    def breaks(batch: Batch, at: float) -> Outcome:
        raise OverflowError("too large")

    broken = replay(name, encode_summary(summary("s1", 1)), breaks, now)
    assert broken.end is ReplayEnd.DEAD and "OverflowError: too large" in broken.why

    def clashes(batch: Batch, at: float) -> Outcome:
        return Outcome(conflicts=tuple(batch.keys()))

    clash = replay(name, encode_summary(summary("s1", 1)), clashes, now)
    assert clash.end is ReplayEnd.CONFLICT and not clash.end.settled
