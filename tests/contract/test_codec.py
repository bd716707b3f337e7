from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.codec import decode_control, decode_summary, decode_summary_key, encode_control, encode_summary
from contract.errors import BadMessage
from contract.messages import (
    Ack,
    AggregatorState,
    Command,
    CommandResult,
    DesiredState,
    Order,
    ReportedState,
    StationState,
    Summary,
)
from tests.golden.any_message import any_of
from tests.golden.examples import examples

CONTROL: tuple[type[msgspec.Struct], ...] = (
    Ack,
    AggregatorState,
    Command,
    CommandResult,
    DesiredState,
    Order,
    ReportedState,
    StationState,
)
SUMMARY = encode_summary(examples()["summary"].message)  # type: ignore[arg-type]
STATE = b'{"online":true,"at":1}'


def version_1(message: Any) -> Any:
    if hasattr(message, "header"):
        return msgspec.structs.replace(message, header=version_1(message.header))
    return msgspec.structs.replace(message, v=1)


@pytest.mark.slow
@given(any_of(Summary).map(version_1))
def test_a_decoded_summary_is_the_one_encoded(summary: Summary) -> None:
    assert decode_summary(encode_summary(summary)) == summary


@given(any_of(Summary).map(version_1), st.sampled_from(["accounting", "window", "samples", "note"]))
def test_which_summary_it_is_can_be_told_though_the_rest_is_unreadable(summary: Summary, broken: str) -> None:
    fields = msgspec.msgpack.decode(encode_summary(summary))
    fields[broken] = 1.5
    fields["header"]["started_at"] = -1.0
    payload = msgspec.msgpack.encode(fields)
    with pytest.raises(BadMessage):
        decode_summary(payload)
    key = decode_summary_key(payload)
    assert key is not None
    assert (key.station, key.boot, key.seq) == (summary.header.station, summary.header.boot, summary.header.seq)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_have_no_key_and_are_no_error(payload: bytes) -> None:
    assert decode_summary_key(payload) is None


@pytest.mark.parametrize("kind", CONTROL)
@given(data=st.data())
def test_a_decoded_control_message_is_the_one_encoded(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    message = version_1(data.draw(any_of(kind)))
    assert decode_control(encode_control(message), kind) == message


def decodes_or_is_bad(payload: bytes, kind: type[msgspec.Struct]) -> None:
    try:
        if kind is Summary:
            decoded: Any = decode_summary(payload)
            assert decode_summary(encode_summary(decoded)) == decoded
        else:
            decoded = decode_control(payload, kind)
            assert decode_control(encode_control(decoded), kind) == decoded
    except BadMessage as error:
        assert error.one_line()


@given(st.binary(max_size=400), st.sampled_from((*CONTROL, Summary)))
def test_arbitrary_bytes_are_a_bad_message_at_worst(payload: bytes, kind: type[msgspec.Struct]) -> None:
    decodes_or_is_bad(payload, kind)


@given(st.data())
def test_damaged_messages_are_a_bad_message_at_worst(data: st.DataObject) -> None:
    example = data.draw(st.sampled_from([each for name, each in examples().items() if name != "manifest"]))
    payload = bytearray(example.encode(example.message))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(payload)))
        stop = data.draw(st.integers(start, min(len(payload), start + 9)))
        payload[start:stop] = data.draw(st.binary(max_size=9))
    decodes_or_is_bad(bytes(payload), type(example.message))


@given(st.integers(0, len(SUMMARY) - 1))
def test_a_torn_summary_is_a_bad_message(kept: int) -> None:
    with pytest.raises(BadMessage):
        decode_summary(SUMMARY[:kept])


