"""A station at a steady rate for PLUMBLINE_SOAK_MINUTES (30), upset in every way at hand: what it takes stays flat (P5).

PLUMBLINE_SOAK_FIGURES names a JSON file to leave every sample in.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from agent.sources.camera_model import CLEAN, CameraSettings
from agent.sources.controls import write_controls
from tests.agent.soak.figures import Taken, as_json, take, trends
from tests.agent.test_station_update import Plant
from tests.fakes.agent_line import image
from tests.fixtures_broker import Broker, free_port, start_broker
from tests.station_process import Collector, wait_for

MINUTES = float(os.environ.get("PLUMBLINE_SOAK_MINUTES", "30"))
FPS = 50.0
EVERY_S = 10.0
UPSETS = (
    CameraSettings(unplugged=True),
    CameraSettings(frozen=True),
    CameraSettings(black=True),
    CameraSettings(gain=3.0),
    CameraSettings(defocus_px=2, noise_sd=6.0),
    CameraSettings(dust=0.7),
)


class Upsets:
    """What is done to the station meanwhile, each by a thread of its own until `stop`; `errors` is why a thread ended."""

    def __init__(self, plant: Plant, broker: Broker, collector: Collector, url: str, controls: Path) -> None:
        self._plant, self._broker, self._collector, self._url, self._controls = plant, broker, collector, url, controls
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.counts = {"outages": 0, "orders": 0, "upsets": 0, "questions": 0, "images": 0}
        self._draw = random.Random(1)
        works = (self._broker_up_and_down, self._orders, self._camera, self._questions)
        self._threads = [threading.Thread(target=self._guard, args=(work,), daemon=True) for work in works]

    def __enter__(self) -> Upsets:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads)

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            self.errors.append(error)

    def _broker_up_and_down(self) -> None:
        while not self.stop.wait(20.0):
            self._broker.kill()
            self.stop.wait(6.0)
            self._broker.start()
            self.counts["outages"] += 1

    def _orders(self) -> None:
        while not self.stop.wait(13.0):
            number = self.counts["orders"] + 1
            released = self._plant.release(f"v{number}", gain=20.0 + number / 100)
            self._plant.order(self._collector, released, f"d{number}")
            self.counts["orders"] = number

    def _camera(self) -> None:
        while not self.stop.wait(4.0):
            write_controls(self._controls, UPSETS[self.counts["upsets"] % len(UPSETS)])
            self.stop.wait(1.0)
            write_controls(self._controls, CLEAN)
            self.counts["upsets"] += 1

    def _questions(self) -> None:
        body = io.BytesIO()
        Image.fromarray(image(230)).save(body, "PNG")
        pictures = (body.getvalue(), body.getvalue()[:50], b"")
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self.stop.wait(0.5):
                for path in ("/v1/status", "/metrics", "/healthz", "/v1/decisions?limit=20", "/nothing"):
                    assert client.get(path).status_code in (200, 404, 503)
                    self.counts["questions"] += 1
                if self.counts["questions"] % 25 == 0:
                    answer = client.post("/v1/infer", content=pictures[self.counts["images"] % 3])
                    assert answer.status_code in (200, 422, 429, 503), answer.text
                    self.counts["images"] += 1


@pytest.mark.long
@pytest.mark.timeout(int(MINUTES * 60) + 600)
def test_a_station_upset_in_every_way_takes_no_more_after_half_an_hour_than_at_first(tmp_path: Path) -> None:
    broker, port = start_broker(tmp_path / "broker"), free_port()
    collector, plant, controls = Collector(broker.port), Plant(tmp_path, broker.port), tmp_path / "controls.json"
    station = plant.station
    text = station.config.read_text()
    text = text.replace("fps = 200.0\n", f'fps = {FPS}\ncontrols = "{controls}"\n')
    # Small enough that every budget is spent, and kept to, well within the warm-up.
    limits = "[limits]\ndisk_mib = 16\nsamples = 40\nsamples_mib = 2\nresults_rows = 2000\n"
    station.config.write_text(text.replace("[limits]\n", limits) + f"[api]\nport = {port}\n")
    write_controls(controls, CLEAN)
    samples: list[Taken] = []
    try:
        station.start()
        assert station.process is not None
        process, began = psutil.Process(station.process.pid), time.monotonic()
        wait_for(lambda: collector.captured > 0, 60)
        with Upsets(plant, broker, collector, f"http://127.0.0.1:{port}", controls) as upsets:
            while time.monotonic() < began + MINUTES * 60:
                time.sleep(EVERY_S)
                assert station.process.poll() is None, "the station ended"
                assert not upsets.errors, upsets.errors
                samples.append(take(process, station.folder / "state", time.monotonic() - began))
        assert not upsets.errors, upsets.errors
        assert station.end(signal.SIGTERM) == 0
        status = station.status()
        # What the station could not send in the two seconds of its goodbye goes at the next start.
        if status["outbox"]:
            station.start()
            wait_for(lambda: station.status()["outbox"] == 0, 120)
            assert station.end(signal.SIGTERM) == 0
            status = station.status()
        wait_for(lambda: collector.decided == station.status()["captured"], 60)
    finally:
        plant.close()
        collector.close()
        broker.kill()
    told = list(collector.summaries.values())
    committed = {state.deployment for state in collector.reported if state.update_state == "COMMITTED"}
    found = trends(samples)
    figures = as_json(
        samples,
        found,
        minutes=MINUTES,
        fps=FPS,
        captured=collector.captured,
        decided=collector.decided,
        undecided=sum(s.accounting.undecided for s in told),
        review_causes=status["review_causes"],
        committed=len(committed),
        **upsets.counts,
    )
    where = os.environ.get("PLUMBLINE_SOAK_FIGURES")
    (Path(where) if where else tmp_path / "figures.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps({key: value for key, value in figures.items() if key != "samples"}))

    assert all(summary.accounting.closes() for summary in told)
    assert sorted(s.header.seq for s in told) == list(range(1, len(told) + 1))
    assert status["captured"] > 0.5 * FPS * 60 * MINUTES
    assert {"camera_fault", "frozen_frame", "blank_frame"} <= set(status["review_causes"])
    assert len(committed) >= 2 and upsets.counts["outages"] >= 2 and upsets.counts["images"] >= 3
    # A short run is still warming up at its end; what leaks, leaks more than this in half an hour.
    assert found["rss_kib"].rose_by() < max(6 << 10, 0.05 * found["rss_kib"].early), found["rss_kib"]
    assert found["threads"].rose_by() <= 1, found["threads"]
    assert found["descriptors"].rose_by() <= 3, found["descriptors"]
    assert found["disk_kib"].rose_by() < 2 << 10, found["disk_kib"]
    assert found["disk_kib"].most < 20 << 10, found["disk_kib"]
    assert found["children_kib"].most < 200 << 10, found["children_kib"]
