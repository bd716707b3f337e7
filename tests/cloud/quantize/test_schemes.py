from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cloud.quantize.artefact_runner import open_session
from cloud.quantize.debug_report import compare_tensors
from cloud.quantize.exclusion import search_exclusions
from cloud.quantize.float_tail import float_tail
from cloud.quantize.half import to_half
from cloud.quantize.int8 import prepare, quantize, quantize_int8, save_model
from cloud.quantize.ranges import Calibration, constant_tensors, measure_ranges
from cloud.quantize.scheme import Scheme
from contract.errors import BadModel
from tests.cloud.quantize.small_nets import images, write_net


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_net(tmp_path_factory.mktemp("nets") / "fp32.onnx")


def _run(file: Path) -> dict[str, np.ndarray]:
    session = open_session(file, threads=1)
    answers = session.run(None, {"images": np.concatenate(images(32, 5))})
    return {each.name: answer for each, answer in zip(session.get_outputs(), answers, strict=True)}


@pytest.mark.parametrize("scheme", list(Scheme))
def test_both_schemes_answer_nearly_as_full_precision_and_keep_further_outputs(
    fp32: Path, tmp_path: Path, scheme: Scheme
) -> None:
    for method in (Calibration.MINMAX, Calibration.PERCENTILE):
        quantize_int8(fp32, tmp_path / "int8.onnx", images(12), method, scheme=scheme)
        truth, mine = _run(fp32), _run(tmp_path / "int8.onnx")
        assert list(mine) == ["scores", "activation_map"]
        for name, expected in truth.items():
            assert mine[name].shape == expected.shape
            assert np.abs(mine[name] - expected).max() < 0.1 * np.ptp(expected)


def test_s8s8_is_what_tensorrt_takes(fp32: Path, tmp_path: Path) -> None:
    quantize_int8(fp32, tmp_path / "int8.onnx", images(12), Calibration.ENTROPY, scheme=Scheme.S8S8)
    model = onnx.load(str(tmp_path / "int8.onnx"))
    constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    assert model.opset_import[0].version >= 13
    rounding = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert rounding
    for node in rounding:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any()
    weights = [c for name, c in constants.items() if name.endswith("weight_quantized")]
    assert len(weights) == 4 and all(w.dtype == np.int8 for w in weights)
    assert max(np.abs(w.astype(int)).max() for w in weights) == 127
    assert constants["first.weight_scale"].shape == (4,), "a step a channel"
    # TensorRT refuses an int32 bias behind a DequantizeLinear.
    assert {constants[n.input[2]].dtype for n in model.graph.node if n.op_type == "Conv" and len(n.input) > 2} == {
        np.dtype(np.float32)
    }
    # What comes out of a convolution stays float until its ReLU is done.
    makers = {name: n.op_type for n in model.graph.node for name in n.output}
    assert "Conv" not in {makers.get(n.input[0]) for n in rounding if n.op_type == "QuantizeLinear"}


def test_last_steps_of_independent_labels_stay_in_full_precision(tmp_path: Path) -> None:
    fp32 = write_net(tmp_path / "fp32.onnx", independent=True)
    assert set(float_tail(onnx.load(str(fp32)))) == {"sigmoid", "worst", "good", "all"}
    quantize_int8(fp32, tmp_path / "int8.onnx", images(12), Calibration.MINMAX)
    model = onnx.load(str(tmp_path / "int8.onnx"))
    after = {n.op_type: list(n.input) for n in model.graph.node if n.op_type in ("ReduceMax", "Sub", "Concat")}
    assert after["Concat"] == ["good", "defects"] and after["ReduceMax"][0] == "defects"
    scores = _run(tmp_path / "int8.onnx")["scores"]
    assert np.allclose(scores[:, 0], 1 - scores[:, 1:].max(1), atol=1e-6)


def test_excluded_node_keeps_its_weights_as_trained(fp32: Path) -> None:
    prepared = prepare(fp32)
    ranges = measure_ranges(prepared.rounded, images(8), Calibration.MINMAX, Scheme.U8S8)
    model = quantize(prepared, ranges, ("second",))
    constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    trained = {i.name: numpy_helper.to_array(i) for i in prepared.plain.graph.initializer}
    assert np.array_equal(constants["second.weight"], trained["second.weight"])
    assert "second.weight_quantized" not in constants and "first.weight_quantized" in constants
    with pytest.raises(BadModel, match="no node 'nowhere'"):
        quantize(prepared, ranges, ("nowhere",))


