from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.runtime.load import load_first
from agent.runtime.onnx import OnnxRuntime
from contract.errors import BadModel
from tests.mapped_model import write_mapped_model
from tests.tiny_bundle import SPEC, manifest_of


def _frame(value: float) -> np.ndarray:  # type: ignore[type-arg]
    frame = np.zeros((1, 1, 8, 8), np.float32)
    frame[0, 0, 2, 5] = value
    return frame


def test_the_map_of_the_last_frame_is_kept_by_label_and_not_changed_by_the_next(tmp_path: Path) -> None:
    runtime = OnnxRuntime(write_mapped_model(tmp_path / "m.onnx"), SPEC, 2, activation_map="map")
    assert runtime.run(_frame(3.0)).tolist() == [3.0, 0.0]
    first = runtime.activation_map(0)
    assert first is not None and first.shape == (8, 8) and first[2, 5] == 3.0 and first.sum() == 3.0
    runtime.run(_frame(-4.0))
    second = runtime.activation_map(1)
    assert second is not None and second[2, 5] == 4.0 and first[2, 5] == 3.0
    # A tensor that does not lie in memory as the manifest says goes another way, to the same answer.
    odd = np.asfortranarray(np.broadcast_to(_frame(5.0), (1, 1, 8, 8)))[:, :, ::1, ::1].astype(np.float64)
    assert runtime.run(odd.astype(np.float32)[..., ::-1][..., ::-1]).tolist() == [5.0, 0.0]
    third = runtime.activation_map(0)
    assert third is not None and third[2, 5] == 5.0
    runtime.close()
    assert runtime.activation_map(0) is None


def test_a_model_that_is_not_said_to_have_a_map_gives_none(tmp_path: Path) -> None:
    runtime = OnnxRuntime(write_mapped_model(tmp_path / "m.onnx"), SPEC, 2)
    assert runtime.run(_frame(3.0)).tolist() == [3.0, 0.0] and runtime.activation_map(0) is None


def test_a_manifest_that_promises_a_map_which_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="no output 'heat'"):
        OnnxRuntime(write_mapped_model(tmp_path / "m.onnx"), SPEC, 2, activation_map="heat")
    with pytest.raises(BadModel, match="gives a map"):
        OnnxRuntime(write_mapped_model(tmp_path / "four.onnx", maps=4), SPEC, 2, activation_map="map")


def test_a_bundle_says_by_its_manifest_which_output_is_the_map(tmp_path: Path) -> None:
    content = write_mapped_model(tmp_path / "model.onnx").read_bytes()
    manifest = manifest_of(content)
    mapped = msgspec.structs.replace(manifest.artefacts[0], activation_map="map")
    runtime, _ = load_first(tmp_path, msgspec.structs.replace(manifest, artefacts=(mapped,)))
    runtime.run(_frame(1.0))
    assert runtime.activation_map(0) is not None
