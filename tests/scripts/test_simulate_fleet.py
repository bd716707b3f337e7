"""`./scripts/simulate_fleet`: a small fleet on a real broker, worker and database loses nothing when the broker is killed."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.codec import decode_summary, encode_summary
from contract.errors import BadMessage, InvalidConfig
from contract.messages import Header
from contract.sketches.wire import from_wire
from scripts.fleet.databases import Rows
from scripts.fleet.limits import raise_file_limit
from scripts.fleet.mqtt_codec import (
    Connack,
    Disconnect,
    Packet,
    Pingresp,
    Puback,
    Publish,
    Reader,
    Suback,
    encode_puback,
    encode_publish,
)
from scripts.fleet.payloads import make_templates
from scripts.fleet.plan import Outage, parse_outage, parse_seconds

ROOT = Path(__file__).parents[2]
_IDS = st.integers(1, 65_535)
_PUBLISHES = st.builds(
    lambda topic, payload, qos, packet_id, retain, dup: Publish(
        topic, payload, qos, packet_id if qos else 0, retain, dup
    ),
    st.text(max_size=40),
    st.binary(max_size=300),
    st.integers(0, 2),
    _IDS,
    st.booleans(),
    st.booleans(),
)
_PACKETS = st.one_of(_PUBLISHES, st.builds(Puback, _IDS, st.sampled_from((0, 0x10, 0x97))))


def _bytes_of(packet: Packet) -> bytes:
    return (
        encode_publish(packet)
        if isinstance(packet, Publish)
        else encode_puback(packet.packet_id, packet.reason)
        if isinstance(packet, Puback)
        else b""
    )


@given(packets=st.lists(_PACKETS, max_size=6), cuts=st.lists(st.integers(0, 2_000), max_size=12))
def test_packets_come_out_as_they_went_in_however_the_bytes_are_cut(packets: list[Packet], cuts: list[int]) -> None:
    stream = b"".join(_bytes_of(packet) for packet in packets)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader, found = Reader(), list[Packet]()
    for start, end in itertools.pairwise(edges):
        found.extend(reader.feed(stream[start:end]))
    assert found == packets


@given(pieces=st.lists(st.binary(max_size=60), max_size=5))
def test_bytes_of_anybody_are_packets_or_a_bad_message(pieces: list[bytes]) -> None:
    reader = Reader()
    try:
        for piece in pieces:
            for packet in reader.feed(piece):
                assert packet is not None
    except BadMessage:
        pass


@pytest.mark.parametrize(
    ("raw", "packet"),
    [
        # Session present, success; receive maximum 20, server keep alive 60, and an assigned client id to skip.
        ("2010 01 00 0d 21 0014 13 003c 12 0004 61626364", Connack(True, 0, 20, 60)),
        ("2003 00 87 00", Connack(False, 0x87)),
        ("9005 0001 00 01 87", Suback(1, (1, 0x87))),
        ("d000", Pingresp()),
        ("e001 8e", Disconnect(0x8E)),
        ("4003 0007 10", Puback(7, 0x10)),
        # A user property (a pair of texts) before the payload.
        ("300e 0001 61 07 26 0001 6b 0001 76 706c21", Publish("a", b"pl!")),
    ],
)
def test_packets_of_a_broker_are_read_as_the_standard_lays_them_out(raw: str, packet: Packet) -> None:
    assert list(Reader().feed(bytes.fromhex(raw))) == [packet]


def test_a_template_gives_the_bytes_of_a_real_summary_of_eleven_kilobytes() -> None:
    (template,) = make_templates(1, seed=3)
    header = Header("line1-cam2", "b0", 70_000, 1.5, 61.5, 60.0, True, "c" * 64)
    payload = template.payload(header)
    summary = decode_summary(payload)
    assert summary.header == header
    assert encode_summary(summary) == payload
    assert summary.accounting.closes() and summary.simulated
    assert summary.window is not None and from_wire(summary.window).frames == summary.accounting.captured
    assert 10_000 < len(payload) < 12_000


def test_an_outage_is_in_the_middle_unless_it_says_when() -> None:
    assert parse_outage("30s", 3.0) == Outage(30.0, 75.0)
    assert parse_outage("500ms@1m", 3.0) == Outage(0.5, 60.0)
    assert parse_seconds("2") == 2.0
    for text in ("30s@170s", "soon", "4m", ""):
        with pytest.raises(InvalidConfig):
            parse_outage(text, 3.0)


def test_more_stations_than_files_are_refused_before_anything_starts() -> None:
    with pytest.raises(InvalidConfig, match="open files") as told:
        raise_file_limit(1 << 40)
    assert "ulimit" in told.value.hint


def test_rows_tell_of_what_is_twice_and_what_is_missing() -> None:
    rows = Rows({("a", "x", 1): 1, ("a", "x", 4): 2, ("b", "y", 2): 1}, 0)
    assert rows.double == 1
    assert rows.gaps() == 3


def _simulate(*options: str) -> dict[str, float]:
    done = subprocess.run(
        (sys.executable, "-m", "scripts.fleet", "--json", *options),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _check(figures: dict[str, float]) -> None:
    assert figures["connected_peak"] == 30
    assert figures["connections"] >= 60, "the broker was killed, and every station came back"
    assert figures["sent"] == figures["committed"] == figures["produced"] >= 120
    assert figures["lost"] == figures["double"] == figures["gaps"] == figures["kept"] == figures["conflicts"] == 0
    assert 0 < figures["ack_p50_s"] <= figures["ack_p95_s"] <= figures["ack_p99_s"] <= figures["ack_max_s"]
    assert figures["made_p50_s"] >= figures["ack_p50_s"]
    assert 0 <= figures["live_share"] <= 1
    assert figures["broker_rss_mb"] > 1 and figures["worker_rss_mb"] > 10 and figures["worker_cpu_s"] > 0


@pytest.mark.slow
def test_thirty_stations_lose_nothing_when_the_broker_is_killed() -> None:
    _check(_simulate("30", "--rate", "60", "--minutes", "0.07", "--outage", "500ms", "--skew", "10m"))


@pytest.mark.long
def test_thirty_stations_lose_nothing_on_postgresql_and_two_workers() -> None:
    _check(
        _simulate("30", "--rate", "60", "--minutes", "0.1", "--outage", "2s", "--database", "postgres", "--workers=2")
    )
