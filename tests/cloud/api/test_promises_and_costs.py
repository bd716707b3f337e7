"""What is promised, and what it costs, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from cloud.api.app import make_app
from cloud.api.promises import promise_routes
from cloud.promises import FleetPromises, Terms
from cloud.slo.tally import HOUR_S, Promise
from cloud.store.costs import DAY_S, Cost, Costs
from cloud.store.promises import PromiseHours
from tests.cloud.api.conftest import GUARDS, INSPECTOR, OPERATOR, serve
from tests.fakes.cloud_tables import T0, Tables, received, summary

NOW = T0 + 5 * HOUR_S


@dataclass
class Door:
    url: str
    tables: Tables
    costs: Costs

    def get(self, path: str, token: str = OPERATOR) -> httpx.Response:
        return httpx.get(self.url + path, headers={"Authorization": f"Bearer {token}"}, timeout=60)


@pytest.fixture
def door(tables: Tables) -> Iterator[Door]:
    targets = dict(zip(Promise, (0.999, 0.99, 0.99, 0.9), strict=True))
    promises = FleetPromises(PromiseHours(tables.database), Terms(targets, 28, 900.0, 72 * HOUR_S), lambda: NOW)
    costs = Costs(tables.database)
    routes = promise_routes(
        guards=GUARDS, promises=promises, costs=costs, retrains=tables.alarms.retrains, now=lambda: NOW
    )
    served = serve(make_app([routes], None))
    yield Door(next(served), tables, costs)
    next(served, None)


def test_promises_are_told_with_what_is_left_of_them(door: Door) -> None:
    door.tables.summaries.commit(received(summary("s1", 1), summary("s1", 2)), [])
    answer = door.get("/v1/promises").json()
    assert answer["why_held"] == "" and [each["promise"] for each in answer["budgets"]] == [p.value for p in Promise]
    first = answer["budgets"][0]
    # 10 of 11 frames of each; the words are for a person.
    assert (first["share"], first["events"], first["target"]) == (pytest.approx(10 / 11), 22, 0.999)
    assert first["spent"] == pytest.approx((1 / 11) / 0.001) and "the error budget is spent" in first["words"]
    assert answer["budgets"][2]["share"] is None


def test_costs_add_up_by_station_and_by_day(door: Door) -> None:
    for station, days_ago, images in (("s1", 0, 2), ("s1", 1, 3), ("=cmd()", 1, 5), ("s1", 40, 100)):
        door.costs.add(
            {(station, Cost.IMAGES): images, (station, Cost.IMAGE_BYTES): images * 10}, NOW - days_ago * DAY_S
        )
    by_station = door.get("/v1/costs").json()
    assert [(row["name"], row["images"], row["image_bytes"]) for row in by_station["rows"]] == [
        ("=cmd()", 5, 50),
        ("s1", 5, 50),
    ]
    assert by_station["total"]["images"] == 10
    by_day = door.get("/v1/costs?by=day&days=400").json()
    assert [row["images"] for row in by_day["rows"]] == [100, 8, 2]
    assert all(len(row["name"]) == 10 for row in by_day["rows"])
    assert door.get("/v1/costs?by=day&days=1").json()["total"]["images"] == 2


def test_retrains_cost_minutes_for_each_point(door: Door) -> None:
    alarms = door.tables.alarms
    card = {"drift": {"images": 10, "correct": 9}}
    gate = {"card": card, "incumbent_card": {"drift": {"images": 10, "correct": 4}}}
    figures = {"labels": 120, "train": {"seconds": 600.0, "device": "cuda:0", "world_size": 1}, "gate": gate}
    for state in ("released", "failed"):
        number = alarms.start_retrain(None, "people said so", NOW - 100, series="s1")
        alarms.update_retrain(number, state=state, figures=json.dumps(figures), ended_at=NOW)
    answer = door.get("/v1/costs").json()
    assert [(row["gpu_minutes"], row["points"]) for row in answer["retrains"]] == [(10.0, 50.0), (10.0, None)]
    assert answer["minutes_per_point"] == pytest.approx(20 / 50), "what won nothing was paid for too"
    assert answer["rows"] == [] and answer["total"]["images"] == 0


def test_only_who_may_look_at_the_fleet_sees_them_and_nonsense_is_refused(door: Door) -> None:
    for path in ("/v1/promises", "/v1/costs"):
        assert door.get(path, "nobody").status_code == 401
        assert door.get(path, INSPECTOR).status_code == 403
    for query in ("by=moon", "days=0", "days=401", "days=x"):
        assert door.get(f"/v1/costs?{query}").status_code == 422
