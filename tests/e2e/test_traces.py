"""One frame's trace, from a station process over a real broker and HTTP to the cloud's process, at a collector."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cloud.test_aggregator_process import wait_for
from tests.fakes.cloud_plant import CloudPlant
from tests.fakes.cloud_tables import open_tables
from tests.fakes.span_collector import SeenSpan, SpanCollector, span_collector
from tests.fixtures_broker import start_broker
from tests.station_process import STATION, Station
from tests.tiny_bundle import write_bundle


@pytest.fixture
def collector() -> Iterator[SpanCollector]:
    with span_collector() as found:
        yield found


@pytest.mark.slow
def test_a_frame_is_followed_from_its_capture_to_the_commit_of_its_summary(
    tmp_path: Path, collector: SpanCollector
) -> None:
    plant = CloudPlant(tmp_path)
    config = plant.home / "cloud.toml"
    broker = start_broker(tmp_path / "broker")
    told = config.read_text().split("[broker]")[0] + f"[broker]\nport = {broker.port}\n"
    config.write_text(told + f'[trace]\nendpoint = "{collector.url}"\n[log]\nformat = "json"\n')
    tables = open_tables(plant.home / "cloud.db")
    tables.stations.add(STATION, "the station's token", "", 0.0)
    tables.database.close()
    (tmp_path / "token").write_text("the station's token")
    trace = f'[trace]\nendpoint = "{collector.url}"\nshare = 1.0\n[log]\nformat = "json"\n'
    policy = "[policy]\nfallback = true\nfallback_burst = 1000\nfallback_per_s = 1000.0\n"
    cloud = f'[cloud]\nurl = "{plant.url}"\ntoken_file = "token"\n'
    station = Station(tmp_path, broker.port, extra=cloud + policy + trace)
    write_bundle(tmp_path / "tiny.plb", pass_at=1.0)  # whatever looks good is unsure, and asked about
    try:
        plant.start()
        station.start()
        wait_for(lambda: {"fallback", "ingest", "frame"} <= {span.name for span in collector.spans})
        assert station.end(signal.SIGTERM) == 0
        assert plant.stop() in (0, 130)
    finally:
        station.close()
        broker.kill()
        if plant.running:
            plant.kill()
    frames = {span.span: span for span in collector.spans if span.name == "frame"}
    asked = [span for span in collector.spans if span.name == "fallback" and span.parent in frames]
    kept = [span for span in collector.spans if span.name == "ingest" and span.parent in frames]
    assert asked and kept
    for span in asked:
        frame = frames[span.parent]
        assert (span.trace, span.service, frame.service) == (frame.trace, "plumbline-cloud", "plumbline-agent")
        assert span.attributes["http.response.status_code"] == 404, "the bundle is in no release there"
        assert frame.began_ns <= span.began_ns and frame.attributes["plumbline.asked_cloud"]
    for span in kept:
        assert span.trace == frames[span.parent].trace and span.began_ns <= span.ended_ns
        assert span.attributes["plumbline.station"] == STATION
    assert {span.attributes["plumbline.verdict"] for span in frames.values()} <= {"PASS", "REJECT", "REVIEW"}
    _assert_json(tmp_path / "agent.log", STATION)
    _assert_json(plant.log, "cloud")


def _assert_json(log: Path, who: str) -> None:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert any(line["who"].startswith(who) for line in lines)
    assert all({"at", "level", "who", "say"} <= set(line) and line["at"].endswith("Z") for line in lines)


@pytest.mark.slow
def test_a_collector_that_is_away_costs_no_frame(tmp_path: Path) -> None:
    trace = '[trace]\nendpoint = "http://127.0.0.1:9/v1/traces"\nshare = 1.0\n'
    station = Station(tmp_path, 1, extra=trace)
    station.start()
    try:
        wait_for(lambda: station.rows() > 200)
        assert station.end(signal.SIGTERM) == 0
    finally:
        station.close()


@pytest.mark.slow
def test_what_is_no_trace_makes_no_span(tmp_path: Path, collector: SpanCollector) -> None:
    plant = CloudPlant(tmp_path)
    config = plant.home / "cloud.toml"
    config.write_text(config.read_text() + f'\n[trace]\nendpoint = "{collector.url}"\n')
    plant.start()
    good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    bad = (
        "", "x", good.upper(), good[:-2] + "00", "00-" + "0" * 32 + good[35:], "01" + good[2:], good + "\x01", "é" * 55,
        good + "-more",
    )  # fmt: skip
    try:
        for text in (*bad, good):
            headers = {"traceparent": text.encode("latin-1")} if text else {}
            answer = httpx.post(f"{plant.url}/v1/fallback/s1", content=b"", headers=headers, timeout=60)
            assert answer.status_code in (400, 401)
        assert plant.stop() in (0, 130)
    finally:
        if plant.running:
            plant.kill()
    (span,) = collector.spans
    assert isinstance(span, SeenSpan) and span.name == "fallback"
    assert span.trace == good.split("-")[1] and span.attributes["http.response.status_code"] == 401
