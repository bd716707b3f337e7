"""Rollouts over HTTP: looked at by the page, started once, steered by what was seen."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud.api.app import make_app
from cloud.api.audit import audit_routes
from cloud.api.auth import Guards, Person, Role
from cloud.api.idempotency import FirstAnswers
from cloud.api.rollout_acts import RolloutActs
from cloud.api.rollouts import rollout_routes
from tests.cloud.api.conftest import serve
from tests.fakes.file_tokens import file_tokens
from tests.fakes.rollout_fleet import RolloutFleet

PEOPLE = {
    "anna": Role.RELEASER,
    "bert": Role.RELEASER,
    "eve": Role.ENGINEER,
    "vic": Role.VIEWER,
    "ines": Role.INSPECTOR,
}


@dataclass(frozen=True, slots=True)
class Door:
    """The API in front of a fleet; `get` and `post` are by anna, or by who is named."""

    url: str
    fleet: RolloutFleet
    client: httpx.Client

    def get(self, path: str = "", who: str = "anna", **more: Any) -> httpx.Response:
        return self.client.get(f"{self.url}/v1/rollouts{path}", headers=self._as(who), **more)

    def post(self, path: str, body: Any, who: str = "anna", key: str = "") -> httpx.Response:
        headers = self._as(who) | ({"Idempotency-Key": key} if key else {})
        return self.client.post(f"{self.url}/v1/rollouts{path}", headers=headers, json=body)

    @staticmethod
    def _as(who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer token of {who}"}


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    fleet = RolloutFleet(tmp_path / "cloud.db", stations=5)
    guards = Guards(file_tokens({Person(name, role): f"token of {name}" for name, role in PEOPLE.items()}))
    routes = rollout_routes(
        guards=guards,
        reading=fleet.reading,
        approvals=fleet.tables.rollouts.approvals,
        acts=RolloutActs(fleet.loop, fleet.reading.one, fleet.clock.now),
        first_answers=FirstAnswers(),
    )
    with httpx.Client(timeout=60.0) as client:
        served = serve(make_app([routes, audit_routes(guards=guards, audit=fleet.tables.audit)]))
        yield Door(next(served), fleet, client)
        next(served, None)
    fleet.close()


def started(door: Door, **more: Any) -> int:
    answer = door.post("", {"version": "v2", **more})
    assert answer.status_code == 201, answer.text
    rollout: int = answer.json()["rollout"]
    return rollout


def test_a_rollout_says_how_its_waves_stand_and_lists_its_few_stations(door: Door) -> None:
    started(door, reason="finds scratches")
    door.fleet.turns(2)
    (found,) = door.get().json()
    assert (found["author"], found["reason"], found["station_count"]) == ("anna", "finds scratches", 5)
    assert found["waves"][0]["name"] == "canary" and found["waves"][0]["words"] == "1 of 1 committed"
    assert found["stations"][0]["state"] == "COMMITTED" and len(found["stations"]) == 5
    assert found["plan"]["max_failure"] == 0.02 and found["evidence"]["heard"] == 1
    assert door.get("/1").json() == found
    assert door.get("?stations=false").json()[0]["stations"] is None


def test_rollouts_come_newest_first_a_page_at_a_time(door: Door) -> None:
    for _ in range(3):
        rollout = started(door)
        door.post(f"/{rollout}/abort", {"reason": "x"})
        door.fleet.turns(3)
    assert [each["id"] for each in door.get().json()] == [3, 2, 1]
    assert [each["id"] for each in door.get("?limit=1&before=3").json()] == [2]


def test_stations_are_found_by_state_wave_and_name_with_what_they_last_said(door: Door) -> None:
    door.fleet.fleet.mute.add("s2")
    rollout = started(door)
    door.fleet.turns(3)
    order = door.fleet.fleet.orders[-1]
    waits = door.get(f"/{rollout}/stations?state=ORDERED&state=SHADOWING").json()
    assert "s2" in [s["station"] for s in waits["stations"]] and order.station
    deployment = next(s["deployment"] for s in waits["stations"] if s["station"] == "s2")
    door.fleet.fleet.say("s2", "DOWNLOAD", deployment)
    found = door.get(f"/{rollout}/stations?text=S2").json()
    assert found["total"] == 1 and found["stations"][0]["station"] == "s2" and found["stations"][0]["online"]
    assert door.get(f"/{rollout}/stations?wave=0").json()["total"] == 1
    page = door.get(f"/{rollout}/stations?start=3&limit=1").json()
    assert page["total"] == 5 and len(page["stations"]) == 1
    for bad in ("state=SO", "wave=-1", "limit=0", "limit=1001", "start=-1", "text=%00"):
        assert door.get(f"/{rollout}/stations?{bad}").status_code == 422, bad


def test_a_large_rollout_keeps_its_stations_behind_their_own_address(tmp_path: Path, door: Door) -> None:
    names = [f"line{n:04d}" for n in range(201)]
    book = door.fleet.tables.rollouts
    book.create("v2", "b" * 64, [names[:1], names[1:]], (), "anna", door.fleet.clock.now())
    (found,) = door.get().json()
    assert found["stations"] is None and found["station_count"] == 201
    path = found["stations_at"].removeprefix("/v1/rollouts")
    assert len(door.get(f"{path}?limit=1000").json()["stations"]) == 201


def test_a_second_start_is_refused_with_the_number_of_the_one_under_way(door: Door) -> None:
    started(door)
    answer = door.post("", {"version": "v2"})
    assert answer.status_code == 409 and "rollout 1 is still under way" in answer.json()["detail"]


def test_one_key_starts_one_rollout_however_often_it_is_sent(door: Door) -> None:
    answers: list[httpx.Response] = []

    def send() -> None:
        answers.append(door.post("", {"version": "v2"}, key="k1"))

    threads = [threading.Thread(target=send) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(each.status_code, each.json()["rollout"]) for each in answers} == {(201, 1)}
    assert door.post("", {"version": "v1"}, key="k1").status_code == 422
    assert door.post("", {"version": "v2"}, who="bert", key="k1").status_code == 409  # another person's key is another
    assert door.post("/1/abort", {"reason": "x"}, key="k2").status_code == 202
    assert door.post("/1/abort", {"reason": "x"}, key="k2").status_code == 202
    assert door.post("/1/abort", {"reason": "x"}).status_code == 409


def test_what_was_refused_under_a_key_may_be_tried_again(door: Door) -> None:
    rollout = started(door)
    assert door.post("", {"version": "v2"}, key="later").status_code == 409
    door.post(f"/{rollout}/abort", {"reason": "x"})
    door.fleet.turns(3)
    assert door.post("", {"version": "v2"}, key="later").json() == {"rollout": 2}


def test_an_act_on_what_has_moved_on_does_nothing(door: Door) -> None:
    rollout = started(door)
    assert door.post(f"/{rollout}/pause", {"reason": "lunch", "seen_state": "RUNNING"}).status_code == 202
    answer = door.post(f"/{rollout}/abort", {"reason": "x", "seen_state": "RUNNING"})
    assert answer.status_code == 409 and "is PAUSED by now, and was RUNNING" in answer.json()["detail"]
    assert door.get(f"/{rollout}").json()["state"] == "PAUSED"
    assert door.post(f"/{rollout}/resume", {"seen_state": "PAUSED"}).status_code == 202
    acts = [each["act"] for each in door.get(f"/{rollout}/timeline").json()]
    assert acts[:2] == ["resume", "pause"]


def test_two_people_approve_and_the_author_is_none_of_them(door: Door) -> None:
    rollout = started(door, plan={"approvals": 1})
    assert door.get(f"/{rollout}").json()["state"] == "PROPOSED"
    assert door.post(f"/{rollout}/approve", {}).status_code == 409
    assert door.post(f"/{rollout}/reject", {"reason": "no report"}, who="bert").status_code == 202
    assert door.post(f"/{rollout}/approve", {"note": "read"}, who="bert").status_code == 202
    door.fleet.turns(1)
    found = door.get(f"/{rollout}").json()
    assert found["state"] == "RUNNING" and [a["person"] for a in found["approvals"]] == ["bert"]


def test_each_may_do_what_their_role_allows(door: Door) -> None:
    rollout = started(door)
    reason = {"reason": "x"}
    assert [door.get(who=who).status_code for who in PEOPLE] == [200, 200, 200, 200, 403]
    for who in ("eve", "vic"):
        for path, body in (
            ("", {"version": "v2"}),
            ("/rollback", {"version": "v1", **reason}),
            ("/ab", {"version": "v2"}),
            (f"/{rollout}/approve", {}),
            (f"/{rollout}/reject", reason),
            (f"/{rollout}/resume", {}),
            (f"/{rollout}/conclude", {"keep": "a", **reason}),
        ):
            assert door.post(path, body, who=who).status_code == 403, (who, path)
    assert door.post(f"/{rollout}/abort", reason, who="vic").status_code == 403
    assert door.post(f"/{rollout}/pause", reason, who="eve").status_code == 202
    assert door.post(f"/{rollout}/abort", reason, who="eve").status_code == 202
    assert door.get(who="nobody").status_code == 401


def test_what_cannot_be_a_request_is_422_and_what_is_not_there_404(door: Door) -> None:
    for body in (
        {}, {"version": ""}, {"version": "v2", "force": True}, {"version": "v2", "plan": {"max_failure": 2}}, [], "v2",
        {"version": "v2", "plan": {"soak_s": float("1e999")}}, {"version": "v2", "plan": {"wave_shares": [0.0]}},
        {"version": "v\x002"},
    ):  # fmt: skip
        raw = door.client.post(
            f"{door.url}/v1/rollouts",
            headers=door._as("anna"),
            content=json.dumps(body),
        )
        assert raw.status_code == 422, body
    for path in ("/0", "/-1", "/x", f"/{2**31}", f"/{2**70}"):
        assert door.get(path).status_code == 422, path
    assert door.get("/99").status_code == 404 and door.get("/99/stations").status_code == 404
    assert door.post("/99/abort", {"reason": "x"}).status_code == 404
    assert door.post("", {"version": "v9"}).status_code == 404
    assert door.post("/1/abort", {"reason": "  "}).status_code == 422
    assert door.get().json() == []


def test_two_side_by_side_are_compared_and_concluded(door: Door) -> None:
    rollout = door.post("/ab", {"version": "v2", "share": 0.4, "reason": "which?"}).json()["rollout"]
    assert door.get(f"/{rollout}/ab").status_code == 409
    door.fleet.turns(8)
    door.fleet.compare(rollout)
    report = door.get(f"/{rollout}/ab").json()
    assert [arm["version"] for arm in report["arms"]] == ["v1", "v2"]
    assert {s["arm"] for s in door.get(f"/{rollout}").json()["stations"]} == {"a", "b"}
    assert door.post(f"/{rollout}/conclude", {"keep": "c", "reason": "x"}).status_code == 422
    assert door.post(f"/{rollout}/conclude", {"keep": "b", "reason": "faster"}).status_code == 202
    door.fleet.turns(12)
    assert door.get(f"/{rollout}").json()["state"] == "DONE"
    assert door.get("/1/ab").status_code == 200
    back = door.post("/rollback", {"version": "v1", "reason": "dust passes"})
    assert back.status_code == 201 and door.get(f"/{back.json()['rollout']}").json()["kind"] == "rollback"
    assert door.get(f"/{back.json()['rollout']}/ab").status_code == 409


def test_every_route_is_documented_with_an_example_and_what_may_go_wrong(door: Door) -> None:
    paths = door.client.get(f"{door.url}/v1/openapi.json").json()["paths"]
    ours = {
        (path, method): operation
        for path, operations in paths.items()
        if path.startswith(("/v1/rollouts", "/v1/audit"))
        for method, operation in operations.items()
    }
    assert len(ours) == 17
    for where, operation in ours.items():
        answers = operation["responses"]
        good = next(code for code in answers if code.startswith("2"))
        content = next(iter(answers[good]["content"].values()))
        assert "example" in content, where
        assert {"401", "403", "404", "409", "422", "503"} <= set(answers), where
        assert operation["summary"], where
