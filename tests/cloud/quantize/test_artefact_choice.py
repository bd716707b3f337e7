from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.quantize.choice import Contestant, allowed_drop, choose_winner

FP32 = Contestant("fp32.onnx", 0.98, 10.0, 400)


def _winner(*others: Contestant, max_drop: float = 0.01) -> str:
    return choose_winner([FP32, *others], FP32, max_drop).file


def test_fastest_that_keeps_the_accuracy_wins_and_the_smaller_among_equals() -> None:
    int8, fp16 = Contestant("int8.onnx", 0.975, 4.0, 100), Contestant("fp16.onnx", 0.98, 4.4, 200)
    assert _winner(int8, fp16) == "int8.onnx"
    assert _winner(Contestant("int8.onnx", 0.96, 4.0, 100), fp16) == "fp16.onnx", "2 points are too many"
    assert _winner(Contestant("int8.onnx", 0.98, 12.0, 100)) == "int8.onnx", "a fifth slower is as fast, and smaller"
    assert _winner(Contestant("int8.onnx", 0.98, 20.0, 100)) == "fp32.onnx"


def test_a_loss_of_exactly_the_allowed_share_passes_and_tensorrts_artefact_never_wins() -> None:
    assert _winner(Contestant("int8.onnx", 0.97, 4.0, 100)) == "int8.onnx"
    assert _winner(Contestant("int8.s8s8.onnx", 0.98, 1.0, 100, for_cpu=False)) == "fp32.onnx"


CONTESTANTS = st.builds(
    Contestant,
    st.sampled_from(["a", "b", "c"]),
    st.floats(0, 1),
    st.floats(0.01, 100),
    st.integers(1, 10_000),
    st.booleans(),
)


@given(st.lists(CONTESTANTS, max_size=5), st.floats(0, 1))
def test_winner_passes_and_is_never_much_slower_than_another_that_does(others: list[Contestant], drop: float) -> None:
    won = choose_winner([FP32, *others], FP32, drop)
    assert won.for_cpu and won.passes(FP32.accuracy, drop)
    able = [each for each in (FP32, *others) if each.for_cpu and each.passes(FP32.accuracy, drop)]
    fastest = min(each.latency_ms for each in able)
    assert won.latency_ms <= max(1.25 * fastest, fastest + 0.3)


@pytest.mark.parametrize(
    ("max_drop", "images", "allowed"), [(0.01, 40, 1 / 40), (0.01, 400, 0.01), (0.0, 40, 0.0), (0.01, 0, 0.01)]
)
def test_one_image_of_a_few_may_be_lost_unless_none_may(max_drop: float, images: int, allowed: float) -> None:
    assert allowed_drop(max_drop, images) == allowed
