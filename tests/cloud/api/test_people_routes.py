"""What inspectors and operators do over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import pytest

from cloud.ports.alarms import Decided, Opened
from cloud.ports.batch import Batch
from cloud.ports.records import Cursor
from cloud.store.audit import AuditLog, ChainCheck
from contract.codec import encode_summary
from contract.messages import HealthNote
from tests.cloud.api.conftest import INSPECTOR, OPERATOR, Api
from tests.fakes.cloud_tables import T0, commit_batch, summary


@pytest.fixture
def waiting(api: Api, png: Callable[..., bytes]) -> Api:
    """x0 and x1 wait for a label; x2 was asked for and has not come."""
    api.tables.samples.mark_requested(["x0", "x1", "x2"], 1, T0)
    for name in ("x0", "x1"):
        api.post(f"/v1/samples/s1/{name}", "token of s1", content=png())
    return api


def test_the_queue_does_not_tell_what_the_model_answered(waiting: Api) -> None:
    queue = waiting.get("/v1/review/queue", INSPECTOR).json()
    assert (queue["waiting"], queue["labelled"], queue["labels"]) == (2, 0, ["good", "scratch"])
    assert [item["sample"] for item in queue["items"]] == ["x0", "x1"]
    assert set(queue["items"][0]) == {"sample", "station", "camera", "part", "captured_at", "reason", "why"}
    assert queue["items"][0]["why"].startswith("drawn at random")
    assert len(waiting.get("/v1/review/queue?limit=1", INSPECTOR).json()["items"]) == 1
    for limit in ("0", "-1", "501", "many"):
        assert waiting.get(f"/v1/review/queue?limit={limit}", INSPECTOR).status_code == 422


def test_the_pixels_are_those_that_the_station_sent(waiting: Api, png: Callable[..., bytes]) -> None:
    assert waiting.get("/v1/review/x0/image", INSPECTOR).content == png()
    for name in ("x2", "nothing"):
        assert waiting.get(f"/v1/review/{name}/image", INSPECTOR).status_code == 404


def test_a_label_is_stored_with_who_gave_it(waiting: Api) -> None:
    answer = waiting.post("/v1/review/x0", INSPECTOR, json={"label": "scratch", "labeller": "eva"})
    assert answer.json() == {"sample": "x0", "label": "scratch"}
    found = waiting.tables.samples.get("x0")
    assert (found.truth, found.labeller, found.labelled_at) == ("scratch", "eva", T0 + 100)
    assert waiting.get("/v1/review/queue", INSPECTOR).json()["waiting"] == 1


def test_a_label_that_is_none_changes_nothing(waiting: Api) -> None:
    bodies: list[Any] = [
        {"label": "dent", "labeller": "eva"},
        {"label": "", "labeller": "eva"},
        {"label": "good", "labeller": ""},
        {"label": "good"},
        {"label": "good", "labeller": "eva", "confidence": 1},
        {"label": ["good"], "labeller": "eva"},
        {"label": "good", "labeller": "e" * 121},
        "good",
    ]
    assert {waiting.post("/v1/review/x0", INSPECTOR, json=body).status_code for body in bodies} == {422}
    assert waiting.tables.samples.get("x0").truth is None


def test_an_unknown_label_is_told_which_there_are(waiting: Api) -> None:
    answer = waiting.post("/v1/review/x0", INSPECTOR, json={"label": "dent", "labeller": "eva"})
    assert answer.json()["detail"] == "'dent' is no label of the running model; use one of: good, scratch"
    assert waiting.post("/v1/review/none", INSPECTOR, json={"label": "good", "labeller": "eva"}).status_code == 404


def test_the_fleet_in_one_answer(waiting: Api) -> None:
    fleet = waiting.get("/v1/fleet").json()
    first, second = fleet["stations"]
    assert (first["station"], first["online"], first["totals"]["captured"]) == ("s1", True, 11)
    assert first["drift"]["sentence"] == "within the enrolled range" and second["totals"] is None
    assert first["drift"]["labels"] == {"sentence": "accuracy 0.95 (0.90 to 0.98) on 120 audit labels"}, (
        "the rest is long"
    )
    assert (fleet["review"], fleet["dead_letters"]) == ({"waiting": 2, "labelled": 0}, 0)


def test_a_rollout_is_started_listed_and_stopped(api: Api) -> None:
    started = api.post("/v1/rollouts", json={"version": "v1"})
    assert (started.status_code, started.json()) == (201, {"rollout": 1})
    again = api.post("/v1/rollouts", json={"version": "v1"})
    assert again.status_code == 409 and "rollout 1 is still under way" in again.json()["detail"]
    (listed,) = api.get("/v1/rollouts").json()
    assert (listed["version"], listed["state"]) == ("v1", "RUNNING")
    assert [(s["station"], s["state"]) for s in listed["stations"]] == [("s1", "PLANNED"), ("s2", "PLANNED")]
    assert api.post("/v1/rollouts/1/abort", json={"reason": "wrong lamp"}).status_code == 202
    assert api.post("/v1/rollouts/1/abort", json={"reason": "again"}).status_code == 409
    assert api.post("/v1/rollouts/9/abort", json={"reason": "x"}).status_code == 404
    assert api.get("/v1/rollouts").json()[0]["reason"] == "wrong lamp"


def test_a_station_is_ordered_to_stop_also_in_the_middle_of_a_rollout(api: Api) -> None:
    body = {"reason": "passes cracked parts"}
    assert api.post("/v1/stations/s2/stop", json=body).json() == {"station": "s2"}
    assert "no station 'nobody'" in api.post("/v1/stations/nobody/stop", json=body).json()["detail"]
    assert api.post("/v1/stations/s2/stop", json={"reason": ""}).status_code == 422
    entries = api.get("/v1/audit").json()["entries"]
    assert [(e["actor"], e["act"]) for e in entries if "cracked" in e["detail"]] == [("operator", "stop station")]
    api.post("/v1/rollouts", json={"version": "v1"})
    assert api.post("/v1/stations/s2/stop", json=body).status_code == 202
    (rollout,) = api.get("/v1/rollouts").json()
    assert {m["station"]: m["state"] for m in rollout["stations"]} == {"s1": "PLANNED", "s2": "SKIPPED"}


def test_a_rollout_request_that_is_none_is_422(api: Api) -> None:
    bodies: list[Any] = [{}, {"version": ""}, {"version": "v1", "force": True}, {"version": 7}, [], "v1"]
    assert {api.post("/v1/rollouts", json=body).status_code for body in bodies} == {422}
    assert api.tables.rollouts.all() == []


def test_an_unknown_version_is_404_and_a_reason_is_needed(api: Api) -> None:
    assert api.post("/v1/rollouts", json={"version": "v9"}).status_code == 404
    assert api.post("/v1/drift/s1/re-enrol", json={"reason": ""}).status_code == 422
    assert api.post("/v1/rollouts/x/abort", json={"reason": "x"}).status_code == 422


def test_drift_of_a_station_and_learning_it_anew(api: Api) -> None:
    assert api.get("/v1/drift/s1").json()["phase"] == "quiet"
    assert api.get("/v1/drift/s1").json()["labels"]["audit"] == {"labels": 120}
    assert api.post("/v1/drift/s1/re-enrol", json={"reason": "lamp replaced"}).status_code == 202
    assert api.drift.asked == [("s1", "operator", "lamp replaced")]
    for name in ("nobody", "S1", "%2e%2e"):
        answer = api.get(f"/v1/drift/{name}")
        assert answer.status_code in (404, 422) and "\n" not in answer.json()["detail"]


def test_a_station_with_several_cameras_is_shown_and_learnt_anew_camera_by_camera(api: Api) -> None:
    second = api.get("/v1/fleet").json()["stations"][1]
    assert second["drift"]["phase"] == "alarmed"
    assert [(c["camera"], c["phase"]) for c in second["cameras"]] == [("left", "alarmed"), ("", "quiet")]
    gravest = api.get("/v1/drift/s2").json()
    assert (gravest["station"], gravest["phase"]) == ("s2/left", "alarmed")
    assert gravest["cameras"] == [
        {"camera": "left", "phase": "alarmed", "sentence": "lens: fogged"},
        {"camera": "", "phase": "quiet", "sentence": "within the enrolled range"},
    ]
    assert api.get("/v1/drift/s2?camera=").json()["phase"] == "quiet"
    missing = api.get("/v1/drift/s2?camera=top")
    assert (missing.status_code, missing.json()["detail"]) == (
        404, "no camera 'top' has sent windows; there are: '' (the first), left",
    )  # fmt: skip
    anew = [{}, {"camera": "top"}, {"camera": "left"}, {"camera": ""}]
    codes = [api.post("/v1/drift/s2/re-enrol", json={"reason": "new lens", **each}).status_code for each in anew]
    assert codes == [422, 404, 202, 202]
    assert [series for series, *_ in api.drift.asked] == ["s2/left", "s2"]
    api.tables.alarms.commit(Cursor(0, 1, 1), {}, [Opened("s2/left", T0, T0, "frozen", "lens")], [])
    (alarm,) = api.get("/v1/alarms").json()
    assert (alarm["station"], alarm["camera"], alarm["series"]) == ("s2", "left", "s2/left")


def test_alarms_retrains_and_the_audit_log(api: Api) -> None:
    api.tables.alarms.commit(Cursor(0, 1, 1), {}, [Opened("s1", T0, T0, "frozen", "camera: the same frame")], [])
    api.tables.alarms.start_retrain(api.tables.alarms.open()[0], "accuracy 0.3", T0)
    assert api.get("/v1/alarms").json()[0]["sentence"] == "camera: the same frame"
    assert api.get("/v1/retrains").json()[0]["state"] == "queued"
    api.tables.alarms.note_decision(Decided("s2", T0, False, "schedule", "only 3 of 120 labels are there"))
    decided = api.get("/v1/retrains/decisions").json()
    assert [(d["series"], d["go"], d["trigger"], d["why"]) for d in decided] == [
        ("s1", True, "drift", "accuracy 0.3"), ("s2", False, "schedule", "only 3 of 120 labels are there"),
    ]  # fmt: skip
    log = api.get("/v1/audit").json()
    assert [e["act"] for e in log["entries"]] == ["drift alarm", "retrain"]
    check = api.get("/v1/audit/verify").json()
    assert check["intact"] and check["head"] == log["entries"][-1]["hash"]
    assert [e["act"] for e in api.get("/v1/audit?after=1").json()["entries"]] == ["retrain"]
    for bad in ("after=-1", f"after={2**70}", "limit=0", "limit=5001", "after=x"):
        assert api.get(f"/v1/audit?{bad}").status_code == 422


def test_an_audit_log_that_was_tampered_with_says_where(api: Api) -> None:
    for number in range(3):
        api.tables.audit.append(T0, "operator", "act", f"detail {number}")
    with api.tables.database.write() as connection:
        connection.exec_driver_sql("UPDATE audit SET actor = 'somebody else' WHERE id = 2")
    check = api.get("/v1/audit/verify").json()
    assert (check["first_broken"], check["intact"]) == (2, False) and check["sentence"].startswith("broken at entry 2")


def test_the_fleet_tells_how_its_stations_fare(api: Api) -> None:
    told = msgspec.structs.replace(summary("s1", 7), health=HealthNote(memory_mib=81.5, hottest_c=61.0, limit_c=95.0))
    commit_batch(api.tables, Batch(summaries=[(told, encode_summary(told))]), T0)
    health = {s["station"]: s["health"] for s in api.get("/v1/fleet").json()["stations"]}
    assert health["s2"] is None and (health["s1"]["memory_mib"], health["s1"]["hottest_c"]) == (81.5, 61.0)


def test_one_walk_along_the_chain_at_a_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    walking, over, check = threading.Event(), threading.Event(), AuditLog.check

    def slowly(log: AuditLog, witness: str = "") -> ChainCheck:
        walking.set()
        assert over.wait(60)
        return check(log, witness)

    monkeypatch.setattr(AuditLog, "check", slowly)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(httpx.get, f"{api.url}/v1/audit/verify", headers={"Authorization": f"Bearer {OPERATOR}"})
        assert walking.wait(60)
        second = api.get("/v1/audit/verify")
        over.set()
        assert second.status_code == 503 and "ask again" in second.json()["detail"] and "retry-after" in second.headers
        assert first.result().json()["intact"]
    assert api.get("/v1/audit/verify").json()["intact"], "and then the next"
