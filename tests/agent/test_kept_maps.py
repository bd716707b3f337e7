"""Where a model looked, from the line to the kept file: of the frame that is kept, and of its likeliest defect."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from agent.ports.runtime import Runtime
from agent.runtime.onnx import OnnxRuntime
from agent.store.database import open_database
from agent.store.samples import Samples
from contract.activation_map import PNG_KEYWORD, decode_map
from contract.manifest import Artefact, Manifest
from contract.preprocess import PreprocessSpec
from tests.agent.test_frame_loop import Bench
from tests.fakes.agent_line import bundle
from tests.mapped_model import write_mapped_model
from tests.tiny_bundle import manifest_of

# Grey is 0: the model's first label is seen where the image is brighter, its second where it is darker.
_SPEC = PreprocessSpec(height=8, width=8, channels=1, mean=(0.5,), std=(1.0,))


def _frame(row: int, column: int) -> np.ndarray:  # type: ignore[type-arg]
    pixels = np.full((8, 8), 140, np.uint8)
    pixels[row, column] = 190
    return pixels


def _bench(monkeypatch: pytest.MonkeyPatch, folder: Path, named: str, *, good_first: bool = False) -> Bench:
    """Return a line with a real model."""
    model = write_mapped_model(folder / "m.onnx")
    manifest = manifest_of(model.read_bytes(), version="mapped")
    artefact = msgspec.structs.replace(manifest.artefacts[0], activation_map=named)
    labels = manifest.labels if good_first else manifest.labels[::-1]
    manifest = msgspec.structs.replace(manifest, artefacts=(artefact,), labels=labels, preprocess=_SPEC)

    def load(self: Bench, _folder: Path, manifest: Manifest) -> tuple[Runtime, Artefact]:
        return OnnxRuntime(model, _SPEC, 2, activation_map=named), manifest.artefacts[0]

    monkeypatch.setattr(Bench, "_load", load)
    return Bench(installed=bundle("mapped", manifest), audit_rate=1.0)


def test_each_kept_frame_has_the_map_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = _bench(monkeypatch, tmp_path, "map")
    places = [(1, 6), (5, 2), (7, 7)]
    bench.feed(*[_frame(*place) for place in places])
    connection = open_database(tmp_path / "agent.sqlite")
    kept = Samples(connection, tmp_path / "samples")
    assert len(bench.recorder.samples) == len(places)
    for sample, place in zip(bench.recorder.samples, places, strict=True):
        kept.write(sample.note, sample.pixels, sample.looked)
        (file,) = (tmp_path / "samples").glob(f"{sample.note.sample}*")
        with Image.open(io.BytesIO(file.read_bytes())) as image:
            looked = decode_map(image.text[PNG_KEYWORD])  # type: ignore[attr-defined]
            assert (np.asarray(image) == sample.pixels).all()
        assert looked.label == "scratch"
        assert np.unravel_index(int(looked.grid().argmax()), (8, 8)) == place
    connection.close()


def test_a_part_that_is_called_good_shows_what_might_have_been_a_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = _bench(monkeypatch, tmp_path, "map", good_first=True)
    pixels = np.full((8, 8), 128, np.uint8)
    pixels[2, 2], pixels[6, 1] = 255, 60
    bench.feed(pixels)
    (sample,) = bench.recorder.samples
    assert sample.note.label == "good"
    assert sample.looked is not None and sample.looked.label == "scratch"
    assert np.unravel_index(int(sample.looked.grid().argmax()), (8, 8)) == (6, 1), "dark speaks for a scratch here"


def test_a_model_without_a_map_keeps_frames_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = _bench(monkeypatch, tmp_path, "")
    bench.feed(_frame(1, 6))
    (sample,) = bench.recorder.samples
    assert sample.looked is None
