"""Who may do what over HTTP."""

from __future__ import annotations

import base64
from collections.abc import Callable

from tests.cloud.api.conftest import INSPECTOR, OPERATOR, Api

OPERATORS = ["/v1/fleet", "/v1/alarms", "/v1/retrains", "/v1/drift/s1", "/v1/rollouts", "/v1/audit"]


def test_the_operators_routes_open_to_the_operator_alone(api: Api) -> None:
    assert {api.get(path, OPERATOR).status_code for path in OPERATORS} == {200}
    for token in (None, "wrong", "token of s1", OPERATOR + "x"):
        for path in OPERATORS:
            answer = api.get(path, token)
            assert answer.status_code == 401 and "plumbline-cloud token add" in answer.json()["detail"]
    for path in OPERATORS:
        answer = api.get(path, INSPECTOR)
        assert answer.status_code == 403 and "viewer, engineer, releaser, admin" in answer.json()["detail"]


def test_writing_routes_ask_for_the_token_too(api: Api) -> None:
    for path, body in (
        ("/v1/rollouts", {"version": "v1"}),
        ("/v1/rollouts/1/abort", {"reason": "x"}),
        ("/v1/drift/s1/re-enrol", {"reason": "x"}),
    ):
        assert api.post(path, INSPECTOR, json=body).status_code == 403
        assert api.post(path, None, json=body).status_code == 401
    assert api.tables.rollouts.all() == [] and api.drift.asked == []


def test_the_review_routes_open_to_inspector_and_operator(api: Api) -> None:
    assert [api.get("/v1/review/queue", token).status_code for token in (INSPECTOR, OPERATOR)] == [200, 200]
    assert [api.get("/v1/review/queue", token).status_code for token in (None, "token of s1", INSPECTOR[:-1])] == [
        401
    ] * 3
    assert api.post("/v1/review/x1", "wrong", json={"label": "good", "labeller": "eva"}).status_code == 401
    assert api.tables.samples.get("x1").truth is None


def test_a_token_in_another_scheme_is_no_token(api: Api) -> None:
    basic = base64.b64encode(f"operator:{OPERATOR}".encode()).decode()
    for value in (OPERATOR, f"Basic {basic}", f"Token {OPERATOR}", "Bearer"):
        assert api.get("/v1/fleet", None, headers={"Authorization": value}).status_code == 401
    assert api.get("/v1/fleet", None, headers={"Authorization": f"bearer   {OPERATOR}"}).status_code == 200


def test_a_station_is_let_through_on_its_own_paths_only(api: Api, png: Callable[..., bytes]) -> None:
    bundle = {"X-Plumbline-Bundle": "d" * 64}
    for token, code in (("token of s1", 200), ("token of s2", 401), (None, 401), ("x", 401), (OPERATOR, 401)):
        assert api.post("/v1/fallback/s1", token, content=png(), headers=dict(bundle)).status_code == code
    api.tables.samples.mark_requested(["x1"], 1, 1.0)
    for token in ("token of s2", None, OPERATOR):
        assert api.post("/v1/samples/s1/x1", token, content=png()).status_code == 401
    assert api.post("/v1/fallback/unknown", "token of s1", content=png()).status_code == 401
