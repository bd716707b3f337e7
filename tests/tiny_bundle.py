"""A bundle small enough for a test: bright images are "good", dark ones "scratch"."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from contract.archive import archive_chunks
from contract.manifest import (
    Artefact,
    FileEntry,
    Label,
    LabelKind,
    Manifest,
    OutputKind,
    RuntimeKind,
    Thresholds,
    encode_manifest,
)
from contract.preprocess import PreprocessSpec

LABELS = (Label("good", LabelKind.GOOD), Label("scratch", LabelKind.DEFECT))
SPEC = PreprocessSpec(height=8, width=8, channels=1, mean=(0.0,), std=(1.0,))


def model_bytes(*, gain: float = 20.0, outputs: int = 2, side: int = 8) -> bytes:
    """Return an ONNX model: logits gain * (mean - 1/2) for "good" and its negative for "scratch".

    A negative `gain` answers the wrong way round; NaN answers NaN.
    """
    weights = np.zeros((1, outputs), np.float32)
    weights[0, :2] = (gain, -gain)
    bias = -weights[0] / 2
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["scores"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, side, side])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def manifest_of(model: bytes, *, version: str = "1", pass_at: float = 0.9, simulated: bool = True) -> Manifest:
    """Return the manifest of a tiny bundle."""
    return Manifest(
        name="tiny",
        version=version,
        created_at=1_790_000_000.0,
        labels=LABELS,
        preprocess=SPEC,
        artefacts=(Artefact("model.onnx", RuntimeKind.ONNX, "fp32", OutputKind.LOGITS),),
        thresholds=Thresholds(pass_at=pass_at, reject_at=0.9),
        files=(FileEntry("model.onnx", hashlib.sha256(model).hexdigest(), len(model)),),
        simulated=simulated,
    )


def write_bundle(path: Path, model: bytes | None = None, *, version: str = "1", pass_at: float = 0.9) -> Path:
    """Write a bundle archive to `path`; return `path`."""
    content = model_bytes() if model is None else model
    manifest = manifest_of(content, version=version, pass_at=pass_at)
    path.write_bytes(b"".join(archive_chunks(encode_manifest(manifest), [(manifest.files[0], [content])])))
    return path


def write_bundle_of(path: Path, models: dict[str, bytes]) -> Path:
    """Write a bundle whose artefacts are `models`, ONNX by file name, the first first; return `path`."""
    plain = manifest_of(b"")
    artefacts = tuple(Artefact(name, RuntimeKind.ONNX, "fp32", OutputKind.LOGITS) for name in models)
    files = tuple(FileEntry(name, hashlib.sha256(model).hexdigest(), len(model)) for name, model in models.items())
    manifest = msgspec.structs.replace(plain, artefacts=artefacts, files=files)
    content = [(entry, [models[entry.name]]) for entry in files]
    path.write_bytes(b"".join(archive_chunks(encode_manifest(manifest), content)))
    return path


if __name__ == "__main__":
    write_bundle(Path(sys.argv[1]))
