"""`plumbline-agent infer`: one line an image, and one line for whatever is wrong."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from agent.__main__ import main
from agent.slots.unpacked import open_archive
from tests.fakes.agent_line import image
from tests.tiny_bundle import model_bytes, write_bundle, write_bundle_of

SHARED = Path(os.environ.get("PLUMBLINE_DATA", Path(__file__).resolve().parents[4] / "shared"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "tiny.plb")
    for name, level in (("bright", 230), ("dark", 20), ("grey", 128)):
        Image.fromarray(image(level)).save(tmp_path / f"{name}.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "dark.png").read_bytes()[:60])
    return tmp_path


def infer(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str], list[str]]:
    code = main(["infer", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def test_each_image_gets_its_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [folder / f"{name}.png" for name in ("bright", "dark", "grey")]
    code, out, err = infer(capsys, "--bundle", folder / "tiny.plb", *images)
    assert (code, err) == (0, [])
    assert [line.split()[:3] for line in out] == [
        [str(images[0]), "PASS", "good"],
        [str(images[1]), "REJECT", "scratch"],
        [str(images[2]), "REVIEW", out[2].split()[2]],
    ]


def test_json_is_one_object_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = infer(capsys, "--json", "--bundle", folder / "tiny.plb", folder / "bright.png")
    found = json.loads(out[0])
    assert code == 0
    assert (found["verdict"], found["label"]) == ("PASS", "good")
    assert set(found) == {"image", "verdict", "label", "confidence", "ms", "bundle"}


def test_bad_images_are_one_line_each_and_the_others_are_judged(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = infer(
        capsys, "--bundle", folder / "tiny.plb", folder / "torn.png", folder / "none.png", folder / "dark.png"
    )
    assert code == 1
    assert [line.split()[1] for line in out] == ["REVIEW", "REVIEW", "REJECT"]
    assert len(err) == 2
    assert all(line.startswith("error: ") for line in err)


def test_an_unpacked_bundle_judges_as_its_archive_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_archive(folder / "tiny.plb", folder / "open")
    archive = infer(capsys, "--json", "--bundle", folder / "tiny.plb", folder / "bright.png")
    unpacked = infer(capsys, "--json", "--bundle", folder / "open", folder / "bright.png")
    assert json.loads(archive[1][0])["bundle"] == json.loads(unpacked[1][0])["bundle"]


@pytest.mark.parametrize("damage", [lambda b: b[:-3000], lambda b: b[: len(b) // 2] + b"X" + b[len(b) // 2 + 1 :]])
def test_a_corrupt_bundle_is_one_line_that_names_it_and_says_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[bytes], bytes]
) -> None:
    (folder / "corrupt.plb").write_bytes(damage((folder / "tiny.plb").read_bytes()))
    code, out, err = infer(capsys, "--bundle", folder / "corrupt.plb", folder / "bright.png")
    assert (code, out, len(err)) == (1, [], 1)
    assert f"bundle '{folder / 'corrupt.plb'}': " in err[0] and "again)" in err[0]


@pytest.mark.parametrize("bundle", ["none.plb", "bright.png", "."])
def test_a_wrong_bundle_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str], bundle: str) -> None:
    code, out, err = infer(capsys, "--bundle", folder / bundle, folder / "bright.png")
    assert (code, out, len(err)) == (1, [], 1)


def test_a_changed_file_in_an_unpacked_bundle_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_archive(folder / "tiny.plb", folder / "open")
    with (folder / "open/model.onnx").open("ab") as file:
        file.write(b"x")
    code, _, err = infer(capsys, "--bundle", folder / "open", folder / "bright.png")
    assert (code, len(err)) == (1, 1)


@pytest.mark.realdata
def test_the_mobilenet_names_the_cat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = SHARED / "models/tflite"
    if not models.is_dir():
        pytest.skip("no real data here")
    pytest.importorskip("ai_edge_litert")
    import subprocess

    labels = next(models.glob("*label*"))
    made = subprocess.run(
        (sys.executable, "-m", "cloud", "bundle", "import", str(models / "mobilenet_v2_1.0_224_quant.tflite"),
         "--labels", str(labels), "--out", str(tmp_path / "mobilenet.plb")),
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    shutil.copy(models / "cat.bmp", tmp_path / "cat.bmp")
    code, out, _ = infer(capsys, "--json", "--bundle", tmp_path / "mobilenet.plb", tmp_path / "cat.bmp")
    assert code == 0
    assert "cat" in json.loads(out[0])["label"]


def test_nothing_passes_where_the_first_artefact_does_not_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on the line: the thresholds were chosen on the first artefact's scores."""
    for name, level in (("bright", 230), ("dark", 20)):
        Image.fromarray(image(level)).save(tmp_path / f"{name}.png")
    write_bundle_of(tmp_path / "two.plb", {"int8.onnx": b"no model", "fp32.onnx": model_bytes()})
    code, out, err = infer(
        capsys, "--json", "--bundle", tmp_path / "two.plb", tmp_path / "bright.png", tmp_path / "dark.png"
    )
    bright, dark = map(json.loads, out)
    assert code == 0
    assert (bright["verdict"], bright["cause"], bright["label"]) == ("REVIEW", "degraded", "good")
    assert dark["verdict"] == "REJECT"
    assert err == ["'int8.onnx' does not load here; 'fp32.onnx' answers, and passes nothing"]