@pytest.mark.parametrize("more", [b"\0", SUMMARY], ids=["a byte", "itself"])
def test_a_summary_with_something_after_it_is_a_bad_message(more: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_summary(SUMMARY + more)


@pytest.mark.parametrize("brackets", [b"[", b'{"x":'])
def test_nesting_without_end_is_a_bad_message_even_where_nobody_reads(brackets: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_control(STATE[:-1] + b',"later":' + brackets * 50_000, AggregatorState)
    with pytest.raises(BadMessage):
        decode_control(b'{"id":"a","arguments":{"x":' + b"[" * 50_000, Command)


def test_nesting_without_end_in_a_summary_is_a_bad_message() -> None:
    with pytest.raises(BadMessage):
        decode_summary(b"\x81\xa5later" + b"\x91" * 50_000 + b"\xc0")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        STATE + b"x",
        STATE.replace(b"true", b"1"),
        STATE.replace(b"1}", b"NaN}"),
        STATE.replace(b"1}", b"1e999}"),
        STATE.replace(b"1}", b"-1}"),
        STATE.replace(b"1}", b"1e300}"),
        STATE.replace(b"1}", b'"1"}'),
        STATE.replace(b"1}", b'1,"v":true}'),
        STATE.replace(b"1}", b'1,"v":1.0}'),
        STATE.replace(b"1}", b'1,"x":"\xff"}') + b"\xff",
    ],
)
def test_json_that_is_nearly_a_message_is_a_bad_message(payload: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_control(payload, AggregatorState)


def test_of_a_repeated_key_the_last_counts() -> None:
    # JSON leaves it open; both sides use this decoder, so both read the same.
    assert decode_control(b'{"online":true,"online":false,"at":1}', AggregatorState) == AggregatorState(False, 1.0)


@pytest.mark.parametrize("hostile", [float("nan"), float("inf"), -1.0, 1e300], ids=str)
@pytest.mark.parametrize("field", ["started_at", "ended_at", "monotonic_s"])
def test_times_no_database_could_hold_are_a_bad_message(field: str, hostile: float) -> None:
    plain = msgspec.msgpack.decode(SUMMARY)
    plain["header"][field] = hostile
    with pytest.raises(BadMessage, match=field):
        decode_summary(msgspec.msgpack.encode(plain))


@pytest.mark.parametrize("hostile", [-1, (1 << 40) + 1, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize("place", [("header", "seq"), ("accounting", "captured"), ("accounting", "dropped", "queue")])
def test_counts_no_station_could_reach_are_a_bad_message(place: tuple[str, ...], hostile: int) -> None:
    plain = msgspec.msgpack.decode(SUMMARY)
    inner = plain
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = hostile
    with pytest.raises(BadMessage, match=place[1]):
        decode_summary(msgspec.msgpack.encode(plain))


@pytest.mark.parametrize("number", [b"-1", b"9" * 30, b"9" * 5000, b"1.0"])
def test_integers_past_63_bits_in_json_are_a_bad_message(number: bytes) -> None:
    ack = b'{"station":"s","boot":"b","ranges":[[1,%s]],"credit":1}'
    assert decode_control(ack % b"2", Ack).ranges == ((1, 2),)
    with pytest.raises(BadMessage):
        decode_control(ack % number, Ack)
    with pytest.raises(BadMessage):
        decode_control(b'{"station":"s","boot":"b","ranges":[],"credit":%s}' % number, Ack)


@pytest.mark.parametrize("name", ["Left", "a/b", "a_b", "a" * 33, "left\n", "\n", "ä", None, 1])
def test_a_camera_that_no_station_can_have_is_a_bad_message(name: object) -> None:
    plain = msgspec.msgpack.decode(SUMMARY)
    plain["header"]["camera"] = name
    with pytest.raises(BadMessage, match="camera"):
        decode_summary(msgspec.msgpack.encode(plain))


def test_a_summary_of_a_station_that_knows_no_cameras_is_the_first_cameras() -> None:
    plain = msgspec.msgpack.decode(SUMMARY)
    del plain["header"]["camera"]
    decoded = decode_summary(msgspec.msgpack.encode(plain))
    assert decoded.header.camera == ""
    assert decoded == msgspec.structs.replace(
        decode_summary(SUMMARY), header=msgspec.structs.replace(decode_summary(SUMMARY).header, camera="")
    )


@pytest.mark.parametrize("share", [-0.001, 1.001, float("nan")])
def test_a_share_outside_0_to_1_is_a_bad_message(share: float) -> None:
    for field in ("confidence", "inclusion"):
        plain = msgspec.msgpack.decode(SUMMARY)
        plain["samples"][0][field] = share
        with pytest.raises(BadMessage, match=field):
            decode_summary(msgspec.msgpack.encode(plain))


def test_the_reason_names_the_place_and_never_the_whole_payload() -> None:
    with pytest.raises(BadMessage, match=r"\$\.at") as caught:
        decode_control(b'{"online":true,"at":"' + b"x" * 10_000 + b'"}', AggregatorState)
    assert len(caught.value.one_line()) < 200


def test_a_summary_is_small_and_a_full_one_stays_below_11_kilobytes() -> None:
    assert len(SUMMARY) < 11_000