def test_half_precision_answers_as_full_and_takes_half_the_bytes(fp32: Path, tmp_path: Path) -> None:
    save_model(to_half(fp32), tmp_path / "fp16.onnx")
    truth, mine = _run(fp32), _run(tmp_path / "fp16.onnx")
    assert mine["scores"].dtype == np.float32 and np.abs(mine["scores"] - truth["scores"]).max() < 0.05
    assert to_half(fp32).ByteSize() < fp32.stat().st_size


@pytest.mark.parametrize("scheme", list(Scheme))
def test_debug_report_names_what_suffers_most_first(tmp_path: Path, scheme: Scheme) -> None:
    prepared = prepare(write_net(tmp_path / "fp32.onnx", spread=300.0), scheme)
    ranges = measure_ranges(prepared.rounded, images(8), Calibration.MINMAX, scheme)
    report = compare_tensors(prepared, quantize(prepared, ranges), images(4, 9), "int8.onnx")
    ratios = [each.sqnr_db for each in report.tensors]
    assert ratios == sorted(ratios) and report.images == 4
    assert {"first.weight", "images", "head.weight"} <= {each.tensor for each in report.tensors}
    assert set(report.nodes) == {"first", "second", "head", "map"}
    assert all(each.max_error <= max(each.highest, 1e-6) for each in report.tensors)
    # A ReLU that the range swallowed is no rounding error.
    assert min(each.sqnr_db for each in report.tensors if each.kind == "activation") > 15


def test_bad_weights_images_and_opsets_are_named(fp32: Path, tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"'first\.weight' of nan\.onnx holds NaN"):
        prepare(write_net(tmp_path / "nan.onnx", nan=True))
    with pytest.raises(BadModel, match="opset 12; quantizing needs 13"):
        prepare(write_net(tmp_path / "old.onnx", opset=12))
    rounded = prepare(fp32).rounded
    for method in Calibration:
        grey = [np.full((1, 1, 12, 12), level, np.float32) for level in (0.2, 0.4)]
        with pytest.raises(BadModel, match="each of the 2 calibration images is one constant grey"):
            measure_ranges(rounded, grey, method, Scheme.U8S8)
    with pytest.raises(BadModel, match="no images to calibrate on"):
        measure_ranges(rounded, [], Calibration.MINMAX, Scheme.U8S8)


def test_dead_tensor_is_told_and_quantizes(tmp_path: Path) -> None:
    model = onnx.load(str(write_net(tmp_path / "fp32.onnx")))
    for tensor in model.graph.initializer:
        if tensor.name == "second.bias":
            tensor.CopyFrom(numpy_helper.from_array(np.full(8, -1000, np.float32), tensor.name))
    onnx.save(model, str(tmp_path / "dead.onnx"))
    prepared = prepare(tmp_path / "dead.onnx")
    ranges = measure_ranges(prepared.rounded, images(4), Calibration.MINMAX, Scheme.U8S8)
    assert "e" in constant_tensors(ranges)
    save_model(quantize(prepared, ranges), tmp_path / "int8.onnx")
    assert np.isfinite(_run(tmp_path / "int8.onnx")["scores"]).all()


class _Seconds:
    """A clock that moves by a second whenever it is read."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        self.at += 1.0
        return self.at


def test_search_keeps_the_fewest_nodes_that_are_enough() -> None:
    said: list[int] = []

    def lost(nodes: tuple[str, ...]) -> float:
        return 0.0 if {"a", "c"} <= set(nodes) else 0.3

    found = search_exclusions(
        "abcd", lost, 0.01, clock=_Seconds(), within_s=100, say=lambda tried, nodes, value: said.append(tried)
    )
    assert found.excluded == ("a", "c") and found.is_enough(0.01) and not found.timed_out
    assert said == list(range(1, found.tried + 1))
    kept = search_exclusions("abcd", lost, 0.01, clock=_Seconds(), within_s=100, always=("c",))
    assert kept.excluded == ("c", "a")


def test_search_that_finds_nothing_in_its_time_excludes_nothing() -> None:
    late = search_exclusions("abcd", lambda nodes: 0.5, 0.01, clock=_Seconds(), within_s=2)
    assert late.excluded == () and late.timed_out and late.tried == 1 and not late.is_enough(0.01)
    all_tried = search_exclusions("abcd", lambda nodes: 0.5, 0.01, clock=_Seconds(), within_s=100)
    assert all_tried.excluded == () and all_tried.tried == 4 and not all_tried.timed_out
