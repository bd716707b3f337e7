from __future__ import annotations

import json

import pytest

from cloud.slo.retrain_cost import RetrainCost, retrain_cost


def figures(before: int, after: int, device: str = "cpu") -> str:
    card = {"artefact": "int8.onnx", "drift": {"images": 50, "correct": after}}
    train = {"seconds": 90.0, "device": device, "world_size": 2, "steps": 400}
    gate = {"card": card, "incumbent_card": {"drift": {"images": 50, "correct": before}}, "passed": True}
    return json.dumps({"labels": 120, "train": train, "gate": gate})


def test_a_retrain_costs_minutes_for_each_point_it_wins_back() -> None:
    cost = retrain_cost(figures(20, 45))
    assert cost == RetrainCost(0.0, 3.0, 120, pytest.approx(50.0))  # type: ignore[arg-type]
    assert cost.minutes_per_point == pytest.approx(0.06)
    assert retrain_cost(figures(20, 45, "cuda:0")).gpu_minutes == 3.0
    assert retrain_cost(figures(45, 20)).minutes_per_point is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"labels": 3, "trouble": "no room"}', '{"train": {"seconds": "x"}}'])
def test_figures_of_what_failed_or_of_another_version_say_less(text: str) -> None:
    cost = retrain_cost(text)
    assert (cost.gpu_minutes, cost.cpu_minutes, cost.points, cost.minutes_per_point) == (0.0, 0.0, None, None)


def test_a_gate_without_drifted_images_tells_no_points() -> None:
    text = json.dumps({"gate": {"card": {"drift": None}, "incumbent_card": {"drift": {"images": 3, "correct": 1}}}})
    assert retrain_cost(text).points is None
