"""Artefacts load, are checked against their manifest, and fail in words."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.clock import SystemClock
from agent.runtime.load import ModelLoader, load_first, load_runtime
from contract.errors import BadModel
from contract.manifest import Artefact, FileEntry, Manifest, OutputKind, RuntimeKind
from tests.tiny_bundle import SPEC, manifest_of, model_bytes


def write(folder: Path, model: bytes) -> Manifest:
    (folder / "model.onnx").write_bytes(model)
    return manifest_of(model)


def test_an_onnx_artefact_runs_and_answers_in_f32(tmp_path: Path) -> None:
    manifest = write(tmp_path, model_bytes())
    runtime = load_runtime(tmp_path, manifest, manifest.artefacts[0])
    scores = runtime.run(np.full((1, 1, 8, 8), 0.75, np.float32))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [5.0, -5.0], rtol=1e-5)
    runtime.close()
    with pytest.raises(BadModel, match="closed"):
        runtime.run(np.zeros((1, 1, 8, 8), np.float32))


def test_a_wrong_tensor_is_bad_model_not_a_crash(tmp_path: Path) -> None:
    manifest = write(tmp_path, model_bytes())
    runtime = load_runtime(tmp_path, manifest, manifest.artefacts[0])
    with pytest.raises(BadModel, match="failed"):
        runtime.run(np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(BadModel, match="failed"):
        runtime.run(np.zeros((1, 1, 8, 8), np.float64))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (b"no model", "does not load"),
        (b"", "does not load"),
        (model_bytes(outputs=5), "gives 5 scores, the manifest has 2 labels"),
        (model_bytes(side=9), "the manifest prepares"),
    ],
)
def test_a_model_that_is_not_what_its_manifest_says_is_refused(tmp_path: Path, model: bytes, words: str) -> None:
    manifest = write(tmp_path, model)
    with pytest.raises(BadModel, match=words):
        load_runtime(tmp_path, manifest, manifest.artefacts[0])


def test_a_wrong_input_type_is_refused(tmp_path: Path) -> None:
    manifest = write(tmp_path, model_bytes())
    bytes_in = msgspec.structs.replace(manifest, preprocess=msgspec.structs.replace(SPEC, dtype="uint8"))
    with pytest.raises(BadModel, match="prepares uint8"):
        load_runtime(tmp_path, bytes_in, manifest.artefacts[0])


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    manifest = manifest_of(b"model")
    with pytest.raises(BadModel, match="is missing"):
        load_runtime(tmp_path, manifest, manifest.artefacts[0])


def test_a_file_that_is_no_tflite_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"x" * 64)
    artefact = Artefact("model.tflite", RuntimeKind.TFLITE, "int8", OutputKind.PROBABILITIES)
    with pytest.raises(BadModel, match="does not load"):
        load_runtime(tmp_path, manifest_of(b"model"), artefact)


def test_the_first_artefact_that_loads_is_taken(tmp_path: Path) -> None:
    model = model_bytes()
    (tmp_path / "broken.onnx").write_bytes(b"broken")
    manifest = write(tmp_path, model)
    broken = FileEntry("broken.onnx", hashlib.sha256(b"broken").hexdigest(), 6)
    first = msgspec.structs.replace(manifest.artefacts[0], file="broken.onnx")
    both = msgspec.structs.replace(manifest, files=(broken, *manifest.files), artefacts=(first, *manifest.artefacts))
    _, taken = load_first(tmp_path, both)
    assert taken == manifest.artefacts[0]
    only = msgspec.structs.replace(both, artefacts=(first,))
    with pytest.raises(BadModel, match=r"broken\.onnx"):
        load_first(tmp_path, only)


def test_that_a_later_artefact_is_taken_is_said_with_the_reason(tmp_path: Path) -> None:
    manifest = write(tmp_path, model_bytes())
    (good,) = manifest.artefacts
    broken = msgspec.structs.replace(good, file="int8.onnx")
    (tmp_path / "int8.onnx").write_bytes(b"no model")
    said: list[str] = []
    loader = ModelLoader(said.append, SystemClock(), provider="cpu", engines=tmp_path / "engines")
    runtime, taken = loader.load(tmp_path, msgspec.structs.replace(manifest, artefacts=(broken, good)))
    runtime.close()
    assert taken == good
    assert len(said) == 1 and "'model.onnx' is taken instead" in said[0] and "'int8.onnx' does not load" in said[0]
    runtime, _ = loader.load(tmp_path, manifest)
    runtime.close()
    assert len(said) == 1
