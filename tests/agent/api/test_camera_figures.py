"""What /metrics says of each camera, and /healthz of the broker."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from agent.api.exchange import Request
from agent.api.meter import LineMeter
from agent.api.routes import Routes
from agent.api.station_metrics import StationFigures, station_metrics
from agent.ports.recorder import Result
from contract.messages import Accounting, Header, Summary
from tests.fakes.agent_clock import HandClock
from tests.fakes.agent_line import ListRecorder, QueueSource


def nowhere() -> sqlite3.Connection:
    raise sqlite3.OperationalError("there is none")


def metered(*cameras: str) -> LineMeter:
    clock = HandClock()
    meter = LineMeter(clock)
    out = meter.recorder(ListRecorder())
    for number, camera in enumerate(cameras, 1):
        meter.source(QueueSource(clock), camera)
        for _ in range(number):
            out.record(Result(1, 0.0, "p", "REVIEW", "unsure", "good", 1.0, 5.0, "b", camera=camera), None)
        header = Header("s1", "b", number, 0.0, 1.0, 0.0, True, "d", camera=camera)
        out.close_window(1, Summary(header, Accounting(captured=9, dropped={"backlog": 9 * number})))
        clock.forward(10.0)
    return meter


def values(meter: LineMeter, uplink: str | None = None) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = station_metrics(
        meter, StationFigures("1", True, "", {}, uplink=uplink), None,
        home=Path("/"), database=Path("/none"), connect=nowhere, station="s1", simulated=True,
    )  # fmt: skip
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def test_each_of_several_cameras_has_its_own_frames_drops_and_rest() -> None:
    found = values(metered("", "left"))
    for camera, frames, idle in (("first", 1, 20.0), ("left", 2, 10.0)):
        mine = (("camera", camera), ("cause", "unsure"), ("verdict", "REVIEW"))
        assert found["plumbline_frames_total", mine] == frames
        assert found["plumbline_frames_dropped_total", (("camera", camera), ("cause", "backlog"))] == 9 * frames
        assert found["plumbline_camera_idle_seconds", (("camera", camera),)] == idle


def test_the_series_of_a_station_with_one_camera_are_as_they_were() -> None:
    found = values(metered(""))
    assert found["plumbline_frames_total", (("cause", "unsure"), ("verdict", "REVIEW"))] == 1
    assert found["plumbline_camera_idle_seconds", ()] == 10.0


def test_a_station_that_the_broker_shuts_out_says_so_and_one_without_a_broker_does_not() -> None:
    shut = ("plumbline_uplink_shut_out", ())
    assert values(metered(""), "the broker does not let this station in")[shut] == 1
    assert values(metered(""), "")[shut] == 0 and shut not in values(metered(""))


class View:
    station, simulated = "s1", False

    def __init__(self, reason: str, uplink: str, controller: str) -> None:
        self.reason, self.uplink, self.controller = reason, uplink, controller

    def status(self) -> Mapping[str, Any]:
        return {}

    def in_charge(self) -> None:
        return None

    def why_void(self) -> str:
        return ""

    def why_unhealthy(self) -> str:
        return self.reason

    def uplink_trouble(self) -> str:
        return self.uplink

    def controller_trouble(self) -> str:
        return self.controller

    def metrics(self) -> str:
        return ""


def health(reason: str, uplink: str, controller: str = "") -> tuple[int, dict[str, Any]]:
    routes = Routes(View(reason, uplink, controller), None, None, None, lambda: False)  # type: ignore[arg-type]
    answer = routes.answer(Request("GET", "/healthz", ""))
    return answer.code, msgspec.json.decode(answer.body)


def test_health_tells_of_the_broker_and_stays_well() -> None:
    assert health("", "") == (200, {"ok": True, "station": "s1", "simulated": False})
    code, body = health("", "another device uses this station's name")
    assert (code, body["ok"], body["uplink"]) == (200, True, "another device uses this station's name")
    code, body = health("", "", "the controller's heartbeat stopped")
    assert (code, body["ok"], body["controller"]) == (200, True, "the controller's heartbeat stopped")
    assert health("the disk has 1 MiB left", "")[0] == 503
