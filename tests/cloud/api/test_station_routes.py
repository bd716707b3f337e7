"""Stations over HTTP: pages of them, and one with its windows and its past."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cloud.api.app import make_app
from cloud.api.stations import station_routes
from cloud.store.station_history import StationHistory
from contract.messages import Accounting, Header, Summary
from contract.sketches.wire import to_wire
from tests.cloud.api.conftest import GUARDS, OPERATOR, CalmDrift, serve
from tests.cloud.drift.conftest import StationLine
from tests.fakes.big_fleet import fill, fleet_source
from tests.fakes.cloud_tables import Tables, open_tables, received


@pytest.fixture
def api(tmp_path: Path) -> Iterator[httpx.Client]:
    tables = open_tables(tmp_path / "cloud.db")
    names = fill(tables, 120, time.time())
    _windows(tables, "line00007")
    tables.audit.append(time.time(), "anna", "re-enrol", "line00007: <b>new lamp</b>")
    routes = station_routes(
        guards=GUARDS,
        fleet=fleet_source(tables, names, ["line00042"]),
        status=tables.stations.one,
        history=StationHistory(tables.database),
        drift_of=CalmDrift().drift_of,
    )
    served = serve(make_app([routes]))
    with httpx.Client(base_url=next(served), headers={"Authorization": f"Bearer {OPERATOR}"}, timeout=60.0) as client:
        yield client
    next(served, None)
    tables.database.close()


def _windows(tables: Tables, station: str) -> None:
    line, now = StationLine(station), time.time()
    for number in range(5):
        line.at = now - 3600.0 * (5 - number)
        r = line.record()
        header = Header(r.station, r.boot, r.seq, r.started_at, r.ended_at, 0.0, True, "1" * 64)
        told = Summary(header, Accounting(captured=32, passed=30, rejected=2), to_wire(r.window))
        tables.summaries.commit(received(told, at=r.ended_at), [])


def test_stations_come_a_page_at_a_time_filtered_and_sorted(api: httpx.Client) -> None:
    first = api.get("/v1/stations").json()
    assert first["total"] == 120 and [each["station"] for each in first["stations"]][:2] == ["line00000", "line00001"]
    assert len(first["stations"]) == 50
    asked = {"site": "hall 07", "sort": "frames", "descending": "true", "limit": "2", "start": "1"}
    page = api.get("/v1/stations", params=asked).json()
    assert (page["total"], [each["station"] for each in page["stations"]]) == (3, ["line00087", "line00047"])
    (drifting,) = api.get("/v1/stations", params={"drift": "drifting"}).json()["stations"]
    assert drifting["station"] == "line00042" and drifting["seen"].startswith("lens: sharpness")
    assert drifting["model"] == "v1" and drifting["link"] == "online"
    assert api.get("/v1/stations", params={"model": "v2", "link": "offline"}).json()["total"] == 7
    assert api.get("/v1/stations", params={"needs_somebody": "true"}).json()["total"] == 1
    assert api.get("/v1/stations", params={"text": "\0%_", "site": "' OR 1=1 --"}).json()["total"] == 0
    assert api.get("/v1/fleet/counts").json()["total"] == 120


@pytest.mark.parametrize(
    "wrong", ["limit=0", "limit=501", "start=-1", "link=maybe", "sort=token_sha256", "hours=1&start=x"]
)
def test_what_cannot_be_asked_is_said(api: httpx.Client, wrong: str) -> None:
    answer = api.get(f"/v1/stations?{wrong}")
    assert answer.status_code == 422 and answer.json()["detail"]


def test_one_station_is_told_with_its_windows_and_its_past(api: httpx.Client) -> None:
    one = api.get("/v1/stations/line00007").json()
    assert one["site"] == "hall 07" and one["status"]["update_state"] == "DOWNLOAD"
    assert [boot["highest"] for boot in one["boots"]] == [5] and one["gaps"] == [] and one["certificates"] == []
    windows = api.get("/v1/stations/line00007/windows", params={"hours": 3.5}).json()["windows"]
    assert [each["seq"] for each in windows] == [3, 4, 5]
    assert windows[0]["accounting"]["passed"] == 30 and 0.4 < windows[0]["statistics"]["sharpness"] < 0.6
    assert windows[0]["latency_us"]["p50"] > 0 and sum(windows[0]["labels"]) == 32
    past = api.get("/v1/stations/line00007/timeline").json()
    assert past["total"] == 1 and past["entries"][0]["detail"] == "line00007: <b>new lamp</b>"


def test_nobody_is_no_station_and_no_token_sees_none(api: httpx.Client) -> None:
    for path in ("nobody", "%00", "%2e%2e", "<b>", "nobody/windows", "nobody/timeline"):
        answer = api.get(f"/v1/stations/{path}")
        assert answer.status_code == 404, path
    assert "no station 'nobody'" in api.get("/v1/stations/nobody").json()["detail"]
    assert api.get("/v1/stations", headers={"Authorization": "Bearer wrong"}).status_code == 401
