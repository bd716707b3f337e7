"""Drift over HTTP: who is alarmed, evidence over time, and a retrain because a person says so."""

from __future__ import annotations

from cloud.drift.trace import TracePoint
from cloud.ports.records import Cursor
from tests.cloud.api.conftest import INSPECTOR, Api
from tests.fakes.cloud_tables import T0


def test_who_is_alarmed_and_who_enrols_in_one_answer(api: Api) -> None:
    found = api.get("/v1/drift").json()
    assert found == {
        "watched": 3, "alarmed": ["s2/left"], "alarmed_in_all": 1, "enrolling": ["s1"], "enrolling_in_all": 1,
        "shared": {"fleet": ["s2/left"]},
    }  # fmt: skip
    assert api.get("/v1/drift", INSPECTOR).status_code == 403 and api.get("/v1/drift", None).status_code == 401
    assert api.get("/v1/drift?limit=0").status_code == 422


def test_evidence_over_time_has_what_is_stored_and_what_is_not_yet(api: Api) -> None:
    stored = [TracePoint(int(T0) - 60, 0.5, 0.5, 0.25), TracePoint(int(T0), 1.0, 1.0, 1.0)]
    api.tables.alarms.commit(Cursor(0, 1, 1), {}, [], [], points={"s2/left": stored})
    found = api.get("/v1/drift/s2/trace?camera=left").json()
    assert found["threshold_log10"] == 3.5
    assert found["points"] == [
        {"at": int(T0) - 60, "held": 0.5, "inputs": 0.5, "outputs": 0.25},
        {"at": int(T0), "held": 3.5, "inputs": 4.0, "outputs": None},
    ]
    assert api.get("/v1/drift/s1/trace").json()["points"] == []
    assert api.get("/v1/drift/nobody/trace").status_code == 404


def test_an_engineer_starts_a_retrain_with_a_reason(api: Api) -> None:
    answer = api.post("/v1/alarms/7/retrain", json={"reason": "the new part is here to stay"})
    assert (answer.status_code, answer.json()) == (202, {"retrain": 3})
    assert api.drift.asked == [("retrain of 7", "operator", "the new part is here to stay")]
    assert api.post("/v1/alarms/8/retrain", json={"reason": "why not"}).status_code == 404
    assert api.post("/v1/alarms/7/retrain", INSPECTOR, json={"reason": "x"}).status_code == 403
    for body in ({}, {"reason": ""}, {"reason": "a\0b"}):
        assert api.post("/v1/alarms/7/retrain", json=body).status_code == 422
