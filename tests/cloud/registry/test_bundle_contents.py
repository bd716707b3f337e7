"""What a built bundle holds beyond its files: piece hashes, tensors, needs, memory and disk, gate report and card by name."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.slots.unpacked import open_archive
from cloud.registry.bundle import BundleContent, build_bundle, open_bundle, read_file, unpack_bundle
from cloud.registry.compatibility import compatibility_of
from cloud.registry.inspection import inspect_bundle
from cloud.registry.resources import fits, measure, run_golden
from contract.archive import archive_chunks
from contract.errors import BadBundle, BadModel, NotFound
from contract.manifest import (
    PIECE_BYTES,
    Artefact,
    Compatibility,
    Golden,
    Manifest,
    OutputKind,
    RuntimeKind,
    Thresholds,
    encode_manifest,
)
from contract.preprocess import preprocess
from tests.tiny_bundle import LABELS, SPEC, model_bytes, write_bundle
from tests.tiny_tflite import tflite_bytes

MODEL = Artefact("model.onnx", RuntimeKind.ONNX, "fp32", OutputKind.LOGITS)


def content(folder: Path, *, golden_error: float = 0.0, tolerance: float = 0.01, **more: bytes) -> BundleContent:
    """A tiny model with golden vectors that are `golden_error` off, and more files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model_bytes())
    pixels = np.stack([np.full((8, 8), grey, np.uint8) for grey in (10, 90, 200)])
    tensors = np.concatenate([preprocess(image, SPEC) for image in pixels])
    good = 20.0 * (tensors.mean(axis=(1, 2, 3)) - 0.5)
    scores = np.stack([good, -good], axis=1).astype(np.float32) + np.float32(golden_error)
    np.savez_compressed(folder / "golden.npz", pixels=pixels, scores=scores)
    files = {"model.onnx": folder / "model.onnx", "golden.npz": folder / "golden.npz"}
    for name, data in more.items():
        files[name.replace("_", ".")] = folder / name
        (folder / name).write_bytes(data)
    return BundleContent(
        name="tiny",
        version="1",
        labels=LABELS,
        preprocess=SPEC,
        artefacts=(MODEL,),
        thresholds=Thresholds(0.9, 0.5),
        files=files,
        golden=Golden("golden.npz", tolerance),
    )


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_each_mib_of_each_file_is_hashed(tmp_path: Path, size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    manifest, _ = open_bundle(build_bundle(content(tmp_path, big_bin=data), tmp_path / "b.plb", 0.0)[0])
    entry = next(each for each in manifest.files if each.name == "big.bin")
    assert entry.pieces == tuple(
        hashlib.sha256(data[start : start + PIECE_BYTES]).hexdigest() for start in range(0, size, PIECE_BYTES)
    )
    assert (entry.sha256, entry.size_bytes) == (hashlib.sha256(data).hexdigest(), size)


def test_a_broken_mib_is_told_before_the_rest_is_written(tmp_path: Path) -> None:
    data = bytes(3 * PIECE_BYTES)
    archive, _ = build_bundle(content(tmp_path / "c", big_bin=data), tmp_path / "b.plb", 0.0)
    whole = bytearray(archive.read_bytes())
    whole[whole.index(bytes(4096)) + PIECE_BYTES + 2000] ^= 1
    archive.write_bytes(whole)
    with pytest.raises(BadBundle, match=r"'big.bin' does not match .* \(piece 2 of 3\)"):
        open_bundle(archive)
    with pytest.raises(BadBundle, match="piece 2 of 3"):
        open_archive(archive, tmp_path / "slot")
    assert (tmp_path / "slot" / "big.bin").stat().st_size <= PIECE_BYTES


def test_pieces_that_belong_to_other_bytes_are_refused_although_the_whole_file_fits(tmp_path: Path) -> None:
    archive, _ = build_bundle(content(tmp_path / "c"), tmp_path / "b.plb", 0.0)
    manifest = unpack_bundle(archive, tmp_path / "out")
    lying = tuple(msgspec.structs.replace(each, pieces=("0" * 64,)) for each in manifest.files)
    manifest = msgspec.structs.replace(manifest, files=lying)
    chunks = archive_chunks(
        encode_manifest(manifest), [(each, [(tmp_path / "out" / each.name).read_bytes()]) for each in lying]
    )
    archive.write_bytes(b"".join(chunks))
    with pytest.raises(BadBundle, match="piece 1 of 1"):
        open_bundle(archive)


def test_the_manifest_names_tensors_needs_and_what_it_takes(tmp_path: Path) -> None:
    made = replace(
        content(tmp_path / "c", gate_json=b"{}", card_md=b"# card"),
        memory_mib=60.0,
        compatibility=Compatibility(("aarch64",), {"onnxruntime": "1.18"}, "0.1.0"),
        gate_report="gate.json",
        model_card="card.md",
    )
    archive, _ = build_bundle(made, tmp_path / "b.plb", 0.0)
    manifest = unpack_bundle(archive, tmp_path / "out")
    assert manifest.compatibility == made.compatibility and manifest.resources.memory_mib == 60.0
    assert (manifest.gate_report, manifest.model_card) == ("gate.json", "card.md")
    taken = sum(-(-path.stat().st_size // 4096) * 4096 for path in (tmp_path / "out").iterdir())
    assert taken <= manifest.resources.disk_bytes <= taken + 4096
    assert read_file(archive, "card.md") == b"# card"
    with pytest.raises(NotFound, match="holds no 'other'"):
        read_file(archive, "other")


def test_a_gate_report_or_card_that_is_not_among_the_files_is_refused(tmp_path: Path) -> None:
    for made in (replace(content(tmp_path), gate_report="gate.json"), replace(content(tmp_path), model_card="card.md")):
        with pytest.raises(BadBundle, match=r"needs '.*' but does not list it"):
            build_bundle(made, tmp_path / "b.plb", 0.0)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    made = replace(content(tmp_path / "c"), memory_mib=60.0)
    first, digest = build_bundle(made, tmp_path / "1.plb", 7.0)
    second, again = build_bundle(made, tmp_path / "2.plb", 7.0)
    assert digest == again and first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("opset", "ir_version", "least"),
    [
        (7, 3, "1.12"),
        (17, 8, "1.12"),
        (18, 8, "1.14"),
        (19, 9, "1.16"),
        (21, 10, "1.18"),
        (22, 10, "1.21"),
        (23, 11, "1.23"),
    ],
)
def test_least_runtime_is_read_from_the_model(tmp_path: Path, opset: int, ir_version: int, least: str) -> None:
    model = onnx.load_from_string(model_bytes())
    model.opset_import[0].version, model.ir_version = opset, ir_version
    onnx.save(model, str(tmp_path / "m.onnx"))
    found = compatibility_of(
        [Artefact("m.onnx", RuntimeKind.ONNX, "fp32", OutputKind.LOGITS)], {"m.onnx": tmp_path / "m.onnx"}
    )
    assert found.runtimes == {"onnxruntime": least} and found.machines == ()


def test_a_model_newer_than_the_table_needs_the_runtime_it_was_gated_with(tmp_path: Path) -> None:
    model = onnx.load_from_string(model_bytes())
    model.opset_import[0].version = 99
    onnx.save(model, str(tmp_path / "model.onnx"))
    found = compatibility_of([MODEL], {"model.onnx": tmp_path / "model.onnx"})
    assert onnxruntime.__version__.startswith(found.runtimes["onnxruntime"] + ".")


def test_fallbacks_count_too_as_every_artefact_is_self_tested(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model_bytes())
    (tmp_path / "m.tflite").write_bytes(tflite_bytes())
    both = (MODEL, Artefact("m.tflite", RuntimeKind.TFLITE, "int8", OutputKind.LOGITS))
    found = compatibility_of(both, {each.file: tmp_path / each.file for each in both})
    assert set(found.runtimes) == {"onnxruntime", "ai-edge-litert", "tflite-runtime"}


def test_what_is_no_model_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\xff" * 50)
    with pytest.raises(BadModel, match=r"'model\.onnx' is no ONNX model"):
        compatibility_of([MODEL], {"model.onnx": tmp_path / "model.onnx"})


def test_memory_is_measured_by_running_the_golden_inputs(tmp_path: Path) -> None:
    made = content(tmp_path / "c")
    stated = measure(made)
    assert stated == int(stated) and 5 <= stated <= 500
    archive, _ = build_bundle(replace(made, memory_mib=stated), tmp_path / "b.plb", 0.0)
    manifest = unpack_bundle(archive, tmp_path / "out")
    trial = run_golden(tmp_path / "out")
    assert trial.inputs == 3 and trial.max_abs_error is not None and trial.max_abs_error < 1e-4
    assert fits(manifest, trial), "a second run takes no more than was stated"


def test_a_bundle_that_fails_its_own_golden_inputs_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"'model.onnx' is 0.5 off its golden scores, at most 0.01"):
        measure(content(tmp_path, golden_error=0.5))
    # Scores that are no numbers are near to nothing.
    with pytest.raises(BadModel, match=r"'model.onnx' is nan off its golden scores"):
        measure(content(tmp_path / "nan", golden_error=float("nan")))


def test_a_model_that_does_not_load_is_one_sentence(tmp_path: Path) -> None:
    made = content(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(BadModel, match=r"^'model.onnx' does not load: .*$"):
        measure(made)


@pytest.mark.parametrize("torn", [b"", b"PK\x03\x04 no zip", b"\x93NUMPY\x01\x00"])
def test_golden_vectors_that_are_none_are_one_sentence(tmp_path: Path, torn: bytes) -> None:
    made = content(tmp_path)
    (tmp_path / "golden.npz").write_bytes(torn)
    with pytest.raises(BadModel, match=r"^'golden.npz' holds no golden vectors: .*$"):
        measure(made)


def test_a_model_that_hangs_is_stopped(tmp_path: Path) -> None:
    archive, _ = build_bundle(content(tmp_path / "c"), tmp_path / "b.plb", 0.0)
    unpack_bundle(archive, tmp_path / "out")
    with pytest.raises(BadModel, match="took over 0 s and were stopped"):
        run_golden(tmp_path / "out", timeout_s=0.001)


def test_the_station_and_the_cloud_agree_on_the_golden_answers(tmp_path: Path) -> None:
    archive, _ = build_bundle(content(tmp_path / "c"), tmp_path / "b.plb", 0.0)
    unpack_bundle(archive, tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-m", "agent", "selftest", str(tmp_path / "out"), "--json"], capture_output=True, check=False
    )
    there, here = msgspec.json.decode(done.stdout), run_golden(tmp_path / "out")
    assert there["ok"] and (there["inputs"], there["max_abs_error"]) == (here.inputs, here.max_abs_error)


def test_inspection_tells_what_the_manifest_and_the_gate_say(tmp_path: Path) -> None:
    big = model_bytes(outputs=40)
    made = content(tmp_path / "c", gate_json=b'{"passed": 3}')
    made.files["model.onnx"].write_bytes(big)
    archive, digest = build_bundle(replace(made, gate_report="gate.json"), tmp_path / "b.plb", 0.0)
    found = inspect_bundle(archive)
    assert (found.digest, found.size_bytes) == (digest, archive.stat().st_size) and found.pieces == 3
    assert found.tensors.count == len(found.manifest.tensors) == 2 and 0 < found.tensors.covered < 1
    assert found.tensors.largest[0].name == "weights"
    assert found.gate is not None and found.gate.unreadable and not found.has_model_card
    assert sum(found.shares.values()) == pytest.approx(1, abs=1e-3)


@given(st.binary(max_size=200))
def test_any_gate_report_is_read_or_said_to_be_unreadable(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        made = replace(content(Path(scratch) / "c", gate_json=data), gate_report="gate.json")
        found = inspect_bundle(build_bundle(made, Path(scratch) / "b.plb", 0.0)[0])
    assert found.gate is not None and found.gate.unreadable


def test_a_manifest_of_an_older_release_is_inspected_too(tmp_path: Path) -> None:
    found = inspect_bundle(write_bundle(tmp_path / "old.plb"))
    assert found.pieces == 0 and found.without_pieces == ("model.onnx",)
    assert found.manifest.compatibility == Compatibility() and found.gate is None
    assert isinstance(found.manifest, Manifest)
