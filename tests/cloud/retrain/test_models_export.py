"""A network and what is exported of it answer alike, for each head and model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from cloud.quantize.artefact_runner import open_session
from cloud.quantize.calibration import TensorReader
from cloud.quantize.float_parts import float_parts
from cloud.retrain.export import check_exports, export_onnx
from cloud.retrain.fold import fold_batch_norm
from cloud.retrain.models.build import build_model
from cloud.retrain.models.output import ModelOutput
from cloud.retrain.run_records import Head, Recipe
from contract.errors import BadModel

_EVERY = ("scores", "embedding", "activation_map")
_PX = 40


def _network(head: Head, model: str = "surface", seed: int = 0) -> nn.Module:
    """Return a network with the statistics that a little training leaves behind."""
    torch.manual_seed(seed)
    network = build_model(Recipe(head=head, model=model, width=0.5), 1, 3, _PX, good=(0,)).train()
    with torch.no_grad():
        network(_images(16))
    return network.eval()


def _images(count: int = 5) -> torch.Tensor:
    return torch.randn(count, 1, _PX, _PX, generator=torch.Generator().manual_seed(7))


def _answers(file: Path, images: torch.Tensor) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    session = open_session(file, threads=1)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": images.numpy()}), strict=True))


def _same(file: Path, network: nn.Module, *, independent: bool = False) -> None:
    for count in (1, 5):
        images = _images(count)
        with torch.no_grad():
            output: ModelOutput = network(images)
        wanted = {"embedding": output.embedding, "activation_map": output.activation_map}
        wanted["scores"] = torch.sigmoid(output.scores) if independent else output.scores
        answers = _answers(file, images)
        assert next(iter(answers)) == "scores"
        for name, given in answers.items():
            tensor = wanted[name]
            assert tensor is not None
            np.testing.assert_allclose(given, tensor.numpy(), atol=1e-3)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[Head, Path]:
    folder = tmp_path_factory.mktemp("exported")
    files = {head: folder / f"{head.value}.onnx" for head in Head}
    for head, file in files.items():
        assert export_onnx(_network(head), _images(), file, outputs=_EVERY) == _EVERY
    return files


@pytest.mark.parametrize("head", list(Head))
def test_torch_and_onnx_give_the_same_answers_for_any_batch(exported: dict[Head, Path], head: Head) -> None:
    graph = onnx.load(str(exported[head]))
    assert [o.version for o in graph.opset_import if not o.domain] == [18]
    _same(exported[head], _network(head), independent=head is Head.MULTI)


def test_multi_label_scores_are_probabilities_and_good_is_what_no_defect_leaves(exported: dict[Head, Path]) -> None:
    scores = _answers(exported[Head.MULTI], 3 * _images())["scores"]
    assert scores.min() >= 0 and scores.max() <= 1
    np.testing.assert_allclose(scores[:, 0], 1 - scores[:, 1:].max(1), atol=1e-6)


def _quantized(fp32: Path, result: Path, *, stem: bool) -> None:
    prepared = result.with_suffix(".prepared.onnx")
    quant_pre_process(str(fp32), str(prepared))
    model = onnx.load(str(prepared))
    left_out = float_parts(model, stem=stem)
    onnx.checker.check_model(model)
    onnx.save(model, str(prepared))
    quantize_static(
        str(prepared),
        str(result),
        TensorReader("images", [each[None].numpy() for each in _images(12)]),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=left_out,
    )


@pytest.mark.parametrize("head", list(Head))
def test_int8_answers_as_fp32_within_a_twentieth_of_the_answers_range(
    exported: dict[Head, Path], head: Head, tmp_path: Path
) -> None:
    exact = _answers(exported[head], _images(12))
    for stem in (False, True):
        _quantized(exported[head], tmp_path / "int8.onnx", stem=stem)
        answers = _answers(tmp_path / "int8.onnx", _images(12))
        assert list(answers) == list(exact)
        for name, wanted in exact.items():
            assert float(np.abs(wanted - answers[name]).max()) <= 0.05 * float(wanted.max() - wanted.min())
        if head is Head.MULTI:
            np.testing.assert_allclose(answers["scores"][:, 0], 1 - answers["scores"][:, 1:].max(1), atol=1e-6)
    # Pooled before the ReLU, which then takes part in the step to 8 bits.
    assert [n.op_type for n in onnx.load(str(tmp_path / "int8.onnx")).graph.node if n.name.startswith("stem.")][:2] == [
        "Conv",
        "MaxPool",
    ]


def test_nodes_tell_a_quantizer_what_to_leave_out(exported: dict[Head, Path]) -> None:
    names = {node.name: node.op_type for node in onnx.load(str(exported[Head.MULTI])).graph.node}
    assert {names[n] for n in names if n.startswith("stem.")} == {"Conv", "Relu", "MaxPool"}
    left = {names[n] for n in names if n.startswith("float.")}
    assert "Sigmoid" in left and "Neg" in left and "Gemm" not in left and names["stages.1.0.Conv"] == "Conv"
    assert len(names) == len(onnx.load(str(exported[Head.MULTI])).graph.node)


def test_the_heads_weights_are_in_the_file_once(exported: dict[Head, Path]) -> None:
    initializers = onnx.load(str(exported[Head.SINGLE])).graph.initializer
    assert [i.name for i in initializers if numpy_helper.to_array(i).size == 3 * 64] == ["head.weight"]


@pytest.mark.parametrize("head", list(Head))
def test_another_trainings_weights_go_into_the_parents_graph(
    exported: dict[Head, Path], head: Head, tmp_path: Path
) -> None:
    other, file = _network(head, seed=1), tmp_path / "child.onnx"
    export_onnx(other, _images(), file, like=exported[head], outputs=_EVERY)
    _same(file, other, independent=head is Head.MULTI)
    assert [n.name for n in onnx.load(str(file)).graph.node] == [
        n.name for n in onnx.load(str(exported[head])).graph.node
    ]


def test_a_parents_temperature_is_not_its_childs(exported: dict[Head, Path], tmp_path: Path) -> None:
    graph = onnx.load(str(exported[Head.SINGLE]))
    gemm = next(n for n in graph.graph.node if "scores" in n.output)
    gemm.output[0] = "unscaled"
    graph.graph.node.append(helper.make_node("Mul", ["unscaled", "temperature_inverse"], ["scores"], "temperature"))
    graph.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "temperature_inverse"))
    onnx.save(graph, str(tmp_path / "parent.onnx"))
    other, file = _network(Head.SINGLE, seed=1), tmp_path / "child.onnx"
    export_onnx(other, _images(), file, like=tmp_path / "parent.onnx", outputs=_EVERY)
    _same(file, other)
    child = onnx.load(str(file)).graph
    assert "temperature" not in [n.name for n in child.node]
    assert "temperature_inverse" not in [i.name for i in child.initializer]
    # It is the parent's graph all the same: a fresh export does not call this tensor so.
    assert next(n for n in child.node if n.op_type == "Gemm").output[0] == "scores"


def test_a_graph_of_other_outputs_or_labels_is_not_reused(exported: dict[Head, Path], tmp_path: Path) -> None:
    network, file = _network(Head.SINGLE), tmp_path / "child.onnx"
    assert export_onnx(network, _images(), file, like=exported[Head.SINGLE]) == ("scores", "activation_map")
    assert list(_answers(file, _images())) == ["scores", "activation_map"]


class _Scattered(nn.Module):
    """Batch norm outside of any sequence, one of them after a convolution that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 8, 3, 2), nn.BatchNorm2d(8)
        self.twice, self.late = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.inner = nn.Sequential(nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU()))
        self.head = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> ModelOutput:
        here = torch.relu(self.norm(self.first(images)))
        here = torch.relu(self.late(self.twice(self.twice(here))))
        return ModelOutput(self.head(self.inner(here).mean((2, 3))))


def test_batch_norm_is_folded_where_that_changes_nothing() -> None:
    network = _Scattered().train()
    for _ in range(3):
        network(3 * _images() + 1)
    folded = fold_batch_norm(network)
    assert isinstance(folded.norm, nn.Identity) and isinstance(folded.late, nn.BatchNorm2d)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in folded.modules()) == 1
    torch.testing.assert_close(folded(_images()).scores, network.eval()(_images()).scores, atol=1e-5, rtol=1e-5)


class _Undecided(nn.Module):
    def forward(self, images: torch.Tensor) -> ModelOutput:
        return ModelOutput(images.mean((1, 2))[:, :3] if float(images.sum()) > 0 else images.amax((1, 2))[:, :3])


def test_a_network_that_cannot_be_exported_is_known_before_it_is_trained(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="cannot be exported to ONNX"):
        check_exports(_Undecided(), 1, _PX, tmp_path)
    assert list(tmp_path.iterdir()) == []
