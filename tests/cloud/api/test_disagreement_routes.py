"""Two inspectors over HTTP: what each is shown, and who may settle what they disagree on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.cloud.api.conftest import INSPECTOR, OPERATOR, Api
from tests.fakes.cloud_tables import T0


@pytest.fixture
def waiting(api: Api, png: Callable[..., bytes]) -> Api:
    """x0 and x1 wait for a label."""
    api.tables.samples.mark_requested(["x0", "x1"], 1, T0)
    for name in ("x0", "x1"):
        api.post(f"/v1/samples/s1/{name}", "token of s1", content=png())
    return api


def give(api: Api, label: str, labeller: str, token: str = INSPECTOR, **more: Any) -> tuple[int, Any]:
    answer = api.post("/v1/review/x0", token, json={"label": label, "labeller": labeller, **more})
    return answer.status_code, answer.json()


def queue(api: Api, who: str = "") -> dict[str, str]:
    found = api.get(f"/v1/review/queue?labeller={who}", INSPECTOR).json()
    assert found["waiting"] == len(found["items"])
    return {item["sample"]: item["why"] for item in found["items"]}


def test_what_two_disagree_on_comes_back_to_a_third_who_is_not_told_who_said_what(waiting: Api) -> None:
    assert give(waiting, "good", "ann") == (200, {"sample": "x0", "label": "good"})
    assert list(queue(waiting)) == ["x1"]
    assert give(waiting, "scratch", "bob") == (200, {"sample": "x0", "label": "scratch"})
    assert queue(waiting)["x0"] == queue(waiting, "eva")["x0"] == "two people disagree"
    assert list(queue(waiting, "ann")) == list(queue(waiting, "bob")) == ["x1"]
    assert "ann" not in waiting.get("/v1/review/queue?labeller=eva", INSPECTOR).text
    assert waiting.get("/v1/fleet").json()["review"] == {"waiting": 2, "labelled": 0}
    give(waiting, "scratch", "eva")
    assert list(queue(waiting)) == ["x1"] and waiting.tables.samples.get("x0").truth == "scratch"


def test_only_an_operator_settles_a_dispute(waiting: Api) -> None:
    give(waiting, "good", "ann")
    give(waiting, "scratch", "bob")
    code, answer = give(waiting, "good", "eva", resolve=True)
    assert code == 403 and "must be engineer or admin" in answer["detail"]
    assert waiting.tables.samples.get("x0").truth is None
    assert give(waiting, "good", "eva", OPERATOR, resolve=True)[0] == 200
    assert waiting.tables.samples.get("x0").truth == "good" and list(queue(waiting)) == ["x1"]


def test_how_often_labellers_agree(waiting: Api) -> None:
    give(waiting, "good", "ann")
    give(waiting, "scratch", "bob")
    found = waiting.get("/v1/review/agreement", INSPECTOR).json()
    assert (found["images"], found["agreed"], found["raw"], found["kappa"]) == (1, 0, 0.0, 0.0)
    assert [(each["labeller"], each["images"]) for each in found["labellers"]] == [("ann", 1), ("bob", 1)]
    assert [(pair["first"], pair["second"]) for pair in found["pairs"]] == [("ann", "bob")]
    assert waiting.get("/v1/review/agreement", None).status_code == 401
    assert waiting.get(f"/v1/review/queue?labeller={'e' * 121}", INSPECTOR).status_code == 422
