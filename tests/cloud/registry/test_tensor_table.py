"""The tensor table points at the bytes of a model's constants, whatever wrote the model."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from cloud.registry.tensor_table import MIN_TENSOR_BYTES, tensors_of
from contract.errors import NotFound
from contract.manifest import RuntimeKind
from tests.tiny_bundle import model_bytes


def _onnx(arrays: dict[str, np.ndarray]) -> bytes:
    graph = helper.make_graph(
        [],
        "g",
        [],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph).SerializeToString()


def test_each_initializer_is_read_back_from_its_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    arrays = {
        "w": rng.integers(-128, 127, (3, 5, 7), np.int8),
        "b": rng.integers(0, 1 << 30, 40, np.int32),
        "half": rng.random((10, 9)).astype(np.float16),
        "scale": rng.random(64).astype(np.float32),
    }
    path = tmp_path / "m.onnx"
    path.write_bytes(_onnx(arrays))
    found = tensors_of(path, "m.onnx", RuntimeKind.ONNX)
    assert [tensor.name for tensor in found] == list(arrays)
    data = path.read_bytes()
    for tensor in found:
        array = arrays[tensor.name]
        assert (tensor.file, tensor.dtype, tensor.shape) == ("m.onnx", str(array.dtype), array.shape)
        assert data[tensor.offset : tensor.offset + tensor.size_bytes] == array.tobytes()


def test_tensors_too_small_to_be_worth_a_row_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(_onnx({"zero": np.zeros((), np.int8), "w": np.zeros(MIN_TENSOR_BYTES, np.int8)}))
    assert [tensor.name for tensor in tensors_of(path, "m.onnx", RuntimeKind.ONNX)] == ["w"]


def test_constants_of_a_tflite_model_are_read_back_from_their_place(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(_tflite())
    (weights,) = tensors_of(path, "m.tflite", RuntimeKind.TFLITE)
    assert (weights.name, weights.dtype, weights.shape) == ("weights", "float32", (2, 64))
    values = np.frombuffer(path.read_bytes(), np.float32, 128, weights.offset).reshape(2, 64)
    assert (values[0] == np.float32(20.0 / 64)).all() and (values[1] == -np.float32(20.0 / 64)).all()


def test_what_is_no_model_has_no_table_and_what_is_no_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "m"
    for content in (b"", b"\x00", b"not a model", b"\xff" * 100, struct.pack("<I", 8) + b"TFL3" + b"\xff" * 40):
        path.write_bytes(content)
        for runtime in RuntimeKind:
            assert tensors_of(path, "m", runtime) == ()
    with pytest.raises(NotFound):
        tensors_of(tmp_path / "absent", "absent", RuntimeKind.ONNX)


@pytest.mark.parametrize("runtime", RuntimeKind)
@given(data=st.data())
def test_a_damaged_model_gives_a_table_that_stays_within_its_file(
    runtime: RuntimeKind, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = model_bytes() if runtime is RuntimeKind.ONNX else _tflite()
    damaged = bytearray(whole)
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=6)):
        damaged[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("m") / "m"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    end = 0
    for tensor in tensors_of(path, "m", runtime):
        assert tensor.offset >= end and tensor.size_bytes >= MIN_TENSOR_BYTES
        end = tensor.offset + tensor.size_bytes
    assert end <= path.stat().st_size


def _tflite() -> bytes:
    pytest.importorskip("ai_edge_litert")
    from tests.tiny_tflite import tflite_bytes

    return tflite_bytes()
