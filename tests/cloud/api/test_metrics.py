"""GET /metrics: who may read it, what it says, how few series it makes of a large fleet, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cloud.api.app import make_app
from cloud.api.auth import Guards, Person, Role
from cloud.api.metrics import Metrics, metrics_routes
from cloud.fleet_figures import FleetFigures
from cloud.needs_of_stations import SILENT
from cloud.ports.alarms import Opened
from cloud.ports.figures import Family, one
from cloud.ports.needs import Need, Severity
from cloud.ports.records import Cursor
from cloud.store.fact_rows import FactRows
from cloud.store.metric_rows import MetricRows
from cloud.store.notices import Notices
from cloud.store.tables import stations
from contract.errors import TransientError
from contract.messages import StationState
from tests.cloud.api.conftest import serve
from tests.fakes.cloud_fleet import FakeRelease, FakeReleases
from tests.fakes.cloud_tables import T0, Tables, received, summary
from tests.fakes.file_tokens import file_tokens

VIEWER, INSPECTOR = "a viewer's token", "an inspector's token"


def figures(tables: Tables, **more: Any) -> FleetFigures:
    database = tables.database
    return FleetFigures(
        rows=MetricRows(database), facts=FactRows(database), stations=tables.stations, summaries=tables.summaries,
        samples=tables.samples, rollouts=tables.rollouts, releases=FakeReleases(FakeRelease("v1", "d" * 64)),
        notices=Notices(database), needs=lambda: [], **more,
    )  # fmt: skip


def values(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


@pytest.fixture
def served(tables: Tables) -> Iterator[str]:
    guards = Guards(file_tokens({Person("v", Role.VIEWER): VIEWER, Person("i", Role.INSPECTOR): INSPECTOR}))
    metrics = Metrics([figures(tables)])
    server = serve(make_app([metrics_routes(guards, metrics)], None, metrics.answered))
    yield next(server)
    next(server, None)


def get(url: str, token: str = "") -> httpx.Response:
    return httpx.get(url, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=30)


def test_who_may_look_may_scrape_and_nobody_else(served: str) -> None:
    assert get(f"{served}/metrics").status_code == 401
    assert get(f"{served}/metrics", "wrong").status_code == 401
    assert get(f"{served}/metrics", INSPECTOR).status_code == 403
    answer = get(f"{served}/metrics", VIEWER)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=")


def test_it_counts_the_fleet_and_its_own_requests_by_route(served: str, tables: Tables) -> None:
    tables.add_online("s1", "s2")
    tables.stations.add("s3", "t", "", T0)
    tables.summaries.commit(received(summary("s1", 1), summary("s1", 2)), [])
    for path in ("/nowhere", "/also/nowhere"):
        get(served + path)
    get(f"{served}/metrics", VIEWER)
    found = values(get(f"{served}/metrics", VIEWER).text)
    assert found["plumbline_cloud_stations", ()] == 3 and found["plumbline_cloud_stations_online", ()] == 2
    assert found["plumbline_cloud_frames_captured_total", ()] == 22
    fates = {
        name: found["plumbline_cloud_frames_total", (("fate", name),)]
        for name in ("passed", "rejected", "review", "dropped")
    }
    assert fates == {"passed": 14, "rejected": 4, "review": 2, "dropped": 2}
    route = ("plumbline_cloud_http_requests_total", (("code", "404"), ("method", "GET"), ("route", "(none)")))
    assert found[route] == 2, "addresses that there are not are one series"
    assert found["plumbline_cloud_http_request_seconds_count", (("route", "/metrics"),)] == 1
    assert found["plumbline_cloud_readable", ()] == 1


def test_no_counter_falls_when_an_alarm_turns_out_to_have_another_cause(tables: Tables) -> None:
    def counters() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        found = values(Metrics([figures(tables)]).text().decode())
        return {key: value for key, value in found.items() if key[0].endswith("_total")}

    tables.alarms.commit(Cursor(), {}, [Opened("s1", T0, T0, "covariate_shift", "the lens is fogged")], [])
    before = counters()
    tables.alarms.commit(Cursor(), {}, [Opened("s1", T0, T0 + 9, "label_shift", "more scratches")], [])
    after = counters()
    assert before.keys() <= after.keys() and all(after[key] >= value for key, value in before.items())
    assert after["plumbline_cloud_alarms_total", ()] == 1


def test_silent_stations_are_counted_one_by_one_however_few_needs_they_are(tables: Tables) -> None:
    need = Need("silent:a", SILENT, Severity.PAGE, "9 stations of a", "/fleet", "silent-station", tuple("abcdefghi"))
    part = figures(tables)
    part._needs = lambda: [need]
    found = values(Metrics([part]).text().decode())
    assert found["plumbline_cloud_stations_silent", ()] == 9
    assert found["plumbline_cloud_needs", (("kind", SILENT), ("severity", "page"))] == 1


class Broken:
    """A part whose table cannot be read now."""

    def families(self) -> Iterable[Family]:
        yield one("plumbline_cloud_half", "gauge", "half", 1)
        raise TransientError("the database is away")


def test_what_cannot_be_read_is_left_out_and_said_to_be(tables: Tables) -> None:
    found = values(Metrics([Broken(), figures(tables)]).text().decode())
    assert found["plumbline_cloud_readable", ()] == 0
    assert ("plumbline_cloud_half", ()) not in found and ("plumbline_cloud_stations", ()) in found


def test_labels_of_hostile_text_stay_labels(tables: Tables) -> None:
    site = 'a "b"\\ {x="y"}\n# TYPE evil counter'
    tables.stations.add("s1", "t", site, T0)
    found = values(Metrics([figures(tables)]).text().decode())
    assert found["plumbline_cloud_site_stations", (("site", site), ("state", "offline"))] == 1


def test_ten_thousand_stations_are_scraped_within_a_second_and_in_few_series(tables: Tables, tmp_path: Path) -> None:
    count = 10_000
    with tables.database.write() as connection:
        rows = [
            {"station": f"s{n}", "token_sha256": "x", "site": f"hall {n % 400}", "added_at": T0} for n in range(count)
        ]
        tables.database.upsert_rows(connection, stations, ["station"], rows)
    tables.stations.commit([StationState(f"s{n}", "b1", n % 100 > 0, T0) for n in range(count)], [], T0)
    tables.summaries.commit(received(*(summary(f"s{n}", 1) for n in range(count))), [])
    metrics = Metrics([figures(tables, per_station=500)])
    metrics.text()
    took = []
    for _ in range(3):
        began = time.process_time()  # what others do on the machine meanwhile is no part of it
        text = metrics.text().decode()
        took.append(time.process_time() - began)
    found = values(text)
    online = {
        dict(labels)["station"]: value
        for (name, labels), value in found.items()
        if name == "plumbline_cloud_station_online"
    }
    assert len(online) == 500 and sum(1 for value in online.values() if value == 0) == 100, "the offline ones first"
    assert sum(1 for name, _ in found if name == "plumbline_cloud_site_stations") <= 2 * 201
    assert sum(value for (name, _), value in found.items() if name == "plumbline_cloud_site_stations") == count
    assert len(found) < 2000
    assert min(took) < 1.0, took
    print(f"\n{count} stations: {min(took) * 1e3:.0f} ms, {len(found)} series, {len(text) >> 10} KiB")
    none = values(Metrics([figures(tables, per_station=0)]).text().decode())
    assert not any(name.startswith("plumbline_cloud_station_") for name, _ in none)
