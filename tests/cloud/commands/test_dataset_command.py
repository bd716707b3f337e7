"""plumbline-cloud dataset, as a person types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cloud.__main__ import main
from cloud.commands.dataset import EXIT_DIFFERENT
from tests.cloud.retrain.layout_files import write_table
from tests.cloud.retrain.pictures import picture, write_folders

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Run a command in a folder of its own; return (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_dataset_is_made_listed_shown_compared_and_exported(cli: Cli, tmp_path: Path) -> None:
    write_folders(tmp_path / "images", 6)
    code, out, _ = cli("dataset", "make", "images", "--name", "tiles", "--json")
    made = json.loads(out)
    assert code == 0 and made["images"] == 18 and made["disagreements"] == 0
    assert (tmp_path / "datasets" / "tiles" / f"{made['id']}.json").is_file()
    assert cli("dataset", "make", "images", "--name", "tiles")[1].startswith(f"tiles@{made['id']}: 18 images, 3 labels")
    Image.fromarray(picture("stain", 90)).save(tmp_path / "images" / "stain" / "new.png")
    (tmp_path / "images" / "good" / "good00.png").rename(tmp_path / "images" / "scratch" / "x.png")
    later = json.loads(cli("dataset", "make", "images", "--name", "tiles", "--splits-of", "tiles", "--json")[1])
    code, out, _ = cli("dataset", "list")
    assert code == 0 and out.count("tiles@") == 2 and out.count("latest") == 1
    assert [d["latest"] for d in json.loads(cli("dataset", "list", "--json")[1])] == [False, True]
    code, out, _ = cli("dataset", "diff", f"tiles@{made['id'][:6]}", "tiles")
    assert code == EXIT_DIFFERENT
    assert "1 added:\n  stain/new.png: stain" in out and "1 relabelled:\n  scratch/x.png: good -> scratch" in out
    assert json.loads(cli("dataset", "diff", "tiles", "tiles", "--json")[1])["same"] == 19
    assert cli("dataset", "diff", "tiles", "tiles")[0] == 0
    code, out, _ = cli("dataset", "show", "tiles")
    assert code == 0 and f"tiles@{later['id']} (latest)" in out and "labeller: folder 19" in out
    shown = json.loads(cli("dataset", "show", f"tiles@{made['id']}", "--json")[1])
    assert sum(shown["labels"]["good"].values()) == 6 and shown["kinds"]["good"] == "good"
    code, out, _ = cli("dataset", "export", "tiles", "--format", "coco", "--out", "coco", "--json")
    assert code == 0 and json.loads(out)["images"] == 19
    again = json.loads(cli("dataset", "make", "coco", "--layout", "coco", "--name", "back", "--json")[1])
    assert {name: sum(of.values()) for name, of in again["labels"].items()} == {"good": 5, "scratch": 7, "stain": 7}


def test_people_who_differ_are_written_down_or_refused(cli: Cli, tmp_path: Path) -> None:
    root = write_table(tmp_path / "d", "file,label,labeller,labelled_at", "good00.png,stain,bob,2026-03-01T08:30:00Z")
    code, out, err = cli("dataset", "make", root, "--layout", "csv", "--name", "d")
    assert code == 0 and "14 images" in out and "left out 1 images that are labelled differently: good00.png" in err
    (line,) = (tmp_path / "datasets" / "d" / "disagreements.jsonl").read_text().splitlines()
    found = json.loads(line)
    assert (found["file"], found["folder"], len(found["sha256"])) == ("good00.png", str(root), 64)
    assert found["labels"][1] == {
        "labels": ["stain"],
        "labeller": "bob",
        "labelled_at": 1772353800.0,
        "where": "labels.csv line 17",
    }
    assert "left out 1 images" in cli("dataset", "show", "d")[1]
    code, _, err = cli("dataset", "make", root, "--layout", "csv", "--name", "e", "--strict")
    assert code == 1 and "bob (labels.csv line 17) says 'stain'" in err and not (tmp_path / "datasets" / "e").exists()


def test_what_cannot_be_used_is_an_error_with_a_hint_and_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    write_folders(tmp_path / "images", 4)
    (tmp_path / "images" / "good" / "torn.png").write_bytes(b"\x89PNG")
    for words, said in (
        (("make", "images", "--name", "x"), "torn.png"),
        (("make", "images", "--name", "../x"), "is no name"),
        (("make", "nowhere", "--name", "x"), "is no folder"),
        (("make", "images", "--name", "x", "--layout", "coco"), "0 JSON files"),
        (("make", "images", "--name", "x", "--holdout", "nan"), "leave nothing to train on"),
        (("show", "x"), "there is no dataset 'x'"),
        (("diff", "x", "y"), "there is no dataset"),
        (("export", "x", "--format", "csv", "--out", "o"), "there is no dataset"),
    ):
        code, out, err = cli("dataset", *words)
        assert code == 1 and out == "" and err.startswith("error: ") and said in err and "(" in err
    assert not (tmp_path / "datasets").exists()
    assert cli("dataset", "list")[1].startswith("no datasets in datasets")
    code, out, err = cli("dataset", "make", "images", "--name", "x", "--skip-unreadable")
    assert code == 0 and "skipped 1 unreadable images" in err


@pytest.mark.parametrize("action", ["make", "list", "show", "diff", "export"])
def test_help_has_an_example(action: str, cli: Cli) -> None:
    code, out, _ = cli("dataset", action, "--help")
    assert code == 0 and f"example: plumbline-cloud dataset {action}" in out


def test_an_export_says_what_it_cannot_carry(cli: Cli, tmp_path: Path) -> None:
    root = tmp_path / "tiles"
    for label in ("Free", "Crack"):
        (root / label).mkdir(parents=True)
        for number in range(8):
            pixels = np.random.default_rng([number, len(label)]).integers(0, 255, (32, 32)).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{label}{number}.jpg")
            Image.fromarray((pixels > 128).astype(np.uint8) * 255).save(root / label / f"{label}{number}.png")
    made = ("dataset", "make", str(root), "--suffix", "jpg", "--masks", "png", "--good", "Free", "--name", "tiles")
    code, _, err = cli(*made)
    assert code == 0, err
    said = {
        form: cli("dataset", "export", "tiles", "--format", form, "--out", form)[2]
        for form in ("csv", "yolo", "folders")
    }
    assert "note:" not in said["csv"]
    assert "makes boxes of 16 masks" in said["yolo"] and "add --background Free" in said["yolo"]
    assert "leaves 16 masks out" in said["folders"]
