"""Whatever a sender does: a dead letter, counted; never a crash, never a lost neighbour."""

from __future__ import annotations

import struct
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.ingest_sort import MAX_PAYLOAD_BYTES, sort_arrivals
from cloud.ports.link import Arrival
from contract.codec import encode_control, encode_summary
from contract.messages import Header, StationState, Summary
from contract.sketches.window import SketchIdentity, empty_window
from contract.sketches.wire import to_wire
from contract.topics import Channel, topic
from tests.cloud.test_ingest_loop import Desk
from tests.fakes.cloud_tables import T0, Tables, summary

TOPIC = topic("s1", Channel.SUMMARY)
TEN_YEARS_S = 10 * 365.25 * 86_400


@pytest.fixture
def desk(tables: Tables) -> Desk:
    tables.add_online("s1", "s2")
    return Desk(tables)


def header(message: Summary, **fields: object) -> Summary:
    return msgspec.structs.replace(message, header=msgspec.structs.replace(message.header, **fields))


def bomb(depth: int) -> bytes:
    """A summary with a field nobody reads, nested `depth` deep."""
    fields = msgspec.msgpack.decode(encode_summary(summary("s1", 7)))
    packed = msgspec.msgpack.encode(fields)
    assert packed[0] & 0xF0 == 0x80 and packed[0] < 0x8F, "a map of fewer than 15"
    return bytes((packed[0] + 1,)) + packed[1:] + b"\xa4deep" + b"\x91" * depth + b"\xc0"


def declares(prefix: bytes, size: int) -> bytes:
    """A msgpack value that says it has `size` elements, and has none."""
    return prefix + struct.pack(">I", size)


WHOLE = encode_summary(msgspec.structs.replace(summary("s1", 7), note="x" * 500))
# name -> payload; none of them says which summary it is, or each says so (True): then it is acknowledged as refused.
BAD: dict[str, tuple[bytes, bool]] = {
    "nothing": (b"", False),
    "half of a summary": (WHOLE[: len(WHOLE) // 2], False),
    "a byte short": (WHOLE[:-1], False),
    "a byte long": (WHOLE + b"\x00", False),
    "an array that says it is 4 billion long": (declares(b"\xdd", 2**32 - 1), False),
    "a map that says it is 4 billion long": (declares(b"\xdf", 2**32 - 1), False),
    "a text that says it is 4 billion long": (declares(b"\xdb", 2**32 - 1), False),
    "bytes that say they are 4 billion long": (declares(b"\xc6", 2**32 - 1), False),
    "an extension that says it is 4 billion long": (declares(b"\xc9", 2**32 - 1) + b"\x01", False),
    "nested a hundred thousand deep": (b"\x91" * 100_000, False),
    "a field nested a hundred thousand deep": (bomb(100_000), False),
    "larger than anything a station sends": (
        encode_summary(msgspec.structs.replace(summary("s1", 7), note="x" * MAX_PAYLOAD_BYTES)),
        True,
    ),
    "of another version": (encode_summary(header(summary("s1", 7), v=2)), False),
    "of version 0": (encode_summary(header(summary("s1", 7), v=0)), False),
    "from centuries ahead, by a synced clock": (encode_summary(header(summary("s1", 7), ended_at=2e11)), True),
    "begun centuries ahead": (encode_summary(header(summary("s1", 7), started_at=2e11)), True),
    "from eleven years ahead": (encode_summary(header(summary("s1", 7), ended_at=T0 + TEN_YEARS_S * 1.1)), True),
    "from 1970, by a synced clock": (encode_summary(header(summary("s1", 7), started_at=5.0, ended_at=65.0)), True),
    "for another station": (encode_summary(summary("s2", 7)), False),
}


@pytest.mark.parametrize("name", BAD)
def test_it_is_a_dead_letter_and_its_neighbours_are_stored(desk: Desk, name: str) -> None:
    payload, says_which = BAD[name]
    desk.loop.ingest([desk.sum(summary("s1", 1)), desk.arrival(TOPIC, payload), desk.sum(summary("s1", 2))])
    assert len(desk.dead()) == desk.loop.dead == 1 and len(desk.done) == 3
    assert desk.tables.summaries.totals()[0].summaries == 2
    ranges = [a.ranges for a in desk.link.acks()]
    assert ranges == [((1, 2), (7, 7)) if says_which else ((1, 2),)]


@pytest.mark.parametrize("station", ["", "S1", "s1/..", "../s1", "+", "#", "s" * 64, "s1\0", "s1 ", "ß"])
def test_a_topic_of_a_station_that_cannot_be_is_dead(desk: Desk, station: str) -> None:
    desk.loop.ingest([desk.arrival(f"pl/v1/d/{station}/up/sum", WHOLE), desk.sum(summary("s1", 1))])
    assert len(desk.dead()) == 1 and desk.tables.summaries.totals()[0].summaries == 1


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[" * 100_000, b'{"a":' * 50_000, b'"' + b"x" * MAX_PAYLOAD_BYTES + b'"', b"\xff\xfe", b"1e999"],
    ids=["nothing", "half", "nested", "nested maps", "giant", "no UTF-8", "infinite"],
)
@pytest.mark.parametrize("channel", [Channel.STATE, Channel.REPORTED, Channel.RESULT])
def test_control_messages_too(desk: Desk, channel: Channel, payload: bytes) -> None:
    desk.loop.ingest([desk.arrival(topic("s1", channel), payload), desk.sum(summary("s1", 1))])
    assert len(desk.dead()) == 1 and desk.tables.summaries.totals()[0].summaries == 1


def test_a_sequence_that_runs_backwards_is_only_late(desk: Desk) -> None:
    for seq in (9, 5, 7, 1):
        desk.loop.ingest([desk.sum(summary("s1", seq))])
    assert desk.dead() == [] and desk.tables.summaries.totals()[0].summaries == 4


@pytest.mark.parametrize("seq", [-1, 2**41, 2**64 - 1])
def test_a_sequence_that_nobody_counts_to_is_dead(desk: Desk, seq: int) -> None:
    fields = msgspec.msgpack.decode(encode_summary(summary("s1", 1)))
    fields["header"]["seq"] = seq
    desk.loop.ingest([desk.arrival(TOPIC, msgspec.msgpack.encode(fields)), desk.sum(summary("s1", 1))])
    assert len(desk.dead()) == 1 and [a.ranges for a in desk.link.acks()] == [((1, 1),)]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"started_at": 0.0, "ended_at": 60.0, "clock_synced": False}, "a clock that was never set says so"),
        ({"started_at": 2e11, "ended_at": 2e11, "clock_synced": False}, "the same, ahead"),
        ({"ended_at": T0 + TEN_YEARS_S * 0.9}, "nine years ahead are a wrong zone or a test"),
        ({"started_at": 1_577_836_800.0, "ended_at": T0}, "from 2020 on"),
    ],
)
def test_times_that_are_only_odd_are_accepted(desk: Desk, fields: dict[str, object], why: str) -> None:
    desk.loop.ingest([desk.sum(header(summary("s1", 1), **fields))])
    assert desk.dead() == [] and desk.loop.committed == 1, why


