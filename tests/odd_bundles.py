"""Bundles whose model is not what their manifest says. Every hash in them is right: nothing but loading can tell."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper

from contract.archive import archive_chunks
from contract.manifest import Artefact, FileEntry, Label, LabelKind, OutputKind, RuntimeKind, encode_manifest
from tests.tiny_bundle import LABELS, SPEC, manifest_of, model_bytes

_SCRATCH_AND_STAIN = (*LABELS, Label("stain", LabelKind.DEFECT))


def write_odd_bundle(
    path: Path,
    model: bytes,
    *,
    kind: RuntimeKind = RuntimeKind.ONNX,
    output: OutputKind = OutputKind.LOGITS,
    **changes: Any,
) -> Path:
    """Write a bundle of `model` to `path`, its manifest the tiny one's with `changes`; return `path`."""
    name = f"model.{kind.value}"
    manifest = msgspec.structs.replace(
        manifest_of(model),
        artefacts=(Artefact(name, kind, "fp32", output),),
        files=(FileEntry(name, hashlib.sha256(model).hexdigest(), len(model)),),
        **changes,
    )
    path.write_bytes(b"".join(archive_chunks(encode_manifest(manifest), [(manifest.files[0], [model])])))
    return path


def odd_bundles() -> dict[str, tuple[Callable[[Path], Path], str]]:
    """Return name -> (what writes the bundle to a path, words that its refusal must hold)."""
    plain, prepared = model_bytes(), msgspec.structs.replace

    def of(model: bytes, **changes: Any) -> Callable[[Path], Path]:
        return lambda path: write_odd_bundle(path, model, **changes)

    def tflite(**changes: Any) -> Callable[[Path], Path]:
        def write(path: Path) -> Path:
            from tests.tiny_tflite import tflite_bytes

            of_model = {key: value for key, value in changes.items() if key in ("dtype", "outputs", "side")}
            spec = changes.get("preprocess", prepared(SPEC, layout="NHWC"))
            return write_odd_bundle(path, tflite_bytes(**of_model), kind=RuntimeKind.TFLITE, preprocess=spec)

        return write

    return {
        "opset_newer_than_the_runtime": (of(_edited(opset=999)), "does not load"),
        "format_newer_than_the_runtime": (of(_edited(ir=99)), "does not load"),
        "operator_unknown_to_the_runtime": (of(_edited(operator="Levitate")), "does not load"),
        "a_label_more_than_scores": (of(plain, labels=_SCRATCH_AND_STAIN), "gives 2 scores, the manifest has 3 labels"),
        "a_label_less_than_scores": (of(model_bytes(outputs=3)), "gives 3 scores, the manifest has 2 labels"),
        "another_input_size": (of(model_bytes(side=16)), "the manifest prepares"),
        "three_channels_for_one": (
            of(plain, preprocess=prepared(SPEC, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)),
            "the manifest prepares",
        ),
        "channels_last_for_first": (of(plain, preprocess=prepared(SPEC, layout="NHWC")), "the manifest prepares"),
        "bytes_for_numbers": (
            of(plain, preprocess=prepared(SPEC, dtype="uint8", mean=(), std=())),
            "the manifest prepares uint8",
        ),
        "numbers_for_bytes": (of(_edited(dtype=TensorProto.UINT8)), "takes tensor(uint8)"),
        "two_inputs": (of(_edited(inputs=2)), "takes 2 inputs, not one image"),
        "no_model_at_all": (of(b"\x00" * 100), "does not load"),
        "half_a_model": (of(plain[: len(plain) // 2]), "does not load"),
        "onnx_called_tflite": (of(plain, kind=RuntimeKind.TFLITE), "does not load"),
        "tflite_of_int16": (tflite(dtype="int16"), "takes int16"),
        "tflite_of_int32": (tflite(dtype="int32"), "takes int32"),
        "tflite_of_float64": (tflite(dtype="float64"), "takes float64"),
        "tflite_of_bool": (tflite(dtype="bool"), "takes bool"),
        "tflite_of_numbers_for_bytes": (
            tflite(preprocess=prepared(SPEC, layout="NHWC", dtype="uint8", mean=(), std=())),
            "takes float32, the manifest prepares uint8",
        ),
        "tflite_of_another_size": (tflite(side=16), "the manifest prepares"),
        "tflite_of_more_scores": (tflite(outputs=5), "gives 5 scores, the manifest has 2 labels"),
    }


def _edited(
    *,
    opset: int = 17,
    ir: int = 8,
    operator: str = "GlobalAveragePool",
    dtype: int = TensorProto.FLOAT,
    inputs: int = 1,
) -> bytes:
    """Return the tiny model with something of it changed; ONNX's own checker would refuse most of these."""
    names = ["image", "second"][:inputs]
    nodes = [helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT)]
    pooled = "numbers"
    if inputs == 2:
        nodes.append(helper.make_node("Add", ["numbers", "second"], ["both"]))
        pooled = "both"
    nodes += [
        helper.make_node(operator, [pooled], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "odd",
        [helper.make_tensor_value_info(name, dtype, [1, 1, 8, 8]) for name in names],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2])],
        [onnx.numpy_helper.from_array(np.ones((1, 2), np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    return bytes(model.SerializeToString())
