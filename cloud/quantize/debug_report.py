"""How much each tensor loses to int8: signal to rounding noise and largest error, worst first.

Source of the ratio and of the matching of tensors: onnxruntime.quantization.qdq_loss_debug.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization.qdq_loss_debug import (
    collect_activations,
    compute_activation_error,
    compute_weight_error,
    create_activation_matching,
    create_weight_matching,
    modify_model_output_intermediate_tensors,
)

from cloud.quantize.calibration import TensorReader
from cloud.quantize.float_tail import is_weighted
from cloud.quantize.int8 import Prepared
from cloud.quantize.quiet import quiet
from cloud.retrain.run_folder import RunFolder
from contract.errors import BadDataset, BadModel, NotFound

_FLOAT_SHARE_DB = 100.0  # what a tensor that was not quantized counts as


class TensorError(msgspec.Struct, frozen=True):
    """One quantized tensor. `kind` is "weight" or "activation"; `nodes` make it, or use it if it is a weight or the input.

    `sqnr_db`: 20 log10(|x| / |x - int8(x)|) of quantizing this tensor alone. `since_input_db`: the same between the fp32 model
    and the int8 one, all errors before it included; None for weights. `max_error`: the largest |x - int8(x)|; `highest`: the
    largest |x|.
    """

    tensor: str
    kind: str
    nodes: tuple[str, ...]
    sqnr_db: float
    since_input_db: float | None
    max_error: float
    highest: float


class DebugReport(msgspec.Struct, frozen=True):
    """The tensors of one int8 artefact, the worst first, compared on `images` calibration images. `nodes`: the weighted ones, the
    most sensitive first, as exclusion takes them."""

    artefact: str
    scheme: str
    images: int
    tensors: tuple[TensorError, ...]
    nodes: tuple[str, ...]


def compare_tensors(
    prepared: Prepared, int8: onnx.ModelProto, tensors: Sequence[NDArray[Any]], artefact: str
) -> DebugReport:
    """Return how the tensors of `int8`, made of `prepared`, differ from full precision.

    Args:
        tensors: inputs to run both models on, f32[1,C,h,w] each.
    Raises:
        BadModel: one of the models does not run.
    """
    name = prepared.plain.graph.input[0].name
    with tempfile.TemporaryDirectory() as scratch, quiet():
        files = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        try:
            for model, file in zip((prepared.plain, int8), files, strict=True):
                onnx.save(model, str(file))
            weights = create_weight_matching(str(files[0]), str(files[1]))
            seen = [_activations(file, name, tensors) for file in files]
            matched = create_activation_matching(seen[1], seen[0])
            # A tensor that only the int8 model has, such as what an fp32 graph folds away, has nothing to be compared with.
            matched = {tensor: _clamped(prepared.plain, tensor, m) for tensor, m in matched.items() if m.get("float")}
            activation_db, weight_db = compute_activation_error(matched), compute_weight_error(weights)
        except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
            raise BadModel(f"{artefact} cannot be compared with full precision: {error}") from error
    found = [
        _error(prepared.plain, tensor, "weight", weight_db[tensor], None, [match["float"]], [match["dequantized"]])
        for tensor, match in weights.items()
    ] + [
        _error(
            prepared.plain,
            tensor,
            "activation",
            activation_db[tensor]["qdq_err"],
            activation_db[tensor]["xmodel_err"],
            match["pre_qdq"],
            match["post_qdq"],
        )
        for tensor, match in matched.items()
    ]
    ordered = tuple(sorted(found, key=lambda each: (each.sqnr_db, each.tensor)))
    return DebugReport(artefact, prepared.scheme.value, len(tensors), ordered, _by_sensitivity(prepared.plain, ordered))


def _clamped(model: onnx.ModelProto, tensor: str, match: dict[str, Any]) -> dict[str, Any]:
    """Return the match with what a ReLU cuts off cut off: the quantizer lets the range do that, which is no rounding."""
    if not any(tensor in node.output and node.op_type == "Relu" for node in model.graph.node):
        return match
    return {**match, "pre_qdq": [np.maximum(values, 0) for values in match["pre_qdq"]]}


def read_debug(run: RunFolder) -> DebugReport:
    """Return quantize_debug.json of a run.

    Raises:
        NotFound: there is none.
        BadDataset: it is damaged.
    """
    try:
        return msgspec.json.decode(run.quantize_debug.read_bytes(), type=DebugReport)
    except FileNotFoundError as error:
        hint = f"run 'plumbline-cloud quantize {run.root} --debug'"
        raise NotFound(f"{run.quantize_debug} is not there", hint=hint) from error
    except (msgspec.DecodeError, OSError) as error:
        raise BadDataset(f"{run.quantize_debug} is damaged: {error}", hint="quantize with --debug again") from error


def _by_sensitivity(model: onnx.ModelProto, errors: Sequence[TensorError]) -> tuple[str, ...]:
    """Return the weighted nodes, the one with the worst weight, input or output first; the graph's order among equals."""
    ratio = {each.tensor: each.sqnr_db for each in errors}
    nodes = [node for node in model.graph.node if is_weighted(node)]
    return tuple(
        node.name for node in sorted(nodes, key=lambda node: min(_ratios(ratio, node), default=_FLOAT_SHARE_DB))
    )


def _ratios(ratio: Mapping[str, float], node: onnx.NodeProto) -> list[float]:
    return [ratio[name] for name in (*node.input, *node.output) if name in ratio]


def _activations(file: Path, name: str, tensors: Sequence[NDArray[Any]]) -> dict[str, list[NDArray[Any]]]:
    augmented = file.with_suffix(".augmented.onnx")
    modify_model_output_intermediate_tensors(str(file), str(augmented))
    return dict(collect_activations(str(augmented), TensorReader(name, tensors)))


def _error(
    model: onnx.ModelProto,
    tensor: str,
    kind: str,
    sqnr_db: float,
    since_input_db: float | None,
    before: Sequence[NDArray[Any]],
    after: Sequence[NDArray[Any]],
) -> TensorError:
    makers = tuple(node.name for node in model.graph.node if tensor in node.output)
    users = tuple(node.name for node in model.graph.node if tensor in node.input)
    return TensorError(
        tensor,
        kind,
        makers or users,
        round(float(sqnr_db), 2),
        round(float(since_input_db), 2) if since_input_db is not None else None,
        round(max(float(np.abs(b - a).max()) for b, a in zip(before, after, strict=True)), 6),
        round(max(float(np.abs(b).max()) for b in before), 6),
    )