def test_a_cloud_whose_own_clock_is_at_1970_refuses_nobody_for_being_ahead(desk: Desk) -> None:
    desk.clock.wall = 100.0
    desk.loop.ingest([desk.sum(summary("s1", 1))])
    assert desk.dead() == [] and desk.loop.committed == 1


@pytest.mark.parametrize("count", [1, 8], ids=["alone", "among others"])
def test_a_window_that_says_something_impossible_is_dead_and_acknowledged(desk: Desk, count: int) -> None:
    window = to_wire(empty_window(SketchIdentity(2, 7, "r" * 64, "a" * 64, 4)))
    lying = msgspec.structs.replace(window, frames=5)
    sent = [msgspec.structs.replace(summary("s1", seq), window=window) for seq in range(1, count)]
    sent.append(msgspec.structs.replace(summary("s1", count), window=lying))
    desk.loop.ingest([desk.sum(each) for each in sent])
    assert len(desk.dead()) == 1 and "histogram" in desk.dead()[0][0] and desk.loop.committed == count - 1
    assert [a.ranges for a in desk.link.acks()] == [((1, count),)]


def _cut(payload: bytes, at: int) -> bytes:
    return payload[: at % (len(payload) + 1)]


def _flip(payload: bytes, at: int) -> bytes:
    place = at // 8 % len(payload)
    return payload[:place] + bytes((payload[place] ^ 1 << at % 8,)) + payload[place + 1 :]


def _repeat(payload: bytes, at: int) -> bytes:
    return payload * (at % 3)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    how=st.sampled_from((_cut, _flip, _repeat)),
    at=st.integers(0, 1 << 16),
    whole=st.sampled_from(
        [
            (TOPIC, WHOLE),
            (topic("s1", Channel.STATE), encode_control(StationState("s1", "b1", True, T0))),
        ]
    ),
    noise=st.binary(max_size=200),
)
def test_damage_of_any_kind_is_sorted_and_never_raises(
    how: Callable[[bytes, int], bytes], at: int, whole: tuple[str, bytes], noise: bytes
) -> None:
    name, payload = whole
    good = Arrival(TOPIC, encode_summary(summary("s1", 1)), lambda: None)
    damaged = Arrival(name, how(payload, at), lambda: None)
    batch = sort_arrivals([good, damaged, Arrival(name, noise, lambda: None), good], T0)
    told = len(batch.summaries) + len(batch.states) + len(batch.dead)
    assert told == 4 and len(batch.summaries) >= 2
    assert batch.summaries[0][1] == batch.summaries[-1][1] == good.payload
    for said, _ in batch.summaries:
        assert isinstance(said.header, Header) and said.header.station == "s1"
