"""Versions, aliases and datasets over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cloud.api.conftest import serve
from tests.fakes.models_plant import HOSTILE, ModelsPlant, models_plant


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[ModelsPlant]:
    made = models_plant(tmp_path)
    yield made
    made.tables.database.close()


@pytest.fixture
def client(plant: ModelsPlant) -> Iterator[httpx.Client]:
    served = serve(plant.app())
    with httpx.Client(base_url=next(served), headers={"Authorization": "Bearer releaser"}, timeout=60.0) as client:
        yield client
    next(served, None)


def by(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {role}"}


def test_versions_are_listed_with_where_they_stand_and_what_their_gate_said(client: httpx.Client) -> None:
    found = {each["version"]: each for each in client.get("/v1/versions").json()}
    assert {name: each["stage"] for name, each in found.items()} == {
        "v0": "FORMER",
        "v1": "CHAMPION",
        "v2": "CANDIDATE",
    }
    assert found["v1"]["aliases"] == ["champion"] and found["v2"]["aliases"] == ["candidate"]
    assert found["v1"]["stations"] == 2 and found["v1"]["gate"]["passed"] and found["v1"]["gate"]["checks"] == 1
    assert found["v1"]["disk_bytes"] > found["v1"]["size_bytes"] > 0


def test_one_version_tells_its_checks_its_card_its_hashes_and_its_lineage_whatever_it_is_called(
    client: httpx.Client,
) -> None:
    found = client.get("/v1/versions/candidate").json()
    assert found["version"] == "v2" and "# " in found["card"] and found["hashes"]["dataset"]
    kinds = [node["kind"] for node in found["lineage"]]
    assert (
        {"labeller", "dataset", "run", "gate", "version", "rollout", "stations"} >= set(kinds) >= {"labeller", "gate"}
    )
    edges = {tuple(edge) for edge in found["edges"]}
    assert {("version v1", "run of v2"), ("run of v2", "gate of v2"), ("gate of v2", "version v2")} <= edges
    assert f"labeller {HOSTILE}" in {node["id"] for node in found["lineage"]}
    champion = client.get("/v1/versions/v1").json()
    assert champion["stations_named"] == ["s1", "s2"] and champion["rollouts"] == [[2, "DONE"]]
    assert ("rollout 2", "stations") in {tuple(edge) for edge in champion["edges"]}
    assert any("s1" in why and "runs it" in why for why in champion["needed"])


def test_a_report_can_load_and_run_nothing(client: httpx.Client) -> None:
    answer = client.get("/v1/versions/v1/report")
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "sandbox" in policy and "script" not in policy
    assert "Gate report" in answer.text and HOSTILE not in answer.text
    own = {"sec-fetch-site": "same-origin", "authorization": "", "cookie": "plumbline_session=viewer"}
    assert client.get("/v1/versions/v1/report", headers=own).status_code == 200
    assert client.get("/v1/versions/v1/report", headers=own | {"sec-fetch-site": "cross-site"}).status_code == 401
    assert client.get("/v1/versions/v1/report", headers={"authorization": ""}).status_code == 401


def test_a_retired_version_is_not_rolled_out_and_the_answer_names_who_and_why(
    client: httpx.Client, plant: ModelsPlant
) -> None:
    answer = client.post("/v1/versions/candidate/retire", json={"reason": "it misses dents"})
    assert answer.json() == {"version": "v2", "stage": "RETIRED"}
    refused = client.post("/v1/rollouts", json={"version": "v2"})
    assert refused.status_code == 409
    assert "version 'v2' was retired by releaser anna: it misses dents" in refused.json()["detail"]
    assert all(each.version != "v2" for each in plant.tables.rollouts.all())
    again = client.post("/v1/versions/v2/retire", json={"reason": "twice"})
    assert again.status_code == 409 and "RETIRED" in again.json()["detail"]
    assert client.post("/v1/versions/v2/unretire", json={"reason": "it was the lens"}).json()["stage"] == "CANDIDATE"
    assert client.post("/v1/rollouts", json={"version": "v2"}).status_code == 201


def test_what_stations_may_go_back_to_is_retired_only_with_a_reason_why_that_is_safe(client: httpx.Client) -> None:
    kept = client.post("/v1/versions/champion/retire", json={"reason": "no"})
    assert kept.status_code == 409 and "CHAMPION" in kept.json()["detail"]
    client.put("/v1/aliases/champion", json={"version": "v0", "reason": "v1 is worse", "was": "v1"})
    needed = client.post("/v1/versions/v1/retire", json={"reason": "no"})
    assert needed.status_code == 409 and "s1, s2: runs it" in needed.json()["detail"]
    safe = client.post("/v1/versions/v1/retire", json={"reason": "no", "safe": "both are being replaced"})
    assert safe.json() == {"version": "v1", "stage": "RETIRED"}


def test_aliases_move_for_who_saw_what_they_meant(client: httpx.Client, plant: ModelsPlant) -> None:
    made = client.put("/v1/aliases/line-3", json={"version": "champion", "reason": "dusty", "was": ""})
    assert (made.status_code, made.json()["version"], made.json()["actor"]) == (200, "v1", "releaser anna")
    stale = client.put("/v1/aliases/line-3", json={"version": "v0", "was": ""})
    assert stale.status_code == 409 and "means 'v1' by now" in stale.json()["detail"]
    assert client.get("/v1/versions/line-3").json()["version"] == "v1"
    assert client.delete("/v1/aliases/line-3", params={"reason": "done"}).status_code == 204
    assert client.delete("/v1/aliases/line-3").status_code == 404
    assert [each["alias"] for each in client.get("/v1/aliases").json()] == ["candidate", "champion"]


@pytest.mark.parametrize("role", ["viewer", "engineer", "inspector"])
def test_who_may_not_release_changes_nothing(client: httpx.Client, role: str, plant: ModelsPlant) -> None:
    before = plant.tables.audit.entries()
    for method, path, body in (
        ("POST", "/v1/versions/v2/retire", {"reason": "no"}),
        ("POST", "/v1/versions/v2/unretire", {"reason": "no"}),
        ("PUT", "/v1/aliases/champion", {"version": "v0"}),
        ("DELETE", "/v1/aliases/candidate", None),
    ):
        assert client.request(method, path, json=body, headers=by(role)).status_code == 403, path
    assert plant.tables.audit.entries() == before


def test_what_cannot_be_used_is_said(client: httpx.Client) -> None:
    assert client.get("/v1/versions/v9").status_code == 404
    assert client.get("/v1/versions/%2e%2e%2fsecret").status_code in (404, 422)
    assert client.post("/v1/versions/v2/retire", json={"reason": ""}).status_code == 422
    assert client.put("/v1/aliases/v1", json={"version": "v2"}).status_code == 409
    assert client.put("/v1/aliases/Line3", json={"version": "v2"}).status_code == 422


def test_datasets_are_told_and_compared_by_name_alone(client: httpx.Client, plant: ModelsPlant) -> None:
    found = client.get("/v1/datasets").json()
    assert [(each["name"], each["images"], each["latest"]) for each in found] == [
        ("tiles", 5, False),
        ("tiles", 6, True),
    ]
    assert client.get("/v1/datasets/tiles").json()["id"] == found[1]["id"]
    diff = client.get("/v1/datasets/diff", params={"before": f"tiles@{found[0]['id'][:4]}", "after": "tiles"}).json()
    assert diff["counts"]["added"] == 1 and diff["same"] == 5 and diff["added"][0]["after"] == "good"
    path = str(plant.home / "runs" / "v1" / "dataset.json")
    assert client.get("/v1/datasets/diff", params={"before": path, "after": "tiles"}).status_code == 422
    assert client.get("/v1/datasets/tiles@ffff").status_code == 404
    learnt = client.get("/v1/versions/v2/dataset").json()
    assert learnt["labellers"][HOSTILE] == 1 and learnt["labels"]["scratch"]["train"] == 3
    assert str(plant.home) not in client.get("/v1/datasets").text


def test_every_route_has_its_words_and_an_example_in_the_openapi(client: httpx.Client) -> None:
    paths = client.get("/v1/openapi.json").json()["paths"]
    mine = {(path, method): op for path, ops in paths.items() for method, op in ops.items()
            if path.startswith(("/v1/versions", "/v1/aliases", "/v1/datasets"))}  # fmt: skip
    assert len(mine) == 12 and all(
        op["summary"] and {"401", "404", "409"} <= set(op["responses"]) for op in mine.values()
    )
