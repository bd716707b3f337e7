"""A decision shows the second opinion that came later beside its verdict, never in its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.api.decisions import Decisions
from agent.api.exchange import Request
from agent.api.provenance import Manifests
from agent.api.routes import Routes
from agent.decide.opinions import Gone
from agent.ports.local_view import Judged
from agent.ports.opinions import Opinion
from agent.ports.slots import InstalledBundle
from agent.store.database import FILE_NAME, open_read_only
from contract.decode import Prediction
from contract.messages import Verdict
from tests.agent.opinions_plant import OpinionsPlant
from tests.fakes.agent_clock import HandClock
from tests.tiny_bundle import LABELS


class View:
    station, simulated = "s1", False

    def status(self) -> Mapping[str, Any]:
        return {}

    def in_charge(self) -> InstalledBundle | None:
        return None

    def why_unhealthy(self) -> str:
        return ""

    def uplink_trouble(self) -> str:
        return ""

    def controller_trouble(self) -> str:
        return ""

    def metrics(self) -> str:
        return ""


class NoJudge:
    def judge(self, bundle: InstalledBundle, image: bytes) -> Judged:
        raise AssertionError("nobody sent an image")

    def close(self) -> None:
        pass


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[OpinionsPlant]:
    made = OpinionsPlant(tmp_path)
    yield made
    made.close()


def decision(plant: OpinionsPlant, row_id: int) -> dict[str, Any]:
    clock = HandClock()
    decisions = Decisions(lambda: open_read_only(plant.folder / FILE_NAME), clock)
    routes = Routes(View(), decisions, Manifests(plant.folder / "manifests", clock), NoJudge(), lambda: False)
    answer = routes.answer(Request("GET", f"/v1/decisions/{row_id}", "", b""))
    assert answer.code == 200
    found: dict[str, Any] = json.loads(answer.body)
    return found


def test_a_later_opinion_stands_beside_the_verdict(plant: OpinionsPlant) -> None:
    plant.plain_frame()
    plant.frame("x")
    plant.commit()
    assert decision(plant, 1)["second_opinion"] is None
    assert decision(plant, 2)["second_opinion"] == {
        "state": "waiting", "sample": "x", "queued_at": 1_000.0, "tries": 0,
    }  # fmt: skip
    waiting = plant.queue.next_due(2_000.0)
    assert waiting is not None
    said = Opinion(Prediction(1, LABELS[1], 0.97, 0.03), Verdict.REJECT, False, "large fp32")
    plant.queue.answered(waiting, said, 5_000.0)
    found = decision(plant, 2)
    assert found["second_opinion"] == {
        "state": "answered", "sample": "x", "queued_at": 1_000.0, "tries": 0, "verdict": "REJECT", "label": "scratch",
        "confidence": 0.97, "good": 0.03, "agreed": False, "model": "large fp32", "ended_at": 5_000.0,
    }  # fmt: skip
    assert (found["verdict"], found["cause"], found["label"], found["cloud_answer"]) == (
        "REVIEW", "unsure", "good", False,
    )  # fmt: skip


def test_an_opinion_that_never_came_says_why(plant: OpinionsPlant) -> None:
    plant.frame("x")
    plant.commit()
    waiting = plant.queue.next_due(2_000.0)
    assert waiting is not None
    plant.queue.gone(waiting, Gone.REFUSED, "413: too large", 5_000.0)
    shown = decision(plant, 1)["second_opinion"]
    assert (shown["state"], shown["gone"], shown["detail"]) == ("gone", "refused", "413: too large")
    assert "verdict" not in shown
