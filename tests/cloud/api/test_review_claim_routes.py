"""Over HTTP: in whose name a label is, taking it back, who has a part before them, several labels, and what an engineer sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cloud.store.review_claims import LEASE_S
from tests.cloud.api.conftest import ANN, INSPECTOR, OPERATOR, Api
from tests.fakes.cloud_tables import T0


@pytest.fixture
def waiting(api: Api, png: Callable[..., bytes]) -> Api:
    api.tables.samples.mark_requested(["x0", "x1"], 1, T0)
    for name in ("x0", "x1"):
        api.post(f"/v1/samples/s1/{name}", "token of s1", content=png())
    return api


def say(api: Api, path: str, token: str = ANN, **body: Any) -> tuple[int, Any]:
    answer = api.post(f"/v1/review/{path}", token, json=body)
    return answer.status_code, answer.json() if answer.content else None


def test_who_has_a_token_of_their_own_labels_in_their_own_name(waiting: Api) -> None:
    assert say(waiting, "x0", label="good")[0] == 200
    assert waiting.tables.samples.get("x0").labeller == "ann"
    assert [e.actor for e in waiting.tables.audit.entries()] == ["ann"]
    code, answer = say(waiting, "x1", label="good", labeller="bob")
    assert code == 422 and "this token is ann's" in answer["detail"]
    assert say(waiting, "x1", label="good", labeller="ann")[0] == 200
    code, answer = say(waiting, "x1", INSPECTOR, label="good")
    assert code == 422 and "say who you are" in answer["detail"]
    assert waiting.get("/v1/review/queue?labeller=bob", ANN).status_code == 422
    assert waiting.get("/v1/review/queue", ANN).json()["waiting"] == 0


def test_a_label_is_taken_back_by_who_gave_it(waiting: Api) -> None:
    say(waiting, "x0", label="scratch")
    assert say(waiting, "x0/undo", INSPECTOR, labeller="bob")[0] == 409
    assert say(waiting, "x0/undo") == (200, {"sample": "x0", "taken_back": "scratch"})
    assert say(waiting, "x0/undo")[0] == 409 and say(waiting, "nothing/undo")[0] == 404
    assert waiting.tables.samples.get("x0").truth is None
    assert [i["sample"] for i in waiting.get("/v1/review/queue", ANN).json()["items"]] == ["x0", "x1"]
    assert waiting.get("/v1/review/x0/looked", ANN).status_code == 409


def test_a_part_is_before_one_inspector_at_a_time(waiting: Api) -> None:
    assert say(waiting, "x0/claim") == (200, {"sample": "x0", "until": T0 + 100 + LEASE_S})
    code, answer = say(waiting, "x0/claim", INSPECTOR, labeller="bob")
    assert code == 409 and "ann has it before them" in answer["detail"]
    assert say(waiting, "x0/release") == (204, None)
    assert say(waiting, "x0/claim", INSPECTOR, labeller="bob")[0] == 200
    assert say(waiting, "nothing/claim")[0] == 404 and say(waiting, "x0/claim", "wrong")[0] == 401


def test_several_labels_are_taken_where_they_do_not_exclude_each_other(waiting: Api) -> None:
    assert say(waiting, "x0", label="scratch;good")[0] == 422
    waiting.labels.append("dent")
    assert waiting.get("/v1/review/queue", ANN).json()["several"] is True
    assert say(waiting, "x0", label="dent;scratch") == (200, {"sample": "x0", "label": "scratch;dent"})
    code, answer = say(waiting, "x1", label="good;dent")
    assert code == 422 and "is good and has a defect" in answer["detail"]


def test_who_said_what_of_a_disputed_part_is_for_who_settles_it_with_a_reason(waiting: Api) -> None:
    say(waiting, "x0", label="good")
    say(waiting, "x0", INSPECTOR, label="scratch", labeller="bob")
    assert waiting.get("/v1/review/disputes", ANN).status_code == 403
    (found,) = waiting.get("/v1/review/disputes", OPERATOR).json()
    assert [(act["labeller"], act["label"]) for act in found["said"]] == [("ann", "good"), ("bob", "scratch")]
    assert say(waiting, "x0", OPERATOR, label="good", labeller="eva", resolve=True, reason="it is dust")[0] == 200
    assert waiting.get("/v1/review/disputes", OPERATOR).json() == []
    assert waiting.tables.audit.entries()[-1].detail == "x0: good (it is dust)"


def test_nobody_labels_in_the_name_of_what_policy_does(waiting: Api) -> None:
    for name in ("plumbline", "Plumbline"):
        code, answer = say(waiting, "x0", INSPECTOR, label="good", labeller=name)
        assert code == 422 and "say who you are" in answer["detail"]
    assert waiting.tables.audit.entries() == []
