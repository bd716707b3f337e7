"""`plumbline-agent infer` on folders: into a file that is whole or can be gone on with, and over a pipe."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agent.__main__ import main
from agent.commands.batch import Scored, Sheet
from tests.fakes.agent_line import image
from tests.tiny_bundle import write_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "tiny.plb")
    parts = tmp_path / "parts"
    (parts / "deep/er").mkdir(parents=True)
    for at, name in enumerate(("a.png", "deep/b.png", "deep/er/c,'\".png", "deep/er/d.png")):
        Image.fromarray(image(230 if at % 2 else 20, at)).save(parts / name)
    (parts / "deep/torn.png").write_bytes(b"\x89PNG")
    (parts / "readme.txt").write_text("no image")
    return tmp_path


def infer(*arguments: object) -> int:
    return main(["infer", *map(str, arguments)])


def test_a_folder_becomes_a_csv_with_a_line_an_image_and_a_summary(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "all.csv"
    assert infer("--bundle", folder / "tiny.plb", folder / "parts", "--out", out) == 1
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(Path(row["image"]).name, row["verdict"]) for row in rows] == [
        ("a.png", "REJECT"),
        ("b.png", "PASS"),
        ("c,'\".png", "REJECT"),
        ("d.png", "PASS"),
        ("torn.png", "REVIEW"),
    ]
    assert rows[-1]["error"] and rows[-1]["cause"] == "bad_image"
    said = capsys.readouterr()
    assert said.out == ""
    assert "5 images: 2 PASS, 2 REJECT, 0 REVIEW, 1 failed; " in said.err and "images/s" in said.err
    assert not (folder / "all.csv.part").exists()


def test_json_lines_and_a_summary_a_script_can_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "all.jsonl"
    assert infer("--bundle", folder / "tiny.plb", folder / "parts/deep/er", "--out", out, "--json") == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["verdict"] for row in rows] == ["REJECT", "PASS"]
    summary = json.loads(capsys.readouterr().out)
    assert (summary["n"], summary["PASS"], summary["REJECT"], summary["failed"]) == (2, 1, 1, 0)


@pytest.mark.parametrize("name", ["all.csv", "all.jsonl"])
def test_a_stopped_run_is_gone_on_with_and_ends_as_an_unbroken_one(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    bundle, out = folder / "tiny.plb", folder / name
    infer("--bundle", bundle, folder / "parts", "--out", out)
    whole = out.read_text()
    out.unlink()
    lines = whole.splitlines(keepends=True)
    kept = 3 if name.endswith("csv") else 2
    (folder / f"{name}.part").write_text("".join(lines[:kept]) + lines[kept][:9])
    capsys.readouterr()
    infer("--bundle", bundle, folder / "parts", "--out", out)
    assert "going on after 2 images" in capsys.readouterr().err
    strip = [line.rsplit(" ms", 1)[0] for line in out.read_text().splitlines()]
    assert len(strip) == len(lines)
    assert [line.split(",")[0] for line in strip] == [line.split(",")[0] for line in lines_of(whole)]


def lines_of(text: str) -> list[str]:
    return text.splitlines()


def test_a_part_of_another_bundle_is_refused_and_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = folder / "all.jsonl.part"
    line = '{"image":"x","verdict":"PASS","label":"good","confidence":1.0,"ms":1.0,"bundle":"other 1 abc"}\n'
    part.write_text(line)
    assert infer("--bundle", folder / "tiny.plb", folder / "parts", "--out", folder / "all.jsonl") == 2
    assert "begun with other 1 abc" in capsys.readouterr().err
    assert part.read_text() == line


def test_a_folder_without_out_prints_each_and_sums_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert infer("--bundle", folder / "tiny.plb", folder / "parts/deep/er") == 0
    said = capsys.readouterr()
    assert [line.split()[1] for line in said.out.splitlines()] == ["REJECT", "PASS"]
    assert said.err.startswith("2 images: 1 PASS, 1 REJECT")


@pytest.mark.parametrize("wrong", [["--out", "none/all.csv", "parts"], [], ["--stdin", "parts"], ["empty"]])
def test_what_cannot_work_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, wrong: list[str]
) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    assert infer("--bundle", "tiny.plb", *wrong) in (1, 2)
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1


def test_images_come_over_a_pipe_and_answers_go_back(folder: Path) -> None:
    images = [(folder / "parts/a.png").read_bytes(), b"no image", (folder / "parts/deep/b.png").read_bytes()]
    piped = b"".join(len(data).to_bytes(4, "big") + data for data in images)
    done = subprocess.run(
        (sys.executable, "-m", "agent", "infer", "--bundle", str(folder / "tiny.plb"), "--stdin", "--nice", "5"),
        input=piped + b"\x00\x00",
        capture_output=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["verdict"], bool(each["error"])) for each in answers] == [
        ("REJECT", False),
        ("REVIEW", True),
        ("PASS", False),
    ]


def test_a_blank_image_is_review_where_that_is_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (16, 16), 255).save(folder / "blank.png")
    assert infer("--bundle", folder / "tiny.plb", "--json", "--blank-sd", "0.5", folder / "blank.png") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["cause"]) == ("REVIEW", "blank_frame")


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.lists(names, min_size=1, max_size=5, unique=True), st.sampled_from([".csv", ".jsonl"]), st.data())
def test_whatever_the_names_a_cut_off_part_forgets_at_most_its_last_lines(
    tmp_path_factory: pytest.TempPathFactory, images: list[str], suffix: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    out = folder / f"all{suffix}"
    sheet = Sheet(out, "b")
    for name in images:
        sheet.add(Scored(name, "PASS", "good", 1.0, 1.0, "b"))
    sheet.close()
    part = folder / f"all{suffix}.part"
    whole = part.read_bytes()
    part.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    again = Sheet(out, "b")
    have = [name for name in images if again.has(name)]
    assert have == images[: len(have)]
    for name in images[len(have) :]:
        again.add(Scored(name, "PASS", "good", 1.0, 1.0, "b"))
    again.finish()
    assert out.read_bytes() == whole
