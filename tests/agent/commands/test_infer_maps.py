"""`plumbline-agent infer --maps`: pictures of where the model looked."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from agent.__main__ import main
from contract.archive import archive_chunks
from contract.manifest import encode_manifest
from tests.mapped_model import write_mapped_model
from tests.tiny_bundle import manifest_of, write_bundle


def _mapped_bundle(folder: Path) -> Path:
    content = write_mapped_model(folder / "model.onnx").read_bytes()
    manifest = manifest_of(content)
    mapped = msgspec.structs.replace(manifest.artefacts[0], activation_map="map")
    # The defect comes first: it is what the bright place speaks for.
    manifest = msgspec.structs.replace(manifest, artefacts=(mapped,), labels=manifest.labels[::-1])
    path = folder / "mapped.plb"
    path.write_bytes(b"".join(archive_chunks(encode_manifest(manifest), [(manifest.files[0], [content])])))
    return path


def test_the_picture_is_orange_where_the_model_looked_and_grey_elsewhere(tmp_path: Path) -> None:
    pixels = np.full((80, 80), 60, np.uint8)
    pixels[20:30, 50:60] = 255
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "part.png")
    bundle = _mapped_bundle(tmp_path)
    images = [str(tmp_path / name / "part.png") for name in ("left", "right")]
    assert main(["infer", "--bundle", str(bundle), "--maps", str(tmp_path / "maps"), *images]) == 0
    written = sorted((tmp_path / "maps").iterdir())
    assert len(written) == 2, "two images of one name in two folders"
    with Image.open(written[0]) as image:
        seen = np.asarray(image).astype(int)
    assert seen.shape == (80, 80, 3)
    hot, cold = seen[25, 55], seen[70, 10]
    assert hot[0] - hot[2] > 100 and cold[0] - cold[2] < 70, "the darker place says a quarter as much"


def test_a_bundle_that_does_not_say_where_it_looks_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.full((8, 8), 9, np.uint8)).save(tmp_path / "a.png")
    bundle = write_bundle(tmp_path / "tiny.plb")
    assert main(["infer", "--bundle", str(bundle), "--maps", str(tmp_path / "maps"), str(tmp_path / "a.png")]) == 2
    assert "does not say where it looks" in capsys.readouterr().err
