"""Bundles of models with many tensors, for what is said between two of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import helper, numpy_helper

from contract.archive import archive_chunks
from contract.manifest import Artefact, FileEntry, OutputKind, RuntimeKind, encode_manifest
from tests.tiny_bundle import manifest_of


def model_of(arrays: Mapping[str, np.ndarray], *, note: str = "") -> bytes:
    """Return an ONNX file with `arrays` as initializers; `note` makes its header longer."""
    graph = helper.make_graph(
        [],
        "g",
        [],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return bytes(helper.make_model(graph, producer_name=note).SerializeToString())


def archive_of(files: Mapping[str, bytes], *, version: str = "1") -> bytes:
    """Return the archive of a bundle with `files`; those that end in .onnx or .tflite are its artefacts."""
    entries = tuple(FileEntry(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items())
    kinds = {".onnx": RuntimeKind.ONNX, ".tflite": RuntimeKind.TFLITE}
    artefacts = tuple(
        Artefact(name, kinds[Path(name).suffix], "int8", OutputKind.LOGITS)
        for name in files
        if Path(name).suffix in kinds
    )
    manifest = msgspec.structs.replace(manifest_of(b"", version=version), artefacts=artefacts, files=entries)
    return b"".join(archive_chunks(encode_manifest(manifest), [(entry, [files[entry.name]]) for entry in entries]))


def fine_tuned(rng: np.random.Generator, arrays: Mapping[str, np.ndarray], steps: int = 3) -> dict[str, np.ndarray]:
    """Return int8 `arrays` with every weight moved by at most `steps`."""
    moved = {}
    for name, array in arrays.items():
        move = rng.integers(-steps, steps + 1, array.shape)
        moved[name] = np.clip(array.astype(np.int64) + move, -128, 127).astype(np.int8)
    return moved


def weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return int8 weights of a small model, about 50 KB."""
    shapes = {"a": (16, 1, 3, 3), "b": (32, 16, 3, 3), "c": (64, 64, 3, 3), "head": (6, 64)}
    return {name: np.clip(rng.normal(0, 25, shape), -64, 64).astype(np.int8) for name, shape in shapes.items()}
