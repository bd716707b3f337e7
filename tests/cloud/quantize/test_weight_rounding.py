from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from cloud.quantize.int8 import quantize_int8
from cloud.quantize.ranges import Calibration
from cloud.quantize.weight_rounding import round_keeping_sums, round_near

WEIGHTS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    elements=st.floats(-8, 8, width=32),
)


@settings(max_examples=200, deadline=None)
@given(WEIGHTS, st.sampled_from([64, 127]))
def test_rounded_weights_lie_on_the_grid_near_where_they_were_and_each_kernel_keeps_its_sum(
    weights: np.ndarray, steps: int
) -> None:
    rounded = round_keeping_sums(weights, steps)
    step = np.abs(weights.astype(np.float64)).max(axis=(1, 2, 3), keepdims=True) / steps
    slack = 1e-4 * step + 1e-30
    in_steps = np.divide(rounded, step, out=np.zeros(weights.shape), where=step > 1e-30)
    assert np.abs(in_steps - np.rint(in_steps)).max() < 1e-2
    assert (np.abs(rounded - weights) <= step * 1.01 + slack).all()
    sums = np.abs((rounded - weights).sum(axis=(2, 3)))
    assert (sums <= step[:, :, 0, 0] * 0.52 + slack[:, :, 0, 0]).all()


@settings(max_examples=100, deadline=None)
@given(WEIGHTS)
def test_rounding_twice_is_rounding_once(weights: np.ndarray) -> None:
    once = round_keeping_sums(weights, 64)
    assert np.allclose(round_keeping_sums(once, 64), once, rtol=1e-5, atol=1e-30)


def grain_model(path: Path) -> None:
    """64 kernels that look for grain: each sums to nothing, so a plain wall of any brightness answers nothing."""
    kernels = np.random.default_rng(3).normal(size=(64, 1, 3, 3)).astype(np.float32)
    kernels -= kernels.mean(axis=(2, 3), keepdims=True)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "kernels", "bias"], ["grain"], kernel_shape=[3, 3])],
        "grain",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 16, 16])],
        [helper.make_tensor_value_info("grain", TensorProto.FLOAT, [1, 64, 14, 14])],
        [numpy_helper.from_array(kernels, "kernels"), numpy_helper.from_array(np.zeros(64, np.float32), "bias")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def test_brightness_does_not_leak_through_quantized_kernels_that_look_for_grain(tmp_path: Path) -> None:
    grain_model(tmp_path / "fp32.onnx")
    rng = np.random.default_rng(1)
    walls = [(v + 0.02 * rng.normal(size=(1, 1, 16, 16))).astype(np.float32) for v in np.linspace(-2, 2, 8)]
    quantize_int8(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", walls, Calibration.MINMAX)
    session = onnxruntime.InferenceSession(str(tmp_path / "int8.onnx"), providers=["CPUExecutionProvider"])
    answer = session.run(None, {"image": np.full((1, 1, 16, 16), 2.0, np.float32)})[0]
    # Each weight rounded by itself leaks 0.1 here.
    assert np.abs(answer).max() < 0.01


def codes_of(weights: np.ndarray) -> np.ndarray:
    step = np.abs(weights.astype(np.float64)).max(axis=(1, 2, 3), keepdims=True) / 64
    return np.rint(round_keeping_sums(weights, 64) / np.where(step > 0, step, 1)).astype(np.int8)


@settings(max_examples=200, deadline=None)
@given(st.data(), arrays.arrays(np.float32, st.tuples(*[st.integers(1, 3)] * 4), elements=st.floats(-8, 8, width=32)))
def test_weights_rounded_beside_any_parent_lie_on_the_grid_near_where_they_were_and_each_kernel_keeps_its_sum(
    data: st.DataObject, weights: np.ndarray
) -> None:
    codes = data.draw(arrays.arrays(np.int8, weights.shape, elements=st.integers(-64, 64)))
    rounded, step = round_near(weights, codes, 64)
    wide = step.astype(np.float64)[:, None, None, None]
    slack = 1e-4 * wide + 1e-30
    in_steps = np.where(wide > 1e-30, rounded / wide, 0)
    assert np.abs(in_steps - np.rint(in_steps)).max() < 1e-2 and np.abs(in_steps).max() < 64.01
    assert (np.abs(rounded - weights) <= 2 * wide + slack).all()
    assert (np.abs((rounded - weights).sum(axis=(2, 3))) <= (0.61 * wide + slack)[:, :, 0, 0]).all()
    largest = np.abs(weights.astype(np.float64)).max(axis=(1, 2, 3))
    assert (step[largest > 0] <= 1.26 * largest[largest > 0] / 64 + 1e-30).all() and (step > 0).all()


def test_weights_that_training_left_alone_keep_their_codes_whatever_batch_norm_does_to_their_channel() -> None:
    rng = np.random.default_rng(7)
    parent = rng.normal(size=(16, 8, 3, 3)).astype(np.float32)
    codes = codes_of(parent)
    child = parent * rng.uniform(0.3, 3, size=(16, 1, 1, 1)).astype(np.float32)
    assert (codes_of_near(child, codes) == codes).mean() > 0.999

    moved = rng.random(parent.shape) < 0.1
    child[moved] *= rng.uniform(-0.5, 0.9, size=int(moved.sum())).astype(np.float32)
    kept = (codes_of_near(child, codes) == codes)[~moved].mean()
    assert kept > 0.98 > (codes_of(child) == codes)[~moved].mean()


def codes_of_near(weights: np.ndarray, codes: np.ndarray) -> np.ndarray:
    rounded, step = round_near(weights, codes, 64)
    return np.rint(rounded / step[:, None, None, None]).astype(np.int8)
