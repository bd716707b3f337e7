"""`plumbline-agent infer` with a model whose labels do not exclude each other: a part may have several defects, each is said."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from agent.__main__ import main
from agent.commands.scored import COLUMNS, Beside, Scored, cells_of, csv_line, of_cells
from contract.archive import archive_chunks
from contract.manifest import Artefact, Label, LabelKind, OutputKind, RuntimeKind, encode_manifest
from tests.fakes.agent_line import image
from tests.tiny_bundle import manifest_of

LABELS = ("good", "dent", "scratch", "rust")


def model_of(probabilities: dict[str, float]) -> bytes:
    """Return a model that says this of a black image, and of no other."""
    odds = [probabilities[name] / (1.0 - probabilities[name]) for name in LABELS]
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["scores"]),
        ],
        "several",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, len(LABELS)])],
        [
            numpy_helper.from_array(np.array([[9.0, -20.0, -20.0, -20.0]], np.float32), "weights"),
            numpy_helper.from_array(np.log(np.array(odds, np.float32)), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    content = model_of({"good": 0.02, "dent": 0.74, "scratch": 0.91, "rust": 0.31})
    plain = manifest_of(content)
    manifest = msgspec.structs.replace(
        plain,
        labels=tuple(Label(name, LabelKind.GOOD if name == "good" else LabelKind.DEFECT) for name in LABELS),
        artefacts=(Artefact("model.onnx", RuntimeKind.ONNX, "fp32", OutputKind.INDEPENDENT),),
    )
    (tmp_path / "several.plb").write_bytes(
        b"".join(archive_chunks(encode_manifest(manifest), [(manifest.files[0], [content])]))
    )
    for name, level in (("dark", 0), ("bright", 255)):
        Image.fromarray(np.full_like(image(level), level)).save(tmp_path / f"{name}.png")
    return tmp_path


def test_every_defect_of_a_part_is_said_with_its_score_likeliest_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["infer", "--bundle", str(folder / "several.plb"), str(folder / "dark.png"), str(folder / "bright.png")]
    assert main(command) == 0
    dark, bright = capsys.readouterr().out.splitlines()
    assert "  REJECT  scratch  0.910, dent  0.740  " in dark
    assert "rust" not in dark, "less sure than not"
    assert "  PASS    good  0.99" in bright and "," not in bright
    assert main([*command, "--json"]) == 0
    dark, bright = map(json.loads, capsys.readouterr().out.splitlines())
    assert (dark["label"], dark["confidence"]) == ("scratch", 0.91)
    assert dark["also"] == [{"label": "dent", "confidence": 0.74}]
    assert "also" not in bright


@pytest.mark.parametrize("name", ["all.csv", "all.jsonl"])
def test_a_file_of_many_tells_them_too_and_a_stopped_run_goes_on(folder: Path, name: str) -> None:
    (folder / "parts").mkdir()
    for n in range(3):
        (folder / "parts" / f"{n}.png").write_bytes((folder / "dark.png").read_bytes())
    command = ["infer", "--bundle", str(folder / "several.plb"), str(folder / "parts"), "--out", str(folder / name)]
    assert main(command) == 0
    whole = (folder / name).read_text()
    (folder / f"{name}.part").write_text("".join(whole.splitlines(keepends=True)[: 2 if name.endswith("csv") else 1]))
    (folder / name).unlink()
    assert main(command) == 0
    with (folder / name).open(newline="") as file:
        rows = list(csv.DictReader(file)) if name.endswith("csv") else [json.loads(line) for line in file]
    assert len(rows) == 3
    for row in rows:
        also = row["also"]
        assert (json.loads(also) if isinstance(also, str) else also) == [{"label": "dent", "confidence": 0.74}]


def test_a_part_with_other_columns_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = folder / "all.csv.part"
    part.write_text("image,verdict,label,confidence,ms,bundle,error,cause\nx,PASS,good,1.0,1.0,b,,\n")
    before = part.read_text()
    command = ["infer", "--bundle", str(folder / "several.plb"), str(folder / "dark.png")]
    assert main([*command, "--out", str(folder / "all.csv")]) == 2
    assert "is not what this command wrote (delete it)" in capsys.readouterr().err and part.read_text() == before


TEXT = st.text(st.characters(codec="utf-8"), max_size=9)


@given(st.lists(st.tuples(TEXT, st.floats(0, 1)), max_size=4), TEXT)
def test_what_a_cell_holds_is_what_was_written(also: list[tuple[str, float]], name: str) -> None:
    scored = Scored(name, "REJECT", name, 0.5, 1.0, "b", also=tuple(Beside(*each) for each in also))
    (row,) = csv.reader(io.StringIO(csv_line(cells_of(scored)).decode(), newline=""))
    assert of_cells(dict(zip(COLUMNS, row, strict=True))) == scored
